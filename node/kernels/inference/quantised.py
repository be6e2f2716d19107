"""From a real value to a byte: round half to even, add the zero point, saturate; NaN becomes the zero point."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.bounds import small
from node.kernels.inference.columns import HIGH, LOW, ZERO_A, ZERO_B, ZERO_OUT

ROUNDING = np.float32(12582912.0)
"""1.5 * 2**23: adding and subtracting it rounds a float32 below 2**22 half to even."""

FAR = np.float32(65536.0)
"""Outside every byte whatever the zero point, and still exact under ROUNDING."""


@kernel
def quantised(value: Any, zero: int, low: int, high: int) -> Any:
    """Give clamp(round(value) + zero, low, high) for any float32."""
    value = np.float32(0.0) if np.isnan(value) else value
    value = -FAR if value < -FAR else value
    value = FAR if value > FAR else value
    rounded = np.int64((value + ROUNDING) - ROUNDING) + zero
    return min(max(rounded, low), high)


@kernel
def real(byte: Any, flip: int, zero: int) -> Any:
    """Give a stored byte minus its zero point as float32; ``flip`` is 128 for int8, 0 for uint8."""
    return np.float32((byte ^ flip) - flip - zero)


@kernel
def zeros_fit(row: Any) -> bool:
    """Check that zero points and limits are of a size that arithmetic can bear."""
    return small(row[ZERO_A]) and small(row[ZERO_B]) and small(row[ZERO_OUT]) and small(row[LOW]) and small(row[HIGH])
