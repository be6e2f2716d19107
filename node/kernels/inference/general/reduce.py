"""Sums, means, extremes and their places over any axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, part
from node.kernels.inference.bounds import fits, work_limit
from node.kernels.inference.columns import IN_A, INVALID, OK, OUT
from node.kernels.inference.general.codes import (
    ARG_MAX,
    ARG_MAX_LAST,
    ARG_MIN,
    ARG_MIN_LAST,
    F32,
    FUNCTION,
    I64,
    LARGEST,
    MEAN,
    PRODUCT,
    RANK,
    SHAPE,
    SMALLEST,
    STRIDES_A,
    SUM,
)
from node.kernels.inference.general.integers import divided
from node.kernels.inference.general.views import count_of, kind_in, kind_out, load, size_of, store, view_fits
from node.kernels.inference.kinds import FLOATS, INT, INTEGERS, ROW

KEPT = 3
"""Dimensions 0 to 2 are kept, 3 to 5 are reduced."""


@kernel
def row_fits(row: Any, item: int, item_out: int, total: int) -> bool:
    """Check dimensions, the view of a and the dense output."""
    kept = count_of(row, 0, KEPT, total)
    if kept < 0 or item == 0 or item_out == 0 or count_of(row, 0, RANK, work_limit(total)) < 0:
        return False
    return view_fits(row, STRIDES_A, row[IN_A], item, total) and fits(row[OUT], kept * item_out, item_out, total)


@kernel
def place_of(row: Any, first: int, index: int) -> int:
    """Give the element offset of the index-th position over three dimensions from ``first``."""
    place = 0
    for i in range(first + KEPT - 1, first - 1, -1):
        place += (index % row[SHAPE + i]) * row[STRIDES_A + i]
        index //= row[SHAPE + i]
    return place


@kernel
def total_of(f32: Any, row: Any, start: int, function: int) -> Any:
    """Give sum or product of one output in float64, in the order of the input's dimensions."""
    result = 1.0 if function == PRODUCT else 0.0
    step = row[STRIDES_A + RANK - 1]
    width = row[SHAPE + RANK - 1]
    for y in range(row[SHAPE + KEPT]):
        for x in range(row[SHAPE + KEPT + 1]):
            a = start + y * row[STRIDES_A + KEPT] + x * row[STRIDES_A + KEPT + 1]
            for i in range(width):
                value = np.float64(f32[a + i * step])
                result = result * value if function == PRODUCT else result + value
    return result


@kernel
def place_of_extreme(f32: Any, row: Any, start: int, function: int, count: int) -> int:
    """Give the position, among the reduced, of the largest or smallest value; NaN wins."""
    best, chosen = f32[start], 0
    for index in range(1, count):
        value = f32[start + place_of(row, KEPT, index)]
        equal = value == best or (np.isnan(value) and np.isnan(best))
        if function in (LARGEST, ARG_MAX, ARG_MAX_LAST):
            better = value > best
        else:
            better = value < best
        better = (better and not np.isnan(best)) or (np.isnan(value) and not np.isnan(best))
        if better or (equal and function in (ARG_MAX_LAST, ARG_MIN_LAST)):
            best, chosen = value, index
    return chosen


@part(INT, INTEGERS, FLOATS, ROW)
def reduce_f32(memory: Any, f32: Any, row: Any) -> int:
    """Run a REDUCE_F32 row; places come out as int64, everything else as float32."""
    total = 4 * f32.size
    function = row[FUNCTION]
    places = function >= ARG_MAX
    if not row_fits(row, 4, 8 if places else 4, total) or kind_out(row) != (I64 if places else F32):
        return INVALID
    count = row[SHAPE + 3] * row[SHAPE + 4] * row[SHAPE + 5]
    for kept in range(count_of(row, 0, KEPT, total)):
        start = row[IN_A] // 4 + place_of(row, 0, kept)
        if places:
            memory[2][row[OUT] // 8 + kept] = place_of_extreme(f32, row, start, function, count)
        elif function in (LARGEST, SMALLEST):
            best = place_of_extreme(f32, row, start, function, count)
            f32[row[OUT] // 4 + kept] = f32[start + place_of(row, KEPT, best)]
        else:
            value = total_of(f32, row, start, function)
            f32[row[OUT] // 4 + kept] = np.float32(value / np.float64(count) if function == MEAN else value)
    return OK


@part(INT, INTEGERS, ROW)
def reduce_int(memory: Any, row: Any) -> int:
    """Run a REDUCE_INT row: 64-bit arithmetic, wrapped into the kind of the output."""
    total = memory[0].size
    kind, result, function = kind_in(row), kind_out(row), row[FUNCTION]
    item, item_out = size_of(kind), size_of(result)
    if F32 in (kind, result) or not row_fits(row, item, item_out, total):
        return INVALID
    count = row[SHAPE + 3] * row[SHAPE + 4] * row[SHAPE + 5]
    for kept in range(count_of(row, 0, KEPT, total)):
        start = row[IN_A] // item + place_of(row, 0, kept)
        best = load(memory, kind, start)
        chosen, sum_, product = 0, best, best
        for index in range(1, count):
            value = load(memory, kind, start + place_of(row, KEPT, index))
            sum_ += value
            product *= value
            larger = value > best if function in (LARGEST, ARG_MAX, ARG_MAX_LAST) else value < best
            if larger or (value == best and function in (ARG_MAX_LAST, ARG_MIN_LAST)):
                best, chosen = value, index
        if function in (SUM, MEAN):
            best = sum_ if function == SUM else divided(sum_, count)
        elif function == PRODUCT:
            best = product
        elif function in (ARG_MAX, ARG_MIN, ARG_MAX_LAST, ARG_MIN_LAST):
            best = chosen
        store(memory, result, row[OUT] // item_out + kept, best)
    return OK
