"""The binomial distribution's tail and its inverse, from the incomplete beta function; no scipy."""

from __future__ import annotations

import math
from functools import lru_cache

_SMALLEST = 1e-300
_PRECISION = 1e-16
_MOST_TERMS = 100_000


def beta_cdf(x: float, a: float, b: float) -> float:
    """Give the regularised incomplete beta function I_x(a, b), for a, b > 0 and x of [0, 1].

    Continued fraction 8.17.22 of the NIST Digital Library of Mathematical Functions (https://dlmf.nist.gov/8.17),
    evaluated by the modified Lentz method; the symmetry 8.17.4 keeps it where it converges fast.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _beta_fraction(1.0 - x, b, a)
    return _beta_fraction(x, a, b)


def binomial_cdf(k: int, trials: int, p: float) -> float:
    """Give the probability of at most ``k`` events in ``trials`` (DLMF 8.17.5)."""
    if k < 0:
        return 0.0
    if k >= trials:
        return 1.0
    return beta_cdf(1.0 - p, trials - k, k + 1)


@lru_cache(maxsize=1 << 14)  # small counts come again and again: outcomes of protections, bits of a map
def beta_quantile(q: float, a: float, b: float) -> float:
    """Give x with I_x(a, b) = q, by bisection down to neighbouring floats (about 60 steps)."""
    low, high = 0.0, 1.0
    while True:
        middle = 0.5 * (low + high)
        if middle <= low or middle >= high:
            return middle
        if beta_cdf(middle, a, b) < q:
            low = middle
        else:
            high = middle


def _beta_fraction(x: float, a: float, b: float) -> float:
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    d = 1.0 / d
    value = d
    for m in range(1, _MOST_TERMS):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            change = c * d
            value *= change
        if abs(change - 1.0) < _PRECISION:
            break
    return front * value / a


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _SMALLEST else _SMALLEST
