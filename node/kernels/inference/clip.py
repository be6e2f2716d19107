"""Which taps of a window lie in the input, and which windows lie in it whole."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.columns import (
    DILATION_H,
    DILATION_W,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    STRIDE_H,
    STRIDE_W,
)


@kernel
def clip(first: int, dilation: int, taps: int, size: int) -> Any:
    """Give the first tap inside and the number of taps inside, of taps from place ``first`` on."""
    before = (dilation - 1 - first) // dilation if first < 0 else 0
    end = min(taps, (size - first + dilation - 1) // dilation) if size > first else 0
    return before, max(0, end - before)


@kernel
def whole_columns(row: Any) -> Any:
    """Give the first output column whose window lies between the sides of the input, and the one after the last."""
    first = min((row[PAD_LEFT] + row[STRIDE_W] - 1) // row[STRIDE_W], row[OUT_W])
    room = row[IN_W] - 1 - (row[KERNEL_W] - 1) * row[DILATION_W] + row[PAD_LEFT]
    last = room // row[STRIDE_W] + 1 if room >= 0 else 0
    return first, max(first, min(last, row[OUT_W]))


@kernel
def clipped_window(row: Any, item: int, y: int, x: int) -> Any:
    """Give the taps of an output pixel that lie in the input.

    Returns
    -------
    tuple
        Bytes from the first input of the step to the first tap's, bytes from its first weights to the first
        tap's, and the window as :class:`node.kernels.inference.taps.Taps` takes it; ``item`` is the bytes of both.
    """
    top, left = y * row[STRIDE_H] - row[PAD_TOP], x * row[STRIDE_W] - row[PAD_LEFT]
    down, rows = clip(top, row[DILATION_H], row[KERNEL_H], row[IN_H])
    right, columns = clip(left, row[DILATION_W], row[KERNEL_W], row[IN_W])
    pixel = item * row[IN_C]
    line = row[DILATION_H] * row[IN_W] * pixel
    inputs = ((top + down * row[DILATION_H]) * row[IN_W] + left + right * row[DILATION_W]) * pixel
    weights = (down * row[KERNEL_W] + right) * pixel
    return inputs, weights, (rows, line, row[KERNEL_W] * pixel, columns, row[DILATION_W] * pixel, pixel)
