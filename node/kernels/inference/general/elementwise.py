"""Element-wise functions of one and two floats with broadcasting."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, kernel, part
from node.kernels.inference.bounds import fits
from node.kernels.inference.columns import IN_A, IN_B, INVALID, OK, OUT
from node.kernels.inference.general.codes import (
    ADD,
    ALPHA,
    BETA,
    DIV,
    EQUAL,
    FUNCTION,
    GREATER,
    GREATER_EQUAL,
    LESS,
    LESS_EQUAL,
    MAX,
    MIN,
    MUL,
    POW,
    PRELU,
    RANK,
    SHAPE,
    STRIDES_A,
    STRIDES_B,
    SUB,
)
from node.kernels.inference.general.functions import pow64, unary
from node.kernels.inference.general.views import binary_row_fits, count_of, line_start
from node.kernels.inference.kinds import BYTES, FLOATS, INT, ROW


@part(INT, FLOATS, ROW)
def map_f32(f32: Any, row: Any) -> int:
    """Run a MAP_F32 row: one function of every value; ALPHA and BETA are bits of its parameters."""
    total = 4 * f32.size
    size = count_of(row, 0, RANK, total)
    if size < 0 or not (fits(row[IN_A], 4 * size, 4, total) and fits(row[OUT], 4 * size, 4, total)):
        return INVALID
    alpha, beta = f32_from_bits(row[ALPHA]), f32_from_bits(row[BETA])
    a, out = row[IN_A] // 4, row[OUT] // 4
    for i in range(size):
        f32[out + i] = unary(row[FUNCTION], f32[a + i], alpha, beta)
    return OK


@kernel
def combined(function: int, a: Any, b: Any) -> Any:
    """Give a function of two float32 by its code, as float32; an unknown code gives a."""
    if function == ADD:
        return a + b
    if function == SUB:
        return a - b
    if function == MUL:
        return a * b
    if function == DIV:
        return a / b
    if function == MAX:
        return a if a > b or np.isnan(a) else b
    if function == MIN:
        return a if a < b or np.isnan(a) else b
    if function == POW:
        return np.float32(pow64(np.float64(a), np.float64(b)))
    if function == PRELU:
        return a * b if a < np.float32(0.0) else a
    return a


@kernel
def combine_dense(a: Any, b: Any, out: Any, function: int) -> None:
    """Add, subtract or multiply two lines of neighbouring values."""
    if function == ADD:
        for i in range(out.size):
            out[i] = a[i] + b[i]
    elif function == SUB:
        for i in range(out.size):
            out[i] = a[i] - b[i]
    else:
        for i in range(out.size):
            out[i] = a[i] * b[i]


@kernel
def combine_scalar(a: Any, b: Any, out: Any, function: int) -> None:
    """Add, subtract or multiply a line of neighbouring values and one value."""
    if function == ADD:
        for i in range(out.size):
            out[i] = a[i] + b
    elif function == SUB:
        for i in range(out.size):
            out[i] = a[i] - b
    else:
        for i in range(out.size):
            out[i] = a[i] * b


@part(INT, FLOATS, ROW)
def binary_f32(f32: Any, row: Any) -> int:
    """Run a BINARY_F32 row: a function of two views, to a dense output."""
    if not binary_row_fits(row, 4, 4, 4 * f32.size):
        return INVALID
    width = row[SHAPE + RANK - 1]
    step_a, step_b = row[STRIDES_A + RANK - 1], row[STRIDES_B + RANK - 1]
    function = row[FUNCTION]
    simple = function in (ADD, SUB, MUL) and step_a == 1
    out = row[OUT] // 4
    for line in range(count_of(row, 0, RANK - 1, 4 * f32.size)):
        a = row[IN_A] // 4 + line_start(row, STRIDES_A, line)
        b = row[IN_B] // 4 + line_start(row, STRIDES_B, line)
        if simple and step_b == 1:
            combine_dense(f32[a : a + width], f32[b : b + width], f32[out : out + width], function)
        elif simple and step_b == 0:
            combine_scalar(f32[a : a + width], f32[b], f32[out : out + width], function)
        else:
            for i in range(width):
                f32[out + i] = combined(function, f32[a + i * step_a], f32[b + i * step_b])
        out += width
    return OK


@kernel
def compared(function: int, a: Any, b: Any) -> Any:
    """Give a comparison by its code; an unknown code gives false."""
    if function == EQUAL:
        return a == b
    if function == LESS:
        return a < b
    if function == LESS_EQUAL:
        return a <= b
    if function == GREATER:
        return a > b
    return a >= b if function == GREATER_EQUAL else False


@part(INT, BYTES, FLOATS, ROW)
def compare_f32(u8: Any, f32: Any, row: Any) -> int:
    """Run a COMPARE_F32 row: bytes 0 and 1 from two views of floats."""
    if not binary_row_fits(row, 4, 1, u8.size):
        return INVALID
    width = row[SHAPE + RANK - 1]
    step_a, step_b = row[STRIDES_A + RANK - 1], row[STRIDES_B + RANK - 1]
    out = row[OUT]
    for line in range(count_of(row, 0, RANK - 1, u8.size)):
        a = row[IN_A] // 4 + line_start(row, STRIDES_A, line)
        b = row[IN_B] // 4 + line_start(row, STRIDES_B, line)
        for i in range(width):
            u8[out + i] = np.uint8(compared(row[FUNCTION], f32[a + i * step_a], f32[b + i * step_b]))
        out += width
    return OK
