"""Elementary functions of one float, own and without libm: the same bits on every CPU.

They compute in float64 and round once, so results are within one unit in the last place of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import bits_of_f64, f64_from_bits, kernel
from node.kernels.inference.general.codes import (
    ABS,
    AFFINE,
    CEIL,
    ELU,
    ERF,
    EXP,
    FLOOR,
    GELU,
    GELU_TANH,
    HARD_SIGMOID,
    HARD_SWISH,
    LEAKY_RELU,
    LOG,
    NEG,
    RECIPROCAL,
    RELU,
    ROUND,
    SELU,
    SIGMOID,
    SIGN,
    SOFTPLUS,
    SOFTSIGN,
    SQRT,
    TANH,
)

LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
LN2_HIGH = 0.693147180369123816490
"""ln 2 to 33 bits: its product with a small integer is exact."""
LN2_LOW = 1.90821492927058770002e-10
ROUNDING = 6755399441055744.0
"""1.5 * 2**52: adding and subtracting it rounds a float64 below 2**51 half to even."""
SQRT_2 = 1.4142135623730951
MANTISSA = (1 << 52) - 1
ONE_BITS = 1023 << 52
FAR = 700.0
"""exp(700) is far beyond float32 and within float64."""


@kernel
def exp64(x: Any) -> Any:
    """Give e**x; beyond the range of float32 any value that rounds to 0 or infinity. NaN passes.

    x = n ln 2 + r with |r| <= ln 2 / 2; e**r is its Taylor polynomial of degree 12, 2**n is built from its bits.
    """
    if np.isnan(x):
        return x
    x = -FAR if x < -FAR else x
    x = FAR if x > FAR else x
    n = (x * LOG2_E + ROUNDING) - ROUNDING
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return p * f64_from_bits((np.int64(n) + 1023) << 52)


@kernel
def log64(x: Any) -> Any:
    """Give ln x of a float64 that is 0, infinite, NaN or in the range of float32; NaN below 0.

    x = 2**n m with m in [sqrt(1/2), sqrt 2]; ln m = 2 artanh((m - 1) / (m + 1)) by its series.
    """
    if np.isnan(x) or x < 0.0:
        return np.nan
    if x == 0.0:
        return -np.inf
    if x == np.inf:
        return np.inf
    bits = bits_of_f64(x)
    n = (bits >> 52) - 1023
    m = f64_from_bits((bits & MANTISSA) | ONE_BITS)
    if m > SQRT_2:
        m = m * 0.5
        n += 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1.0 / 19.0
    p = p * z + 1.0 / 17.0
    p = p * z + 1.0 / 15.0
    p = p * z + 1.0 / 13.0
    p = p * z + 1.0 / 11.0
    p = p * z + 1.0 / 9.0
    p = p * z + 1.0 / 7.0
    p = p * z + 1.0 / 5.0
    p = p * z + 1.0 / 3.0
    p = p * z + 1.0
    return 2.0 * s * p + np.float64(n) * LN2


@kernel
def tanh64(x: Any) -> Any:
    """Give tanh x."""
    a = abs(x)
    if a < 1e-3:
        return x - x * x * x / 3.0
    t = 1.0 - 2.0 / (exp64(2.0 * a) + 1.0)
    return -t if x < 0.0 else t


@kernel
def sigmoid64(x: Any) -> Any:
    """Give 1 / (1 + e**-x)."""
    return 1.0 / (1.0 + exp64(-x))


@kernel
def erf64(x: Any) -> Any:
    """Give the error function to 4e-11.

    Up to 1 a polynomial in x**2, above it 1 - exp(-x**2) q(1 / (1 + x / 2)); both interpolate scipy's erf and
    erfcx at Chebyshev nodes.
    """
    a = abs(x)
    z = a * a
    if a < 1.0:
        p = 1.05891878566e-06
        p = p * z - 1.39092624079e-05
        p = p * z + 0.000119565497979
        p = p * z - 0.000854263689369
        p = p * z + 0.00522378342372
        p = p * z - 0.0268661332208
        p = p * z + 0.112837913084
        p = p * z - 0.376126388896
        p = p * z + 1.12837916709
        return x * p
    if a > 4.0:
        return x / a if a < np.inf else (1.0 if x > 0.0 else -1.0)
    t = 1.0 / (1.0 + 0.5 * a)
    q = 0.0127684173476
    q = q * t + 0.0691857731146
    q = q * t - 0.38577908293
    q = q * t + 0.480926489742
    q = q * t - 0.0544677182213
    q = q * t + 0.329206095544
    q = q * t + 0.264045642341
    q = q * t + 0.284334171721
    q = q * t - 0.00012089480591
    result = 1.0 - exp64(-z) * q
    return -result if x < 0.0 else result


@kernel
def pow64(x: Any, y: Any) -> Any:
    """Give x**y of two values that are float32, with the special cases of IEEE 754 pow."""
    if y == 0.0 or x == 1.0:
        return 1.0
    if np.isnan(x) or np.isnan(y):
        return np.nan
    if y == 1.0:
        return x
    if y == 2.0:
        return x * x
    whole = abs(y) >= 9.0e15 or np.float64(np.int64(y)) == y
    odd = whole and abs(y) < 9.0e15 and np.int64(y) % 2 != 0
    if x < 0.0 and not whole and x != -np.inf:
        return np.nan
    a = abs(x)
    if a == 1.0:
        size = 1.0
    elif a in (0.0, np.inf):
        size = np.inf if (a == np.inf) == (y > 0.0) else 0.0
    elif abs(y) == np.inf:
        size = np.inf if (a > 1.0) == (y > 0.0) else 0.0
    else:
        size = exp64(y * log64(a))
    negative = x < 0.0 or (x == 0.0 and 1.0 / x < 0.0)
    return -size if odd and negative else size


@kernel
def gelu64(x: Any, by_tanh: bool) -> Any:
    """Give x times the normal distribution function, or its usual approximation by tanh."""
    if x == -np.inf:
        return 0.0
    if by_tanh:
        return 0.5 * x * (1.0 + tanh64(0.7978845608028654 * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + erf64(x / SQRT_2))


@kernel
def smooth(function: int, x: Any, alpha: Any, beta: Any) -> Any:
    """Give a function that needs exp or log, in float64."""
    if function == EXP:
        return exp64(x)
    if function == LOG:
        return log64(x)
    if function == ERF:
        return erf64(x)
    if function == TANH:
        return tanh64(x)
    if function == SIGMOID:
        return sigmoid64(x)
    if function == SOFTPLUS:
        # For large x the sum rounds to x; the logarithm of 1 + t near t = 0 loses no more than float32 holds.
        return x if x > 40.0 else log64(1.0 + exp64(x)) if x > -15.0 else exp64(x)
    if function in (GELU, GELU_TANH):
        return gelu64(x, function == GELU_TANH)
    if function == ELU:
        return x if x > 0.0 else alpha * (exp64(x) - 1.0)
    if function == SELU:
        return beta * (x if x > 0.0 else alpha * (exp64(x) - 1.0))
    return x


@kernel
def hard_sigmoid(x: Any, alpha: Any, beta: Any) -> Any:
    """Give alpha x + beta, within 0 and 1; NaN passes."""
    value = alpha * x + beta
    value = np.float32(0.0) if value < np.float32(0.0) else value
    return np.float32(1.0) if value > np.float32(1.0) else value


@kernel
def plain(function: int, x: Any, alpha: Any, beta: Any) -> Any:
    """Give a function made of float32 arithmetic alone."""
    zero = np.float32(0.0)
    if function == ABS:
        return abs(x)
    if function == NEG:
        return -x
    if function == RECIPROCAL:
        return np.float32(1.0) / x
    if function == SQRT:
        return np.sqrt(x)
    if function == HARD_SIGMOID:
        return hard_sigmoid(x, alpha, beta)
    if function == HARD_SWISH:
        return x * hard_sigmoid(x, alpha, beta)
    if function == LEAKY_RELU:
        return alpha * x if x < zero else x
    if function == RELU:
        return zero if x < zero else x
    if function == FLOOR:
        return np.floor(x)
    if function == CEIL:
        return np.ceil(x)
    if function == ROUND:
        return rounded(x)
    if function == SIGN:
        return x if np.isnan(x) else np.float32(x > zero) - np.float32(x < zero)
    if function == SOFTSIGN:
        return x / (np.float32(1.0) + abs(x))
    if function == AFFINE:
        return alpha * x + beta
    return x


@kernel
def rounded(x: Any) -> Any:
    """Give x rounded half to even."""
    if abs(x) < np.float32(4194304.0):
        shifted = np.float64(abs(x)) + ROUNDING
        size = np.float32(shifted - ROUNDING)
        return -size if x < np.float32(0.0) else size
    return x


@kernel
def unary(function: int, x: Any, alpha: Any, beta: Any) -> Any:
    """Give a function of a float32 by its code, as float32; an unknown code gives x."""
    if EXP <= function <= SIGMOID or ELU <= function <= GELU_TANH:
        return np.float32(smooth(function, np.float64(x), np.float64(alpha), np.float64(beta)))
    return plain(function, x, alpha, beta)
