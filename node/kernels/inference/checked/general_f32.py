"""Checked products of two activations, and of the states of LSTM and GRU: the plain step, then the sum of each row.

A row of outputs has to sum up to bias and inputs times the sums of rows of the right-hand side (Huang and Abraham,
"Algorithm-based fault tolerance for matrix operations", IEEE Trans. Computers C-33(6), 1984), within the bound of
``sums_f32``. Sums of rows of weights are kept; those of an activation, and of what comes to a state from the inputs,
are made anew for each step, in float32: N summands round N - 1 times, so the bound has N more roundings, and sums of
magnitudes are made larger by more than they may lack.

A product leaves its operands and its sums where they were, so they are checked when the step is done. Of several
samples and moments each is a step of its own here, since the next one takes its memory. A cell state is put back after
an alarm: the step can be run again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import array_at, call_at, kernel
from node.kernels.inference.checked.rows import ALARM, COLUMNS, FRAME_WORDS, OTHER_SHAPE, unpacked
from node.kernels.inference.checked.rows import ARENA as ARENA_PLACE
from node.kernels.inference.checked.sums_f32 import UNIT, check_pixels, group_words
from node.kernels.inference.columns import BIAS, IN_A, IN_B, INVALID, OK, OPCODE, OUT, SCALES, SCRATCH
from node.kernels.inference.general.codes import FUNCTION, LSTM, MATMUL_F32, SHAPE, STRIDES_A, STRIDES_B
from node.kernels.inference.general.matmul import BATCHES
from node.kernels.inference.general.recurrent import LINEAR_BEFORE_RESET, MOMENTS, NEXT_INPUT, NEXT_OUTPUT, padded
from node.kernels.inference.tiles import LANES
from node.kernels.inference.tiles_f32 import HEAD_BYTES, ROWS, SLOT_BYTES

RUN, SPARE_ROW, GENERAL_WORDS = FRAME_WORDS, FRAME_WORDS + 1, FRAME_WORDS + 2
"""Words of a frame after those of ``rows``: the kernel that interprets general steps, and a row that it works on."""

MOST_ROWS = 32
"""Rows that are judged at once."""

SLOTS, SLOT = HEAD_BYTES // 4, SLOT_BYTES // 4
LANE = SLOTS + MOST_ROWS * SLOT
KEPT_WORDS = LANE + 2 * LANES
"""In the memory to count in, as words of four bytes: the slots of rows and the size of one; sixteen sums and magnitudes
that are made beside them; and how many words there are before a cell state."""


@kernel
def count_values(values: Any, lanes: Any) -> None:
    """Write the sums of values to sixteen lanes, and of their magnitudes to the next sixteen."""
    for j in range(2 * LANES):
        lanes[j] = np.float32(0.0)
    whole = values.size // LANES * LANES
    for start in range(0, whole, LANES):
        for j in range(LANES):
            lanes[j] += values[start + j]
        for j in range(LANES):
            lanes[LANES + j] += abs(values[start + j])
    for j in range(values.size - whole):
        lanes[j] += values[whole + j]
        lanes[LANES + j] += abs(values[whole + j])


@kernel
def summed(lanes: Any, first: int) -> Any:
    """Give the sum of sixteen lanes from ``first`` on."""
    total = np.float32(0.0)
    for j in range(first, first + LANES):
        total += lanes[j]
    return total


@kernel
def enlarged(magnitude: Any, summands: int) -> Any:
    """Give a sum of magnitudes made larger than what rounding so many summands may have taken from it."""
    return np.float32(magnitude * np.float32(1.0 + 4.0 * summands * UNIT))


@kernel
def add_values(values: Any, totals: Any, magnitudes: Any) -> None:
    """Add values to totals, and what they amount to to magnitudes."""
    for k in range(totals.size):
        totals[k] += values[k]
        magnitudes[k] += abs(values[k])


@kernel
def sum_rows(f32: Any, row: Any, right: int, lanes: Any, sums: int) -> None:
    """Write the sums of rows of the right-hand side of a product from word ``right`` on, and of their magnitudes."""
    columns, depth, b_n, b_k = row[SHAPE + 4], row[SHAPE + 5], row[STRIDES_B + 4], row[STRIDES_B + 5]
    blocks = padded(depth)
    totals, magnitudes = f32[sums : sums + depth], f32[sums + blocks : sums + blocks + depth]
    if b_n == 1:
        for k in range(depth):
            start = right + k * b_k
            count_values(f32[start : start + columns], lanes)
            totals[k], magnitudes[k] = summed(lanes, 0), enlarged(summed(lanes, LANES), columns)
        return
    for k in range(depth):
        totals[k] = magnitudes[k] = np.float32(0.0)
    for n in range(columns):
        start = right + n * b_n
        if b_k == 1:
            add_values(f32[start : start + depth], totals, magnitudes)
            continue
        for k in range(depth):
            totals[k] += f32[start + k * b_k]
            magnitudes[k] += abs(f32[start + k * b_k])
    for k in range(depth):
        magnitudes[k] = enlarged(magnitudes[k], columns)


@kernel
def check_rows(memory: Any, inputs: Any, outputs: Any, sums: int, kept: Any) -> None:
    """Compare rows of outputs with what they should sum up to; the first word of ``kept`` becomes 1 where one does not.

    ``inputs`` are the place of the first, words from one row to the next and the number of rows, at most
    :data:`MOST_ROWS`; ``outputs`` the place of the first, their number in a row and the depth; ``sums`` the place of
    the check data; all in words of four bytes.
    """
    u8, f32 = memory
    left, stride, count = inputs
    out, columns, depth = outputs
    words = kept.view(np.float32)
    for slot in range(count if count < ROWS else (count + ROWS - 1) // ROWS * ROWS):
        # As tiles count: the last one moves back to be whole.
        row = slot if count < ROWS else min(slot // ROWS * ROWS, count - ROWS) + slot % ROWS
        place, start = SLOTS + slot * SLOT, out + row * columns
        count_values(f32[start : start + columns], words[place : place + 2 * LANES])
    # Each sixteen channels stand for one rounding more.
    channels = columns + LANES * (columns + 4)
    check_pixels(u8, count, channels, (4 * left, 4 * stride, (0, 1, 0, 1, depth)), (kept, 4 * sums))


@kernel
def check_matmul(memory: Any, row: Any, sums: int, kept: Any) -> None:
    """Check a product of two activations that was computed just now."""
    f32 = memory[1]
    rows, columns, depth = row[SHAPE + 3], row[SHAPE + 4], row[SHAPE + 5]
    lanes = kept.view(np.float32)[LANE : LANE + 2 * LANES]
    out, known, copy = row[OUT] // 4, -1, sums + group_words(depth)
    for batch in range(row[SHAPE] * row[SHAPE + 1] * row[SHAPE + 2]):
        a, b, rest = row[IN_A] // 4, row[IN_B] // 4, batch
        for i in range(BATCHES - 1, -1, -1):
            a += (rest % row[SHAPE + i]) * row[STRIDES_A + i]
            b += (rest % row[SHAPE + i]) * row[STRIDES_B + i]
            rest //= row[SHAPE + i]
        if b != known:
            sum_rows(f32, row, b, lanes, sums)
            known = b
        stride, step = row[STRIDES_A + 3], row[STRIDES_A + 5]
        most = MOST_ROWS if step == 1 else 1
        for m in range(0, rows, most):
            left, count = a + m * stride, min(most, rows - m)
            if step != 1:
                for k in range(depth):
                    f32[copy + k] = f32[left + k * step]
                left = copy
            check_rows(memory, (left, stride, count), (out, columns, depth), sums, kept)
            out += count * columns


@kernel
def check_state(memory: Any, left: int, place: Any, sums: int, kept: Any) -> None:
    """Check a product of a state with weights; ``place`` is that of bias and outputs, their number and the depth."""
    bias, out, columns, depth = place
    f32 = memory[1]
    lanes = kept.view(np.float32)[LANE : LANE + 2 * LANES]
    count_values(f32[bias : bias + columns], lanes)
    blocks = padded(depth)
    f32[sums + 2 * blocks] = summed(lanes, 0)
    f32[sums + 2 * blocks + 1] = enlarged(summed(lanes, LANES), columns)
    check_rows(memory, (left, depth, 1), (out, columns, depth), sums, kept)


@kernel
def check_sample(memory: Any, row: Any, sums: int, kept: Any) -> None:
    """Check the products of one sample of an LSTM or GRU step that was computed just now."""
    hidden, state, inputs, scratch = row[SHAPE + 1], row[IN_B] // 4, row[IN_A] // 4, row[SCRATCH] // 4
    if row[OPCODE] == LSTM:
        check_state(memory, state, (inputs, scratch, 4 * hidden, hidden), sums, kept)
        return
    pair, single = padded(2 * hidden), padded(hidden)
    check_state(memory, state, (inputs, scratch, 2 * hidden, hidden), sums, kept)
    before = row[FUNCTION] & LINEAR_BEFORE_RESET != 0
    left = state if before else scratch + pair + single
    bias = row[BIAS] // 4 if before else inputs + 2 * hidden
    check_state(memory, left, (bias, scratch + pair, hidden, hidden), sums + group_words(hidden), kept)


@kernel
def run_row(frame: Any, row: Any) -> Any:
    """Run a general step by its interpreter; give -1, or 0 where it is invalid."""
    total = frame[ARENA_PLACE + 1]
    words = (total // 4,)
    arena = frame[ARENA_PLACE]
    memory = array_at(arena, (total,), np.uint8), array_at(arena, words, np.int32), array_at(arena, words, np.float32)
    spare = array_at(frame[SPARE_ROW], (COLUMNS,), np.int64)
    return call_at(frame[RUN], (memory, row.reshape(1, COLUMNS), spare, 0, 1))


@kernel
def take_sample(row: Any, moment: int, n: int, part: Any) -> None:
    """Write the row of one sample at one of the moments of a row: its state is the output of the moment before."""
    for column in range(COLUMNS):
        part[column] = row[column]
    sample = 4 * n * row[SHAPE + 1]
    part[SHAPE] = part[MOMENTS] = 1
    part[IN_A] += 4 * (moment * row[NEXT_INPUT] + n * row[STRIDES_A])
    part[IN_B] = sample + (row[IN_B] if moment == 0 else row[OUT] + 4 * (moment - 1) * row[NEXT_OUTPUT])
    part[OUT] += sample + 4 * moment * row[NEXT_OUTPUT]
    part[SCALES] += sample if row[OPCODE] == LSTM else 0


@kernel
def run_samples(frame: Any, memory: Any, rows: Any, sums: int, kept: Any) -> Any:
    """Run the samples of an LSTM or GRU step one by one, and check each; give -1, or 0 where the step is invalid."""
    row, part = rows
    f32 = memory[1]
    cells = row[SHAPE] * row[SHAPE + 1] if row[OPCODE] == LSTM else 0
    cell, saved = row[SCALES] // 4, kept.view(np.float32)[KEPT_WORDS:]
    for i in range(cells):
        saved[i] = f32[cell + i]
    for moment in range(row[MOMENTS]):
        for n in range(row[SHAPE]):
            take_sample(row, moment, n, part)
            if run_row(frame, part) >= 0:
                return 0
            check_sample(memory, part, sums, kept)
    if kept[0] != 0:
        for i in range(cells):
            f32[cell + i] = saved[i]
    return -1


@kernel
def checked_general_f32(place: int, sums: int) -> int:
    """Run a MATMUL_F32, LSTM or GRU row, and check the sum of each row of each product.

    Parameters
    ----------
    place : int
        Address of a frame (see ``rows`` and :data:`RUN`).
    sums : int
        Word of the arena where the check data of the step begin.

    Returns
    -------
    int
        OK, ALARM, or, where nothing was done, INVALID or OTHER_SHAPE.
    """
    u8, (given, compiled, part), kept = unpacked(place)
    frame = array_at(place, (GENERAL_WORDS,), np.int64)
    for column in range(COLUMNS):
        if given[column] != compiled[column]:
            return OTHER_SHAPE
    memory = u8, array_at(frame[ARENA_PLACE], (u8.size // 4,), np.float32)
    kept[0] = 0
    if compiled[OPCODE] == MATMUL_F32:
        failed = run_row(frame, compiled)
        if failed < 0:
            check_matmul(memory, compiled, sums, kept)
    else:
        failed = run_samples(frame, memory, (compiled, part), sums, kept)
    if failed >= 0:
        return INVALID
    return ALARM if kept[0] != 0 else OK


def warm() -> None:
    """Compile or load the kernel; a row that is not the compiled one."""
    rows = np.arange(2 * COLUMNS)
    frame = np.zeros(GENERAL_WORDS, np.int64)
    frame[: FRAME_WORDS - 1] = rows.ctypes.data
    frame[1], frame[3] = 0, rows[COLUMNS:].ctypes.data
    checked_general_f32(frame.ctypes.data, 0)
