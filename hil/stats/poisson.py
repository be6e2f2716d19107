"""The gamma distribution's function and its inverse, for limits of Poisson counts; no scipy."""

from __future__ import annotations

import math

_PRECISION = 1e-16
_MOST_TERMS = 100_000


def gamma_cdf(x: float, shape: float) -> float:
    """Give the regularised incomplete gamma function P(shape, x), for shape > 0.

    Series 8.11.4 of the NIST Digital Library of Mathematical Functions (https://dlmf.nist.gov/8.11) below the mean,
    continued fraction 8.9.2 (by the modified Lentz method) above it.
    """
    if x <= 0.0:
        return 0.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1.0:
        term = total = 1.0 / shape
        for n in range(1, _MOST_TERMS):
            term *= x / (shape + n)
            total += term
            if term < total * _PRECISION:
                break
        return front * total
    b = x + 1.0 - shape
    c, d = math.inf, 1.0 / b
    value = d
    for n in range(1, _MOST_TERMS):
        step = n * (shape - n)
        b += 2.0
        d = 1.0 / (b + step * d)
        c = b + step / c
        value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return 1.0 - front * value


def gamma_quantile(q: float, shape: float) -> float:
    """Give x with P(shape, x) = q, by bisection down to neighbouring floats."""
    low, high = 0.0, shape + 1.0
    while gamma_cdf(high, shape) < q:
        low, high = high, 2.0 * high
    while True:
        middle = 0.5 * (low + high)
        if middle <= low or middle >= high:
            return middle
        if gamma_cdf(middle, shape) < q:
            low = middle
        else:
            high = middle
