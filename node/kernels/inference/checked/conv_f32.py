"""Checked convolution or product of floats: the plain kernel, which counts each pixel along (see ``sums_f32``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.checked.rows import ALARM, OTHER_SHAPE, take_row
from node.kernels.inference.columns import GROUPS, INVALID, OK, OUT_C, OUT_H, OUT_W, SCRATCH
from node.kernels.inference.conv_f32 import by_chunks_f32, by_lines_f32, conv_is_valid_f32, in_lines_f32
from node.kernels.inference.limits import CHUNK
from node.kernels.inference.tiles import LANES
from node.kernels.inference.tiles_f32 import HEAD_BYTES, ROWS, SLOT_BYTES


@kernel
def kept_words(row: Any) -> Any:
    """Give the words, of eight bytes, in which a valid row counts."""
    return (HEAD_BYTES + (max(CHUNK, row[OUT_W]) + ROWS) * SLOT_BYTES) // 8


@kernel
def checked_conv_f32(u8: Any, rows: Any, sums: int, kept: Any) -> int:
    """Run a CONV_F32 row, and check the sum of each pixel.

    Parameters
    ----------
    u8 : ndarray
        The whole arena.
    rows : tuple of ndarray of int64
        As ``take_row`` takes them.
    sums : int
        Word of the arena where the check data of the step begin.
    kept : ndarray of int64
        Working memory of ``kept_words`` of the row as it was compiled.

    Returns
    -------
    int
        OK, ALARM, or, where nothing was done, INVALID or OTHER_SHAPE.
    """
    if not take_row(rows):
        return OTHER_SHAPE
    row = rows[2]
    if not conv_is_valid_f32(row, u8.size):
        return INVALID
    if kept_words(row) > kept.size:
        return OTHER_SHAPE
    kept[0] = 0
    groups = row[GROUPS]
    if in_lines_f32(row, u8.size):
        by_lines_f32(u8, row, (0, row[OUT_H]), row[SCRATCH], (kept, 4 * sums))
    else:
        panels = (row[OUT_C] // groups + LANES - 1) // LANES
        share = (0, row[OUT_H] * row[OUT_W], 0, groups, 0, panels)
        by_chunks_f32(u8, row, share, row[SCRATCH], (kept, 4 * sums))
    return ALARM if kept[0] != 0 else OK


def warm() -> None:
    """Compile or load the kernel for the types of an arena."""
    row = np.zeros(32, np.int64)
    checked_conv_f32(np.zeros(64, np.uint8), (row, row, row), 0, np.zeros(8, np.int64))
