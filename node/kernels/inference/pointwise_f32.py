"""Float element-wise steps and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, fma_f32, kernel
from node.kernels.inference.bounds import count_of, fits, volume
from node.kernels.inference.columns import COUNT, HIGH, IN_A, IN_B, IN_C, IN_W, INVALID, LOW, OK, OUT

LOG2_E = np.float32(1.44269504)
LN2_HIGH = np.float32(0.693359375)
"""ln 2 to 9 bits: its product with a small integer is exact."""
LN2_LOW = np.float32(-2.12194440e-4)
ROUNDING = np.float32(12582912.0)
"""1.5 * 2**23: adding and subtracting it rounds a float32 below 2**22 half to even."""
SMALLEST_EXPONENT = np.float32(-87.0)
"""Below it exp is taken as 0; exp(-87) is still a normal float32."""


@kernel
def add_f32(f32: Any, row: Any) -> int:
    """Run an ADD_F32 row: a plus b, with b repeated every COUNT values, then the limits."""
    total = 4 * f32.size
    size = count_of(row[IN_C], total)
    period = count_of(row[COUNT], total)
    if size < 0 or period < 0 or period > size or size % period != 0:
        return INVALID
    if not (fits(row[IN_A], 4 * size, 4, total) and fits(row[OUT], 4 * size, 4, total)):
        return INVALID
    if not fits(row[IN_B], 4 * period, 4, total):
        return INVALID
    b = f32[row[IN_B] // 4 : row[IN_B] // 4 + period]
    low, high = f32_from_bits(row[LOW]), f32_from_bits(row[HIGH])
    for start in range(0, size, period):
        a = f32[row[IN_A] // 4 + start : row[IN_A] // 4 + start + period]
        out = f32[row[OUT] // 4 + start : row[OUT] // 4 + start + period]
        for i in range(period):
            value = a[i] + b[i]
            value = low if value < low else value
            out[i] = high if value > high else value
    return OK


@kernel
def clamp_f32(f32: Any, row: Any) -> int:
    """Run a CLAMP_F32 row."""
    total = 4 * f32.size
    size = count_of(row[IN_C], total)
    if not (fits(row[IN_A], 4 * size, 4, total) and fits(row[OUT], 4 * size, 4, total)):
        return INVALID
    a = f32[row[IN_A] // 4 : row[IN_A] // 4 + size]
    out = f32[row[OUT] // 4 : row[OUT] // 4 + size]
    low, high = f32_from_bits(row[LOW]), f32_from_bits(row[HIGH])
    for i in range(size):
        value = a[i]
        value = low if value < low else value
        out[i] = high if value > high else value
    return OK


@kernel
def exp_f32(x: Any) -> Any:
    """Give e**x for x <= 0 within 2 units in the last place, the same bits everywhere; NaN passes.

    x = n ln 2 + r with |r| <= ln 2 / 2; e**r is its Taylor polynomial of degree 7, whose error is below
    the rounding; 2**n is built from its bits.
    """
    if np.isnan(x):
        return x
    if x < SMALLEST_EXPONENT:
        return np.float32(0.0)
    n = (x * LOG2_E + ROUNDING) - ROUNDING
    r = fma_f32(-n, LN2_LOW, fma_f32(-n, LN2_HIGH, x))
    p = np.float32(1.0 / 5040.0)
    p = fma_f32(p, r, np.float32(1.0 / 720.0))
    p = fma_f32(p, r, np.float32(1.0 / 120.0))
    p = fma_f32(p, r, np.float32(1.0 / 24.0))
    p = fma_f32(p, r, np.float32(1.0 / 6.0))
    p = fma_f32(p, r, np.float32(0.5))
    p = fma_f32(p, r, np.float32(1.0))
    p = fma_f32(p, r, np.float32(1.0))
    return p * f32_from_bits((np.int64(n) + 127) << 23)


@kernel
def softmax_f32(f32: Any, row: Any) -> int:
    """Run a SOFTMAX_F32 row over IN_W rows of IN_C values; a NaN or +inf makes its whole row NaN."""
    total = 4 * f32.size
    size = volume(row[IN_W], row[IN_C], 1, total)
    if not (fits(row[IN_A], 4 * size, 4, total) and fits(row[OUT], 4 * size, 4, total)):
        return INVALID
    width = row[IN_C]
    for line in range(row[IN_W]):
        a, out = row[IN_A] // 4 + line * width, row[OUT] // 4 + line * width
        largest = f32[a]
        for i in range(width):
            value = f32[a + i]
            largest = value if value > largest or np.isnan(value) else largest
        weights = f32[out : out + width]
        weigh(f32[a : a + width], largest, weights)
        total_weight = np.float32(0.0)
        for i in range(width):
            total_weight += weights[i]
        for i in range(width):
            weights[i] /= total_weight
    return OK


@kernel
def weigh(values: Any, largest: Any, weights: Any) -> None:
    """Write exp(value - largest); by itself, so that it is done in vectors."""
    for i in range(weights.size):
        # The largest comes first where row and output overlap: the difference is never positive then.
        weights[i] = exp_f32(min_zero(values[i] - largest))


@kernel
def min_zero(value: Any) -> Any:
    """Give the value, at most 0; NaN passes."""
    return np.float32(0.0) if value > np.float32(0.0) else value
