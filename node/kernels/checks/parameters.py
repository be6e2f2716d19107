"""Sums of the parameters of a step: any single wrong bit changes a sum of words modulo 2**32."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel


@kernel
def sum_words(values: Any) -> Any:
    """Give the sum of an array of bytes or words, modulo 2**32, as int32."""
    total = np.int32(0)
    for i in range(values.size):
        total = np.int32(total + np.int32(values[i]))
    return total


def warm() -> None:
    """Compile or load the kernel for bytes and words."""
    for kind in (np.uint8, np.int32):
        sum_words(np.zeros(1, kind))
