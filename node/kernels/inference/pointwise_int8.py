"""Element-wise steps between floats and bytes, and among bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.bounds import count_of, fits
from node.kernels.inference.columns import (
    COUNT,
    HIGH,
    IN_A,
    IN_B,
    IN_C,
    INVALID,
    LOW,
    OK,
    OUT,
    SCALES,
    SIGNED,
    ZERO_A,
    ZERO_B,
    ZERO_OUT,
)
from node.kernels.inference.quantised import quantised, real, zeros_fit


@kernel
def operands_fit(row: Any, item_in: int, item_out: int, scales: int, total: int) -> bool:
    """Check input a, output and scales of a step over IN_C values."""
    size = count_of(row[IN_C], total)
    return (
        fits(row[IN_A], size * item_in, item_in, total)
        and fits(row[OUT], size * item_out, item_out, total)
        and fits(row[SCALES], 4 * scales, 4, total)
        and zeros_fit(row)
    )


@kernel
def quantize(u8: Any, f32: Any, row: Any) -> int:
    """Run a QUANTIZE row: floats to bytes, divided by one scale."""
    if not operands_fit(row, 4, 1, 1, u8.size):
        return INVALID
    size = row[IN_C]
    a, out = f32[row[IN_A] // 4 : row[IN_A] // 4 + size], u8[row[OUT] : row[OUT] + size]
    scale = f32[row[SCALES] // 4]
    for i in range(size):
        out[i] = np.uint8(quantised(a[i] / scale, row[ZERO_OUT], row[LOW], row[HIGH]) & 255)
    return OK


@kernel
def dequantize(u8: Any, f32: Any, row: Any) -> int:
    """Run a DEQUANTIZE row: bytes to floats, multiplied by one scale."""
    if not operands_fit(row, 1, 4, 1, u8.size):
        return INVALID
    size = row[IN_C]
    a, out = u8[row[IN_A] : row[IN_A] + size], f32[row[OUT] // 4 : row[OUT] // 4 + size]
    scale = f32[row[SCALES] // 4]
    flip = 128 if row[SIGNED] & 1 else 0
    for i in range(size):
        out[i] = real(a[i], flip, row[ZERO_A]) * scale
    return OK


@kernel
def requantize(u8: Any, f32: Any, row: Any) -> int:
    """Run a REQUANTIZE row: bytes of one scale to bytes of another."""
    if not operands_fit(row, 1, 1, 2, u8.size):
        return INVALID
    size = row[IN_C]
    a, out = u8[row[IN_A] : row[IN_A] + size], u8[row[OUT] : row[OUT] + size]
    scale_in, scale_out = f32[row[SCALES] // 4], f32[row[SCALES] // 4 + 1]
    flip = 128 if row[SIGNED] & 1 else 0
    for i in range(size):
        value = real(a[i], flip, row[ZERO_A]) * scale_in / scale_out
        out[i] = np.uint8(quantised(value, row[ZERO_OUT], row[LOW], row[HIGH]) & 255)
    return OK


@kernel
def add_int8(u8: Any, f32: Any, row: Any) -> int:
    """Run an ADD_INT8 row: the sum of two dequantised values, quantised again; b repeats every COUNT values."""
    total = u8.size
    period = count_of(row[COUNT], total)
    if not operands_fit(row, 1, 1, 3, total) or period < 0 or row[IN_C] % period != 0:
        return INVALID
    if not fits(row[IN_B], period, 1, total):
        return INVALID
    scales = row[SCALES] // 4
    b = u8[row[IN_B] : row[IN_B] + period]
    scale_a, scale_b, scale_out = f32[scales], f32[scales + 1], f32[scales + 2]
    flip_a = 128 if row[SIGNED] & 1 else 0
    flip_b = 128 if row[SIGNED] & 2 else 0
    for start in range(0, row[IN_C], period):
        a = u8[row[IN_A] + start : row[IN_A] + start + period]
        out = u8[row[OUT] + start : row[OUT] + start + period]
        for i in range(period):
            first = real(a[i], flip_a, row[ZERO_A]) * scale_a
            second = real(b[i], flip_b, row[ZERO_B]) * scale_b
            value = (first + second) / scale_out
            out[i] = np.uint8(quantised(value, row[ZERO_OUT], row[LOW], row[HIGH]) & 255)
    return OK
