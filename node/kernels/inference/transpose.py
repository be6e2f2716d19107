"""Change of order between channels last and channels first."""

from __future__ import annotations

from typing import Any

from node.jit import kernel, part
from node.kernels.inference.bounds import fits, volume
from node.kernels.inference.columns import COUNT, IN_A, IN_H, IN_W, INVALID, OK, OUT
from node.kernels.inference.kinds import BYTES, INT, ROW, WORDS


@part(INT, BYTES, WORDS, ROW)
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
    if item == 4:
        transpose_elements(i32, row[IN_A] // 4, row[OUT] // 4, height, width)
    else:
        transpose_elements(u8, row[IN_A], row[OUT], height, width)
    return OK


@kernel
def transpose_elements(memory: Any, a: int, out: int, height: int, width: int) -> None:
    """Move [height][width] elements from place ``a`` to [width][height] at ``out``, along the longer side."""
    if height < width:
        for y in range(height):
            line, column = memory[a + y * width : a + (y + 1) * width], memory[out + y : out + height * width]
            for x in range(width):
                column[x * height] = line[x]
    else:
        for x in range(width):
            line, column = memory[out + x * height : out + (x + 1) * height], memory[a + x : a + height * width]
            for y in range(height):
                line[y] = column[y * width]
