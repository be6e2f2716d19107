"""A step over windows that checks its parameters itself: a slab of packed weights, its products, the next slab.

A slab is some panels of packed weights, or some groups. Its blocks are checked by their code, which brings them into
the cache, and then multiplied with the inputs of all pixels, so that each weight comes from memory once. A block in
which two slabs meet is checked with both. What else the step reads is checked before the first slab; so are all
parameters of a step that is computed line by line, since every line reads its weights anew.

The kernel that checks is called by its address: compiled once, it serves here too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import array_at, call_at, kernel
from node.kernels.inference.bounds import packed_columns, per_group
from node.kernels.inference.columns import (
    BIAS,
    GROUPS,
    IN_C,
    KERNEL_H,
    KERNEL_W,
    OK,
    OPCODE,
    OUT_C,
    OUT_H,
    OUT_W,
    SCRATCH,
    WEIGHTS,
)
from node.kernels.inference.conv_f32 import by_chunks_f32
from node.kernels.inference.conv_int8 import begin_conv_int8, by_chunks_int8
from node.kernels.inference.tiles import LANES
from node.kernels.inference.windows import run_window

ARENA, TOTAL, GIVEN, COMPILED, COPY, SLAB = range(6)
"""Words of a frame: address and bytes of the arena; addresses of the row in the table, of the row as it was compiled,
of working memory for a third; and the panels or groups of a slab (0 where the step is not computed in slabs)."""

SCAN, KIND, DATA, DATA_BYTES, CHECK, CHECK_BYTES, RECORDS, RECORD_BYTES, BASE = range(6, 15)
"""More of them: the kernel that finds the first wrong block, and what it takes; the byte of the arena where the first
block begins."""

REST, REST_BYTES, WIDTH, REST_CHECK, CHECKS, RECORD, RECORD_SIZE, SPARE, SPANS, FIRST_SPAN = range(15, 25)
"""The smaller block after the last whole one: its address, its bytes (0 where the step reads none of it), bytes of its
rows; address and number of its check rows, address and bytes of its record; memory for it as a whole block and its
check rows, zero beside it; how many spans of blocks are checked before the first slab, then first and end of each."""

ROWS = 64
"""Rows of a block, and bytes of a row of a whole one."""

BLOCK = ROWS * ROWS

COLUMNS = 32
"""Words of a row."""

ALARM, OTHER_ROW = 2, 3
"""What the kernel returns beside OK and INVALID: a block is wrong, and its slab was not multiplied; the row in the
table is not the one that was compiled, and nothing was done."""

CONV_F32 = 1


@kernel
def sound(frame: Any, first: int, last: int) -> Any:
    """Tell whether the whole blocks ``first`` to ``last`` - 1 are as they were encoded."""
    if first >= last:
        return True
    data = array_at(frame[DATA], (frame[DATA_BYTES],), np.uint8)
    check = array_at(frame[CHECK], (frame[CHECK_BYTES],), np.uint8)
    records = array_at(frame[RECORDS], (frame[RECORD_BYTES],), np.uint8)
    return call_at(frame[SCAN], (frame[KIND], data, check, records, first, last)) >= last


@kernel
def spread(narrow: Any, width: int, wide: Any) -> None:
    """Copy rows of ``width`` bytes, the last of which may be short, to the beginnings of rows of 64."""
    for start in range(0, narrow.size, width):
        row = start // width * ROWS
        for i in range(min(width, narrow.size - start)):
            wide[row + i] = narrow[start + i]


@kernel
def rest_is_sound(frame: Any) -> Any:
    """Tell whether the smaller block after the last whole one is as it was encoded."""
    if frame[REST_BYTES] == 0:
        return True
    checks, width = frame[CHECKS], frame[WIDTH]
    block = array_at(frame[SPARE], (BLOCK,), np.uint8)
    rows = array_at(frame[SPARE] + BLOCK, (ROWS * checks,), np.uint8)
    record = array_at(frame[RECORD], (frame[RECORD_SIZE],), np.uint8)
    spread(array_at(frame[REST], (frame[REST_BYTES],), np.uint8), width, block)
    spread(array_at(frame[REST_CHECK], (checks * width,), np.uint8), width, rows)
    return call_at(frame[SCAN], (frame[KIND], block, rows, record, 0, 1)) == 1


@kernel
def slab_is_sound(frame: Any, place: int, size: int) -> Any:
    """Tell whether the whole blocks that hold so many bytes of the arena are as they were encoded."""
    first, last = (place - frame[BASE]) // BLOCK, (place + size - frame[BASE] + BLOCK - 1) // BLOCK
    return sound(frame, first, min(last, frame[DATA_BYTES] // BLOCK))


@kernel
def run_slab(frame: Any, row: Any, part: Any, share: Any) -> None:
    """Compute a share (see ``shares``) of a product; ``part`` is the same as a row of its own, for its beginning."""
    u8 = array_at(frame[ARENA], (frame[TOTAL],), np.uint8)
    nothing, scratch = row[:0], row[SCRATCH]
    if row[OPCODE] == CONV_F32:
        by_chunks_f32(u8, row, share, scratch, (nothing, 0))
        return
    begin_conv_int8(u8, part, nothing)
    scratch += 4 * packed_columns(row)
    by_chunks_int8(u8, row, share, scratch, nothing)


@kernel
def by_slabs(frame: Any, row: Any, part: Any) -> int:
    """Check and compute slab after slab; give OK, or ALARM at the first one that is wrong."""
    groups, pixels = row[GROUPS], row[OUT_H] * row[OUT_W]
    channels = per_group(row[OUT_C], groups)
    panels, item = (channels + LANES - 1) // LANES, 4 if row[OPCODE] == CONV_F32 else 1
    units = groups if groups > 1 else panels
    columns = packed_columns(row) // units
    size = item * columns * row[KERNEL_H] * row[KERNEL_W] * per_group(row[IN_C], groups)
    first = 0
    while first < units:
        end = min(first + frame[SLAB], units)
        if not slab_is_sound(frame, row[WEIGHTS] + first * size, (end - first) * size):
            return ALARM
        part[WEIGHTS] = row[WEIGHTS] + first * size
        part[BIAS] = row[BIAS] + 4 * first * columns
        part[SCRATCH] = row[SCRATCH] + 4 * first * columns
        if groups > 1:
            part[GROUPS], part[IN_C] = end - first, (end - first) * (row[IN_C] // groups)
            part[OUT_C] = (end - first) * channels
            share = (0, pixels, first, end, 0, panels)
        else:
            part[OUT_C] = min(channels, end * LANES) - first * LANES
            share = (0, pixels, 0, groups, first, end)
        run_slab(frame, row, part, share)
        first = end
    return OK


@kernel
def verified_step(place: int) -> int:
    """Run a step over windows whose row is valid, and check what it reads.

    Parameters
    ----------
    place : int
        Address of a frame, int64, outside the arena; whoever made it holds all that it points to.

    Returns
    -------
    int
        OK, INVALID, ALARM or OTHER_ROW.
    """
    frame = array_at(place, (FIRST_SPAN,), np.int64)
    given, row = array_at(frame[GIVEN], (COLUMNS,), np.int64), array_at(frame[COMPILED], (COLUMNS,), np.int64)
    part = array_at(frame[COPY], (COLUMNS,), np.int64)
    for column in range(COLUMNS):
        if given[column] != row[column]:
            return OTHER_ROW
        part[column] = row[column]
    spans = array_at(place + 8 * FIRST_SPAN, (frame[SPANS], 2), np.int64)
    for span in range(spans.shape[0]):
        if not sound(frame, spans[span, 0], spans[span, 1]):
            return ALARM
    if not rest_is_sound(frame):
        return ALARM
    if frame[SLAB] > 0:
        return int(by_slabs(frame, row, part))
    total = frame[TOTAL]
    u8 = array_at(frame[ARENA], (total,), np.uint8)
    return int(run_window(u8, total, part, -1))


def warm() -> None:
    """Compile or load the kernel; a row that is not the compiled one."""
    rows = np.arange(2 * COLUMNS)
    frame = np.zeros(FIRST_SPAN, np.int64)
    frame[[GIVEN, COMPILED, COPY]] = rows.ctypes.data, rows[COLUMNS:].ctypes.data, rows.ctypes.data
    verified_step(frame.ctypes.data)
