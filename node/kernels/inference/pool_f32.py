"""Largest value and mean of float windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, part
from node.kernels.inference.bounds import window_fits
from node.kernels.inference.columns import (
    COUNT,
    DILATION_H,
    DILATION_W,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    INVALID,
    KERNEL_H,
    KERNEL_W,
    OK,
    OUT,
    OUT_C,
    OUT_H,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    STRIDE_H,
    STRIDE_W,
)
from node.kernels.inference.kinds import BOOL, FLOATS, INT, ROW

LOWEST = np.float32(-np.inf)


@kernel
def take_window(f32: Any, row: Any, y0: int, x0: int, out: int, largest: bool) -> int:
    """Fold a window into the floats from ``out``, as a maximum or a sum; give the pixels that it met."""
    channels = row[IN_C]
    result = f32[out : out + channels]
    met = 0
    for ky in range(row[KERNEL_H]):
        y = y0 + ky * row[DILATION_H]
        if y < 0 or y >= row[IN_H]:
            continue
        for kx in range(row[KERNEL_W]):
            x = x0 + kx * row[DILATION_W]
            if x < 0 or x >= row[IN_W]:
                continue
            met += 1
            source = row[IN_A] // 4 + (y * row[IN_W] + x) * channels
            values = f32[source : source + channels]
            if largest:
                for c in range(channels):
                    value = values[c]
                    result[c] = value if value > result[c] or np.isnan(value) else result[c]
            else:
                for c in range(channels):
                    result[c] += values[c]
    return met


@part(INT, FLOATS, ROW, BOOL)
def pool_f32(f32: Any, row: Any, largest: bool) -> int:
    """Run a MAX_POOL_F32 or AVERAGE_POOL_F32 row; sums follow the window, a window of padding alone gives 0 / 0.

    Parameters
    ----------
    f32 : ndarray
        The whole arena as floats.
    row : ndarray of int64
        The step, outside the arena.
    largest : bool
        Maximum, else mean.
    """
    if not window_fits(row, 4, 4 * f32.size) or row[IN_C] != row[OUT_C]:
        return INVALID
    for y in range(row[OUT_H]):
        for x in range(row[OUT_W]):
            pool_pixel_f32(f32, row, y, x, largest)
    return OK


@kernel
def pool_pixel_f32(f32: Any, row: Any, y: int, x: int, largest: bool) -> None:
    """Compute all channels of one output pixel of a valid row."""
    channels = row[IN_C]
    start = LOWEST if largest else np.float32(0.0)
    out = row[OUT] // 4 + (y * row[OUT_W] + x) * channels
    result = f32[out : out + channels]
    for c in range(channels):
        result[c] = start
    met = take_window(f32, row, y * row[STRIDE_H] - row[PAD_TOP], x * row[STRIDE_W] - row[PAD_LEFT], out, largest)
    if not largest:
        divisor = np.float32(row[KERNEL_H] * row[KERNEL_W] if row[COUNT] == 1 else met)
        for c in range(channels):
            result[c] = result[c] / divisor
