"""Accumulators as cells: the finished sums of an inference, 32 bits each, step after step.

Sums are those of products with packed weights, of depthwise convolutions and of averages. One is struck once its last
term was added and before it is limited, divided or requantised. The sums of a step lie in the order of its outputs.
What a maximum finds is its output as it is, and additions and steps on views keep nothing for longer than one value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.model.image import Image
from node.model.steps import COLUMNS, Opcode

REGION = "accumulators"
ACCUMULATOR_BITS = 32
SUMMING = (
    Opcode.CONV_F32, Opcode.CONV_INT8, Opcode.DEPTHWISE_F32, Opcode.DEPTHWISE_INT8, Opcode.AVERAGE_POOL_F32,
    Opcode.AVERAGE_POOL_INT8,
)  # fmt: skip

Words = NDArray[np.int64]


def accumulator_counts(image: Image) -> Words:
    """Give the accumulators of each step."""
    rows = image.steps.astype(np.int64)
    outputs = rows[:, [COLUMNS.index(name) for name in ("out_h", "out_w", "out_c")]].prod(axis=1)
    return np.where(np.isin(rows[:, 0], SUMMING), outputs, 0)


def accumulator_bytes(image: Image) -> int:
    """Give the size of all accumulators of one inference."""
    return int(accumulator_counts(image).sum()) * ACCUMULATOR_BITS // 8


def locate(image: Image, numbers: Words) -> tuple[Words, Words]:
    """Give the step of each accumulator, and which output of that step it becomes."""
    ends = np.cumsum(accumulator_counts(image))
    steps = np.searchsorted(ends, numbers, side="right")
    starts = np.concatenate([[0], ends])
    return steps, numbers - starts[steps]
