"""From a real value to a byte: round half to even, add the zero point, saturate; NaN becomes the zero point."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.bounds import small
from node.kernels.inference.columns import HIGH, LOW, ZERO_A, ZERO_B, ZERO_OUT

ROUNDING = np.float32(12582912.0)
"""1.5 * 2**23: adding and subtracting it rounds a float32 below 2**22 half to even."""


@kernel
def quantised(value: Any, zero: int, low: int, high: int) -> Any:
    """Give clamp(round(value) + zero, low, high) for any float32, and numbers that :func:`zeros_fit` has checked."""
    value = np.float32(0.0) if np.isnan(value) else value
    # Rounding leaves whole limits where they are, and before it they keep the value small enough for it. Few processors
    # convert vectors to and from 64 bits.
    least, most = np.float32(low - zero), np.float32(high - zero)
    value = least if value < least else value
    value = most if value > most else value
    return np.int32((value + ROUNDING) - ROUNDING + np.float32(zero))


@kernel
def real(byte: Any, flip: int, zero: int) -> Any:
    """Give a stored byte minus its zero point as float32; ``flip`` is 128 for int8, 0 for uint8."""
    return np.float32(np.int32(byte ^ np.uint8(flip))) - np.float32(flip + zero)


@kernel
def zeros_fit(row: Any) -> bool:
    """Check that zero points and limits are of a size that arithmetic can bear."""
    return small(row[ZERO_A]) and small(row[ZERO_B]) and small(row[ZERO_OUT]) and small(row[LOW]) and small(row[HIGH])
