"""A whole plan in one call: the steps of every interpreter, one run of neighbouring steps after the other.

The call takes three integers, because taking apart the arrays of Python costs more than a small network does.
"""

from __future__ import annotations

import numpy as np

from node.jit import array_at, call_at, kernel

MEMORY, TOTAL, TABLE, STEPS, COLUMNS, ROW, WORDS, SPARE, SEGMENTS, FIRST_SEGMENT = range(10)
"""Words of a frame: address and bytes of the arena; address of the step table, its rows and columns; address and words
of a row outside the arena; bytes behind the arena that a crew works in; the number of segments."""

SEGMENT_WORDS = 3
"""Of a segment: its first step, the step after its last, and the entry of the interpreter that runs it."""


@kernel
def run_plan(place: int, first: int, last: int) -> int:
    """Run the steps ``first`` to ``last - 1``; give -1, or the first step that is invalid.

    Parameters
    ----------
    place : int
        Address of a frame, int64, outside the arena; whoever made it holds all that it points to.
    first, last : int
        The caller sees to it that they lie in the table.
    """
    frame = array_at(place, (FIRST_SEGMENT,), np.int64)
    arena, total, columns = frame[MEMORY], frame[TOTAL], frame[COLUMNS]
    words = (total // 4,)
    whole = array_at(arena, (total + frame[SPARE],), np.uint8)
    memory = whole, array_at(arena, words, np.int32), array_at(arena, words, np.float32)
    table = array_at(frame[TABLE], (frame[STEPS], columns), np.int64)
    row = array_at(frame[ROW], (frame[WORDS],), np.int64)
    count = frame[SEGMENTS]
    segments = array_at(place + 8 * FIRST_SEGMENT, (count, SEGMENT_WORDS), np.int64)
    for i in range(count):
        begin, end = max(first, segments[i, 0]), min(last, segments[i, 1])
        if begin < end:
            failed = call_at(segments[i, 2], (memory, table, row, begin, end))
            if failed >= 0:
                return int(failed)
    return -1


def warm() -> None:
    """Compile or load the kernel; an empty plan."""
    frame = np.zeros(FIRST_SEGMENT, np.int64)
    frame[[MEMORY, TABLE, ROW]] = frame.ctypes.data
    run_plan(frame.ctypes.data, 0, 0)
