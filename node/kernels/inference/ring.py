"""The ring: the input rows under one row of output pixels, with the padding beside and above them written out.

As the window moves down, each new input row takes the place of the oldest. So every input is copied once, and
the kernels find all runs of a window at fixed distances, as if the input had been padded.
"""

from __future__ import annotations

from typing import Any

from node.jit import kernel, part
from node.kernels.inference.bounds import volume
from node.kernels.inference.columns import (
    DILATION_H,
    DILATION_W,
    GROUPS,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    OUT_H,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    STRIDE_H,
    STRIDE_W,
    ZERO_A,
)
from node.kernels.inference.kinds import BOOL, BYTES, INT, ROW, ints
from node.kernels.inference.limits import LARGEST_RING, LEAST_LINE, LONG_RUN, SURE_LINE
from node.kernels.inference.tiles import TILE_ROWS, copy_bytes, fill_bytes


@kernel
def span_of(row: Any) -> Any:
    """Give the input rows that a window reaches over."""
    return (row[KERNEL_H] - 1) * row[DILATION_H] + 1


@kernel
def ring_width(row: Any) -> Any:
    """Give the input pixels that a row of windows reaches over."""
    return (row[OUT_W] - 1) * row[STRIDE_W] + row[KERNEL_W]


@kernel
def overhangs(row: Any) -> Any:
    """Tell whether some window reaches over the edge of the input."""
    return (
        row[PAD_TOP] > 0
        or row[PAD_LEFT] > 0
        or (row[OUT_H] - 1) * row[STRIDE_H] + span_of(row) > row[IN_H]
        or ring_width(row) > row[IN_W]
    )


@kernel
def ring_values(row: Any, total: int) -> int:
    """Give the values that a ring holds, or -1 where the inputs of each pixel are gathered instead.

    A ring pays for rows of many pixels whose windows are runs of neighbours, and where it stays small beside
    the input.
    """
    if row[GROUPS] != 1 or row[DILATION_W] != 1 or row[OUT_W] < LEAST_LINE:
        return -1
    if row[OUT_W] < SURE_LINE and row[KERNEL_W] * row[IN_C] >= LONG_RUN:
        return -1
    values = volume(span_of(row), ring_width(row), row[IN_C], total)
    gathered = TILE_ROWS * row[KERNEL_H] * row[KERNEL_W] * row[IN_C]
    least = max(gathered, LARGEST_RING, row[IN_H] * row[IN_W] * row[IN_C] // 8)
    return values if values <= least else -1


@part(ints(2), BYTES, ROW, INT, INT, BOOL, INT)
def fill_ring(u8: Any, row: Any, item: int, y: int, fresh: bool, place: int) -> Any:
    """Bring the ring at a place from output row y - 1 to y; give the first line that is new and the one after the last.

    ``item`` is the bytes of a value; a ``fresh`` ring holds nothing yet. Line i of the padded input lies in the ring
    at i modulo its height.
    """
    span, stride = span_of(row), row[STRIDE_H]
    size = ring_width(row) * row[IN_C] * item
    first = y * stride
    begin = first if fresh else max(first, first - stride + span)
    for line in range(begin, first + span):
        fill_line(u8, row, item, line - row[PAD_TOP], place + line % span * size)
    return begin, first + span


@kernel
def fill_line(u8: Any, row: Any, item: int, in_y: int, place: int) -> None:
    """Write one input row to byte ``place``, the zero point where it does not exist."""
    pixel = row[IN_C] * item
    size, left = ring_width(row) * pixel, row[PAD_LEFT] * pixel
    inside = min(row[IN_W] * pixel, size - left) if 0 <= in_y < row[IN_H] else 0
    if inside <= 0:
        fill_bytes(u8, place, size, row[ZERO_A])
        return
    fill_bytes(u8, place, left, row[ZERO_A])
    copy_bytes(u8, row[IN_A] + in_y * row[IN_W] * pixel, place + left, inside)
    fill_bytes(u8, place + left + inside, size - left - inside, row[ZERO_A])
