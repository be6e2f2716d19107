"""Element-wise functions of integers and truth values, and changes of type."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, part
from node.kernels.inference.bounds import fits
from node.kernels.inference.columns import IN_A, IN_B, INVALID, OK, OUT
from node.kernels.inference.general.codes import (
    ADD,
    AND,
    BOOL,
    DIV,
    EQUAL,
    F32,
    FUNCTION,
    GREATER_EQUAL,
    INT_ABS,
    INT_NEG,
    INT_NOT,
    INT_SIGN,
    MAX,
    MIN,
    MUL,
    OR,
    POW,
    RANK,
    SHAPE,
    STRIDES_A,
    STRIDES_B,
    SUB,
    XOR,
)
from node.kernels.inference.general.elementwise import compared
from node.kernels.inference.general.views import (
    binary_row_fits,
    count_of,
    kind_in,
    kind_out,
    line_start,
    load,
    size_of,
    store,
)
from node.kernels.inference.kinds import FLOATS, INT, INTEGERS, ROW

FAR = np.float32(9.0e18)
"""Just inside the range of int64."""


@kernel
def divided(a: int, b: int) -> int:
    """Give the quotient rounded towards zero; 0 for a divisor of 0, and wrapped around for -1."""
    if b == 0:
        return 0
    if b == -1:
        return -a
    quotient = a // b
    return quotient + 1 if quotient < 0 and quotient * b != a else quotient


@kernel
def power(a: int, b: int) -> int:
    """Give a**b, wrapped around; for a negative exponent the reciprocal rounded towards zero."""
    if b < 0:
        if a in (1, -1):
            return 1 if a == 1 or b % 2 == 0 else -1
        return 0
    result = 1
    while b > 0:
        if b & 1:
            result *= a
        a *= a
        b >>= 1
    return result


@kernel
def combined(function: int, a: int, b: int) -> Any:
    """Give a function of two integers by its code; those of one ignore b, an unknown code gives a."""
    if function == ADD:
        return a + b
    if function == SUB:
        return a - b
    if function == MUL:
        return a * b
    if function == DIV:
        return divided(a, b)
    if function == MAX:
        return max(a, b)
    if function == MIN:
        return min(a, b)
    if function == POW:
        return power(a, b)
    if EQUAL <= function <= GREATER_EQUAL:
        return np.int64(compared(function, a, b))
    return of_bits(function, a, b)


@kernel
def of_bits(function: int, a: int, b: int) -> Any:
    """Give a logical function or a function of one integer."""
    if function == AND:
        return a & b
    if function == OR:
        return a | b
    if function == XOR:
        return a ^ b
    if function == INT_ABS:
        return -a if a < 0 else a
    if function == INT_NEG:
        return -a
    if function == INT_NOT:
        return np.int64(a == 0)
    if function == INT_SIGN:
        return np.int64(a > 0) - np.int64(a < 0)
    return a


@part(INT, INTEGERS, ROW)
def binary_int(memory: Any, row: Any) -> int:
    """Run a BINARY_INT row: 64-bit arithmetic on two views of one kind, wrapped into the kind of the output."""
    total = memory[0].size
    kind, result = kind_in(row), kind_out(row)
    item, item_out = size_of(kind), size_of(result)
    if item == 0 or F32 in (kind, result) or not binary_row_fits(row, item, item_out, total):
        return INVALID
    width = row[SHAPE + RANK - 1]
    step_a, step_b = row[STRIDES_A + RANK - 1], row[STRIDES_B + RANK - 1]
    out = row[OUT] // item_out
    for line in range(count_of(row, 0, RANK - 1, total)):
        a = row[IN_A] // item + line_start(row, STRIDES_A, line)
        b = row[IN_B] // item + line_start(row, STRIDES_B, line)
        for i in range(width):
            value = combined(row[FUNCTION], load(memory, kind, a + i * step_a), load(memory, kind, b + i * step_b))
            store(memory, result, out + i, value)
        out += width
    return OK


@kernel
def whole(value: Any) -> Any:
    """Give a float32 rounded towards zero as int64; NaN is 0, what lies outside is a limit."""
    if np.isnan(value):
        return np.int64(0)
    value = -FAR if value < -FAR else value
    return np.int64(FAR if value > FAR else value)


@part(INT, INTEGERS, FLOATS, ROW)
def cast(memory: Any, f32: Any, row: Any) -> int:
    """Run a CAST row: elements of one kind to elements of another."""
    total = memory[0].size
    kind, result = kind_in(row), kind_out(row)
    item, item_out = size_of(kind), size_of(result)
    size = count_of(row, 0, RANK, total)
    if size < 0 or item == 0 or item_out == 0:
        return INVALID
    if not (fits(row[IN_A], size * item, item, total) and fits(row[OUT], size * item_out, item_out, total)):
        return INVALID
    a, out = row[IN_A] // item, row[OUT] // item_out
    for i in range(size):
        if kind == F32 and result == F32:
            f32[out + i] = f32[a + i]
        elif kind == F32 and result == BOOL:
            store(memory, result, out + i, int(f32[a + i] != np.float32(0.0)))
        elif kind == F32:
            store(memory, result, out + i, whole(f32[a + i]))
        elif result == F32:
            f32[out + i] = np.float32(load(memory, kind, a + i))
        else:
            store(memory, result, out + i, load(memory, kind, a + i))
    return OK
