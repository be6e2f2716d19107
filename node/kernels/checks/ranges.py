"""Activations held against limits: float32, int8 or uint8 values, float32 limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel

LEAST, MOST = np.float32(-128.0), np.float32(255.0)
"""What fits a byte, signed or not."""


@kernel
def count_outside(values: Any, low: Any, high: Any) -> int:
    """Count the values that do not lie in [low, high]; a NaN, be it value or limit, lies nowhere."""
    outside = 0
    for i in range(values.size):
        value = np.float32(values[i])
        outside += not (low <= value <= high)
    return outside


@kernel
def clip(values: Any, low: Any, high: Any) -> int:
    """Set what lies outside [low, high] to the nearer limit, NaN to what is nearest to zero; count the changed.

    Bytes take limits of -128 to 255, cut to integers and wrapped. Nothing changes where the limits are no interval:
    ``low`` above ``high``, or a NaN.
    """
    changed = 0
    if not low <= high:
        return changed
    for i in range(values.size):
        value = np.float32(values[i])
        if low <= value <= high:
            continue
        value = np.float32(0.0) if np.isnan(value) else value
        value = low if value < low else value
        value = high if value > high else value
        # A struck limit may be far outside a byte, where a conversion would not be defined.
        values[i] = np.int64(min(max(value, LEAST), MOST)) if values.itemsize == 1 else value
        changed += 1
    return changed


def warm() -> None:
    """Compile or load both for every type of value."""
    for kind in (np.float32, np.int8, np.uint8):
        values = np.zeros(1, kind)
        count_outside(values, np.float32(0.0), np.float32(1.0))
        clip(values, np.float32(0.0), np.float32(1.0))
