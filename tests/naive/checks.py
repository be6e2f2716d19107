"""Slow twins of the checks on the computation, on plain arrays."""

from __future__ import annotations

import numpy as np

WORD = 2**32


def products(inputs: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> list[list[int]]:
    """Give the accumulators of a product of integers, [rows][channels], exactly."""
    return [
        [int(bias[n]) + sum(int(x) * int(w) for x, w in zip(row, weights[:, n], strict=True)) for n in range(len(bias))]
        for row in inputs
    ]


def rows_differ(accumulators: list[list[int]], inputs: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> list[int]:
    """Give the rows whose accumulators do not add up to what the inputs and known good parameters say, mod 2**32."""
    found = []
    for number, (sums, row) in enumerate(zip(accumulators, inputs, strict=True)):
        expected = int(bias.sum(dtype=np.int64))
        for x, kept in zip(row, weights, strict=True):
            expected += int(x) * int(kept.sum(dtype=np.int64))
        if (sum(sums) - expected) % WORD:
            found.append(number)
    return found


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
