"""Change of order between channels last and channels first."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.bounds import fits, volume
from node.kernels.inference.columns import COUNT, IN_A, IN_H, IN_W, INVALID, OK, OUT


@kernel
def transpose(u8: Any, i32: Any, row: Any) -> int:
    """Run a TRANSPOSE row: [IN_H][IN_W] to [IN_W][IN_H], elements of COUNT bytes (1 or 4).

    Parameters
    ----------
    u8, i32 : ndarray
        The whole arena as bytes and as words; bits are moved, never interpreted.
    row : ndarray of int64
        The step, outside the arena.
    """
    total = u8.size
    height, width, item = row[IN_H], row[IN_W], row[COUNT]
    size = volume(height, width, 1, total)
    if size < 0 or item not in (1, 4):
        return INVALID
    if not (fits(row[IN_A], size * item, item, total) and fits(row[OUT], size * item, item, total)):
        return INVALID
    a, out = row[IN_A] // item, row[OUT] // item
    if item == 4:
        for x in range(width):
            line = i32[out + x * height : out + (x + 1) * height]
            for y in range(height):
                line[y] = i32[a + y * width + x]
    else:
        for x in range(width):
            column = u8[out + x * height : out + (x + 1) * height]
            for y in range(height):
                column[y] = u8[a + y * width + x]
    return OK
