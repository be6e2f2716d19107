"""Checked convolution or product of floats: the plain kernel, which counts each pixel along (see ``sums_f32``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.checked.rows import (
    ALARM,
    COLUMNS,
    FRAME_WORDS,
    KEPT_SIZE,
    OTHER_SHAPE,
    TOTAL,
    take_row,
    unpacked,
)
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
def checked_conv_f32(place: int, sums: int) -> int:
    """Run a CONV_F32 row, and check the sum of each pixel.

    Parameters
    ----------
    place : int
        Address of a frame (see ``rows``), whose memory to count in has ``kept_words`` of the row as it was compiled.
    sums : int
        Word of the arena where the check data of the step begin.

    Returns
    -------
    int
        OK, ALARM, or, where nothing was done, INVALID or OTHER_SHAPE.
    """
    u8, rows, kept = unpacked(place)
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
    memory = np.zeros(COLUMNS, np.int64)
    frame = np.full(FRAME_WORDS, memory.ctypes.data)
    frame[[TOTAL, KEPT_SIZE]] = 0
    checked_conv_f32(frame.ctypes.data, 0)
