"""Slow twins of the checks on the computation, on plain arrays."""

from __future__ import annotations

import numpy as np

WORD = 2**32


def sums_differ(inputs: np.ndarray, struck: np.ndarray, weights: np.ndarray) -> bool:
    """Tell whether the products of inputs with struck weights, or these, do not sum up as the good ones do, mod 2**32.

    ``inputs`` are [rows][products], the weights [products][channels].
    """
    taken = expected = 0
    for row in inputs:
        for x, wrong, good in zip(row, struck, weights, strict=True):
            taken += int(x) * int(wrong.sum(dtype=np.int64))
            expected += int(x) * int(good.sum(dtype=np.int64))
    difference = int(struck.sum(dtype=np.int64)) - int(weights.sum(dtype=np.int64))
    return (taken - expected) % WORD != 0 or difference % WORD != 0


def outside(values: np.ndarray, low: float, high: float) -> int:
    """Count what does not lie in an interval."""
    return sum(not low <= float(value) <= high for value in values)


def clipped(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Give the values set to the nearest limit, NaN to what is nearest to zero."""
    if not low <= high:
        return values.copy()
    found = values.copy()
    for i, value in enumerate(values):
        if not low <= float(value) <= high:
            nearest = min(max(0.0 if np.isnan(value) else float(value), low), high)
            byte = int(min(max(nearest, -128.0), 255.0)) & 255
            found[i] = nearest if values.dtype == np.float32 else np.uint8(byte).view(values.dtype)
    return found
