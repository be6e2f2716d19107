"""Checked convolution and product with a matrix in integers: the plain kernel, which counts along, and four sums.

The sum over all pixels and channels of input @ weights is (sum of the inputs) @ (sums of rows of the weights). Modulo
2**32 this holds exactly (Huang and Abraham, "Algorithm-based fault tolerance for matrix operations", IEEE Trans.
Computers C-33(6), 1984, for the idea), so there is no threshold. The sums of rows were made when the weights were known
good. What is compared:

* the sum of all accumulators, counted while they are in registers: a wrong bit of one is a difference of 2**b;
* the sum of all weights, counted where the plain kernel sums up their columns, the first time it reads them: a wrong
  bit of one is a difference of 2**b. Only what is struck after that is left to the sum of the accumulators, in which
  what it does to several pixels may cancel out;
* the sum of what the accumulators begin with (biases, and zero points times sums of weights), after the last use;
* the sum of the multipliers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import array_at, kernel
from node.kernels.inference.bounds import packed_columns
from node.kernels.inference.checked.counts import clear, has_room
from node.kernels.inference.checked.expected import agree, expect, half_bytes, halves_of
from node.kernels.inference.checked.rows import (
    ALARM,
    ARENA,
    COLUMNS,
    FRAME_WORDS,
    KEPT_SIZE,
    OTHER_SHAPE,
    TOTAL,
    take_row,
    unpacked,
)
from node.kernels.inference.columns import (
    GROUPS,
    IN_C,
    INVALID,
    KERNEL_H,
    KERNEL_W,
    OK,
    OUT_C,
    OUT_H,
    OUT_W,
    SCALES,
    SCRATCH,
)
from node.kernels.inference.conv_int8 import (
    begin_conv_int8,
    by_chunks_int8,
    by_lines_int8,
    conv_is_valid_int8,
    flipped,
    in_lines_int8,
    input_shift,
)
from node.kernels.inference.dots import OFFSET
from node.kernels.inference.tiles import LANES

SUM_BIAS, SUM_SCALES, SUM_WEIGHTS, HEAD = 0, 1, 2, 16
"""Words of check data of a step before its sums of rows: three sums, and how many words they take."""


@kernel
def group_bytes(depth: int, channels: int) -> int:
    """Give the bytes of the sums of rows of one group of so many products of a sum, and channels."""
    return halves_of(channels) * half_bytes(depth)


@kernel
def sum_used(i32: Any, place: int, channels: int, groups: int) -> Any:
    """Sum up words from byte ``place``, sixteen for sixteen channels of a group, without those beyond the last one."""
    columns = (channels + LANES - 1) // LANES * LANES
    total = np.int32(0)
    for group in range(groups):
        start = place // 4 + group * columns
        values = i32[start : start + channels]
        for j in range(channels):
            total = np.int32(total + values[j])
    return total


@kernel
def run_counting(u8: Any, row: Any, words: Any, sums: int) -> Any:
    """Run a valid row as the plain interpreter does without a crew, and count in ``words``.

    ``sums`` is the byte where the sums of rows begin. Gives the pixels that were computed, some of them twice.
    """
    groups, channels = row[GROUPS], row[OUT_C] // row[GROUPS]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // groups)
    lined = in_lines_int8(row, u8.size)
    begin_conv_int8(u8, row, words)
    inputs = row[SCRATCH] + 4 * packed_columns(row)
    if lined:
        by_lines_int8(u8, row, (0, row[OUT_H]), inputs, words)
    else:
        share = (0, row[OUT_H] * row[OUT_W], 0, groups, 0, (channels + LANES - 1) // LANES)
        by_chunks_int8(u8, row, share, inputs, words)
    return expect(u8, row, lined, flipped(row) ^ OFFSET, words, (sums, halves_of(channels), half_bytes(depth)))


@kernel
def checked_conv_int8(place: int, sums: int) -> int:
    """Run a CONV_INT8 row, and check every sum.

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
    u8, rows, words = unpacked(place)
    if not take_row(rows):
        return OTHER_SHAPE
    row = rows[2]
    if not conv_is_valid_int8(row, u8.size):
        return INVALID
    if not has_room(row, words):
        return OTHER_SHAPE
    clear(row, words)
    groups, channels = row[GROUPS], row[OUT_C] // row[GROUPS]
    pixels = run_counting(u8, row, words, 4 * (sums + HEAD))
    frame = array_at(place, (FRAME_WORDS,), np.int64)
    i32 = array_at(frame[ARENA], (u8.size // 4,), np.int32)
    begun = np.int32(i32[sums + SUM_BIAS] - np.int32(input_shift(row)) * i32[sums + SUM_WEIGHTS])
    sound = sum_used(i32, row[SCRATCH], channels, groups) == begun
    sound = sum_used(i32, row[SCALES], channels, groups) == i32[sums + SUM_SCALES] and sound
    counts = words.view(np.int32)
    return OK if agree(counts, int(begun * pixels), i32[sums + SUM_WEIGHTS]) and sound else ALARM


def warm() -> None:
    """Compile or load the kernel for the types of an arena."""
    memory = np.zeros(COLUMNS, np.int64)
    frame = np.full(FRAME_WORDS, memory.ctypes.data)
    frame[[TOTAL, KEPT_SIZE]] = 0
    checked_conv_int8(frame.ctypes.data, 0)
