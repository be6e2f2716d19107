"""Steps over windows, convolutions of all kinds: checked, then computed in one piece or shared out to a crew."""

from __future__ import annotations

from typing import Any

from node.jit import kernel, part
from node.kernels.inference.bounds import packed_columns
from node.kernels.inference.columns import (
    BIAS,
    GROUPS,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    INVALID,
    KERNEL_H,
    KERNEL_W,
    OK,
    OPCODE,
    OUT,
    OUT_C,
    OUT_H,
    OUT_W,
    SCALES,
    SCRATCH,
    WEIGHTS,
)
from node.kernels.inference.conv_f32 import by_chunks_f32, by_lines_f32, conv_is_valid_f32, in_lines_f32, scratch_bytes
from node.kernels.inference.conv_int8 import (
    begin_conv_int8,
    by_chunks_int8,
    by_lines_int8,
    conv_is_valid_int8,
    in_lines_int8,
    input_bytes,
)
from node.kernels.inference.crew import (
    ASLEEP,
    DONE,
    LEAST,
    LINE,
    LINGER,
    SLOT,
    THREADS,
    claim,
    claimed_pieces,
    count_one,
    give_way,
    share_out,
    show,
    wait_for,
)
from node.kernels.inference.depthwise_f32 import depthwise_is_valid_f32, depthwise_part_f32
from node.kernels.inference.depthwise_int8 import depthwise_is_valid_int8, depthwise_part_int8
from node.kernels.inference.kinds import BYTES, INT, ROW
from node.kernels.inference.limits import SLACK
from node.kernels.inference.shares import share_of, units_of

CONV_F32, DEPTHWISE_F32, CONV_INT8, DEPTHWISE_INT8 = 1, 2, 11, 12

EACH = 4
"""Pieces for each thread, so that one that begins late or is slow takes fewer."""


@kernel
def is_window(opcode: int) -> Any:
    """Tell whether a step of this kind is run here."""
    return opcode in (CONV_F32, DEPTHWISE_F32, CONV_INT8, DEPTHWISE_INT8)


@kernel
def is_valid(row: Any, total: int) -> Any:
    """Check a row of such a step in an arena of that many bytes."""
    opcode = row[OPCODE]
    if opcode == CONV_F32:
        return conv_is_valid_f32(row, total)
    if opcode == CONV_INT8:
        return conv_is_valid_int8(row, total)
    if opcode == DEPTHWISE_F32:
        return depthwise_is_valid_f32(row, total)
    return depthwise_is_valid_int8(row, total)


@kernel
def in_lines(row: Any, total: int) -> Any:
    """Tell whether a valid row is computed by rows of output."""
    opcode = row[OPCODE]
    if opcode == CONV_F32:
        return in_lines_f32(row, total)
    return opcode != CONV_INT8 or in_lines_int8(row, total)


@kernel
def private_bytes(row: Any, total: int) -> Any:
    """Give the bytes of scratch that every thread needs for itself in a valid row."""
    opcode = row[OPCODE]
    if opcode == CONV_F32:
        return scratch_bytes(row, total)
    return input_bytes(row, total) + SLACK if opcode == CONV_INT8 else 0


@kernel
def work_of(row: Any) -> Any:
    """Give the multiplications of a valid row, as many times as one takes longer than in a float convolution."""
    outputs = row[OUT_H] * row[OUT_W] * row[OUT_C] * row[KERNEL_H] * row[KERNEL_W]
    opcode = row[OPCODE]
    if opcode == CONV_F32:
        return outputs * (row[IN_C] // row[GROUPS])
    return outputs * (row[IN_C] // row[GROUPS]) // 2 if opcode == CONV_INT8 else 4 * outputs


@kernel
def meet(a: int, a_size: int, b: int, b_size: int) -> Any:
    """Tell whether two ranges of bytes have some in common."""
    return a < b + b_size and b < a + a_size


@kernel
def can_be_shared(row: Any, total: int) -> Any:
    """Tell whether the order of the work in a valid row can make no difference.

    What a struck row writes, outputs or scratch, may lie in what it reads.
    """
    opcode = row[OPCODE]
    dense = opcode in (CONV_F32, CONV_INT8)
    item = 4 if opcode in (CONV_F32, DEPTHWISE_F32) else 1
    columns = packed_columns(row) if dense else row[OUT_C]
    inputs = item * row[IN_H] * row[IN_W] * row[IN_C]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS] if dense else 1)
    weights = item * depth * columns
    outputs = item * row[OUT_H] * row[OUT_W] * row[OUT_C]
    scratch = private_bytes(row, total) + (4 * columns - SLACK if opcode == CONV_INT8 else 0)
    for place, size in ((row[OUT], outputs), (row[SCRATCH], scratch)):
        if meet(place, size, row[IN_A], inputs) or meet(place, size, row[WEIGHTS], weights):
            return False
        if meet(place, size, row[BIAS], 4 * columns) or (item == 1 and meet(place, size, row[SCALES], 4 * columns)):
            return False
    return True


@kernel
def needs_of(row: Any, total: int) -> Any:
    """Give the work of a row and the scratch of each thread that it takes to share it, 0 and 0 where that cannot be."""
    if not is_window(row[OPCODE]) or not is_valid(row, total) or not can_be_shared(row, total):
        return 0, 0
    return work_of(row), private_bytes(row, total)


@kernel
def pieces_of(row: Any, total: int) -> Any:
    """Give the pieces into which a crew cuts a valid row; 1 where that would not pay or not be the same."""
    work, least = work_of(row), row[LEAST]
    if work < least or private_bytes(row, total) > row[SLOT] or not can_be_shared(row, total):
        return 1
    most = EACH * row[THREADS]
    return min(
        units_of(row, in_lines(row, total)), most if work >= most // 2 * least else max(2, 2 * work // max(1, least))
    )


@part(INT, BYTES, INT, ROW, INT)
def run_window(u8: Any, total: int, row: Any, number: int) -> int:
    """Run such a step and give OK or INVALID, or help to run those of another thread and give OK.

    One function for both, since each level of calls is optimised once more by the compiler.

    Parameters
    ----------
    u8 : ndarray
        The whole arena as bytes, then the scratch of each thread.
    total : int
        Bytes of the arena.
    row : ndarray of int64
        The step, outside the arena; then the words of a crew, where there is one.
    number : int
        -1 without a crew, 0 for the thread that runs the steps, else that of a helper: it returns when no piece has
        come for a while.
    """
    pieces, piece, scratch, unchecked = 1, 0, row[SCRATCH], row[:0]
    if number > 0:
        piece, scratch = claim(row), total + number * row[SLOT]
    else:
        if not is_valid(row, total):
            return INVALID
        if row[OPCODE] == CONV_INT8:
            begin_conv_int8(u8, row, unchecked)
            scratch += 4 * packed_columns(row)
        if number == 0:
            pieces = pieces_of(row, total)
            share_out(row, pieces - 1)
            # The last piece is for this thread and the arena's scratch, which it leaves as one thread leaves it.
            piece = pieces - 1
    looks = 0
    while looks < LINGER:
        looks += 1
        if piece >= 0:
            looks = 0
            pieces = claimed_pieces(row) + 1 if number > 0 else pieces
            opcode, lined = row[OPCODE], in_lines(row, total)
            share = share_of(row, lined, piece, pieces)
            if opcode == CONV_F32:
                if lined:
                    by_lines_f32(u8, row, (share[0], share[1]), scratch, (unchecked, 0))
                else:
                    by_chunks_f32(u8, row, share, scratch, (unchecked, 0))
            elif opcode == CONV_INT8:
                if lined:
                    by_lines_int8(u8, row, (share[0], share[1]), scratch, unchecked)
                else:
                    by_chunks_int8(u8, row, share, scratch, unchecked)
            elif opcode == DEPTHWISE_F32:
                depthwise_part_f32(u8, row, share[0], share[1])
            else:
                depthwise_part_int8(u8, row, share[0], share[1])
            if number > 0 or piece < pieces - 1:
                count_one(row, DONE)
        if number <= 0:
            if pieces == 1:
                return OK
            if piece < 0:
                wait_for(row, pieces - 1)
                return OK
            scratch = total
        elif looks % 64 == 63:
            give_way()
        piece = claim(row)
    show(row, ASLEEP + LINE * (number - 1), 1)
    return OK
