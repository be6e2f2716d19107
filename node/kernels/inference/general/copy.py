"""Moving elements: strided copies, masked copies, selection along an axis."""

from __future__ import annotations

from typing import Any

from node.jit import kernel, part
from node.kernels.inference.bounds import fits, volume, work_limit
from node.kernels.inference.columns import IN_A, IN_B, INVALID, OK, OUT
from node.kernels.inference.general.codes import I32, I64, RANK, SHAPE, STRIDES_A, STRIDES_B
from node.kernels.inference.general.views import (
    count_of,
    kind_in,
    kind_out,
    line_start,
    load,
    size_of,
    view_fits,
)
from node.kernels.inference.kinds import INT, INTEGERS, ROW
from node.kernels.inference.tiles import copy_bytes, copy_bytes_apart, copy_long_words_apart, copy_words_apart


@kernel
def copy_line(u8: Any, item: int, source: Any, place: Any, count: int) -> None:
    """Copy elements of ``item`` bytes; ``source`` and ``place`` are the first byte and the bytes between two."""
    if source[1] == item and place[1] == item:
        copy_bytes(u8, source[0], place[0], count * item)
    elif item == 4:
        copy_words_apart(u8, source, place, count)
    elif item == 1:
        copy_bytes_apart(u8, source, place, count)
    else:
        copy_long_words_apart(u8, source, place, count)


@part(INT, INTEGERS, ROW)
def copy(memory: Any, row: Any) -> int:
    """Run a COPY row: elements from one view to another, whatever they hold."""
    u8, _, _ = memory
    item = size_of(kind_in(row))
    total = u8.size
    if count_of(row, 0, RANK, work_limit(total)) < 0 or item == 0:
        return INVALID
    if not (view_fits(row, STRIDES_A, row[IN_A], item, total) and view_fits(row, STRIDES_B, row[OUT], item, total)):
        return INVALID
    width = row[SHAPE + RANK - 1]
    step_a, step_out = row[STRIDES_A + RANK - 1], row[STRIDES_B + RANK - 1]
    for line in range(count_of(row, 0, RANK - 1, work_limit(total))):
        a = row[IN_A] + item * line_start(row, STRIDES_A, line)
        out = row[OUT] + item * line_start(row, STRIDES_B, line)
        copy_line(u8, item, (a, item * step_a), (out, item * step_out), width)
    return OK


@part(INT, INTEGERS, ROW)
def select(memory: Any, row: Any) -> int:
    """Run a SELECT row: elements of b go to the output where a, bytes, is not 0; the others stay."""
    u8, i32, i64 = memory
    item = size_of(kind_out(row))
    total = u8.size
    size = count_of(row, 0, RANK, total)
    if size < 0 or item == 0 or not fits(row[OUT], size * item, item, total):
        return INVALID
    if not (view_fits(row, STRIDES_A, row[IN_A], 1, total) and view_fits(row, STRIDES_B, row[IN_B], item, total)):
        return INVALID
    width = row[SHAPE + RANK - 1]
    step_a, step_b = row[STRIDES_A + RANK - 1], row[STRIDES_B + RANK - 1]
    out = row[OUT] // item
    for line in range(size // width):
        a = row[IN_A] + line_start(row, STRIDES_A, line)
        b = row[IN_B] // item + line_start(row, STRIDES_B, line)
        if step_a == 0:
            if u8[a] != 0:
                copy_line(u8, item, (item * b, item * step_b), (item * out, item), width)
            out += width
            continue
        for i in range(width):
            if u8[a + i * step_a] != 0:
                if item == 4:
                    i32[out + i] = i32[b + i * step_b]
                elif item == 1:
                    u8[out + i] = u8[b + i * step_b]
                else:
                    i64[out + i] = i64[b + i * step_b]
        out += width
    return OK


@kernel
def chosen(memory: Any, kind: int, place: int, size: int) -> int:
    """Give an index from memory, counted from the end where it is negative; -1 where it is out of range."""
    index = load(memory, kind, place)
    index = index + size if index < 0 else index
    return index if 0 <= index < size else -1


@part(INT, INTEGERS, ROW)
def gather(memory: Any, row: Any) -> int:
    """Run a GATHER row: from a [outer][axis][inner] take the indices b along the axis.

    Dimensions are outer, axis, number of indices, inner. An index out of range makes the row invalid.
    """
    u8, _, _ = memory
    total = u8.size
    outer, axis, taken, inner = row[SHAPE], row[SHAPE + 1], row[SHAPE + 2], row[SHAPE + 3]
    item, index_item = size_of(kind_out(row)), size_of(kind_in(row))
    taken_from, given = volume(outer, axis, inner, total), volume(outer, taken, inner, total)
    if taken_from < 0 or given < 0 or item == 0 or kind_in(row) not in (I32, I64):
        return INVALID
    if not (
        fits(row[IN_A], taken_from * item, item, total)
        and fits(row[IN_B], taken * index_item, index_item, total)
        and fits(row[OUT], given * item, item, total)
    ):
        return INVALID
    first = row[IN_B] // index_item
    for i in range(taken):
        if chosen(memory, kind_in(row), first + i, axis) < 0:
            return INVALID
    block = inner * item
    for o in range(outer):
        for i in range(taken):
            # Where output and indices overlap, one that was written over counts as the first.
            index = max(0, chosen(memory, kind_in(row), first + i, axis))
            copy_bytes(u8, row[IN_A] + (o * axis + index) * block, row[OUT] + (o * taken + i) * block, block)
    return OK
