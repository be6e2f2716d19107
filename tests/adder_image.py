"""A model of three additions, small enough to compute by hand: two inputs, two outputs, eight weights.

::

    h = a + w[0:4]          step 0
    total = h + b           step 1
    shifted = h + w[4:8]    step 2
"""

from __future__ import annotations

import numpy as np

from node.layout import layout_of
from node.model.image import Image, TensorSpec
from node.model.steps import Opcode, Step, float_bits
from node.protection import Protection

N_STEPS = 3
W = np.arange(1, 9, dtype=np.float32)
A, B, H, TOTAL, SHIFTED = 64, 128, 192, 256, 320
"""Places in the arena; the weights come first."""
SIGN = 31
"""Bit of a float32 that turns its sign."""


def adder_image() -> Image:
    """Give the model as an image."""

    def add(in_a: int, in_b: int, out: int) -> np.ndarray:
        limits = {"low": float_bits(-np.inf), "high": float_bits(np.inf)}
        return Step(opcode=Opcode.ADD_F32, in_a=in_a, in_b=in_b, out=out, in_c=4, count=4, **limits).row()

    def tensor(name: str, offset: int, step: int, last_step: int) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=(1, 4), offset=offset, step=step, last_step=last_step)

    a, b = tensor("a", A, -1, 0), tensor("b", B, -1, 1)
    h, total, shifted = tensor("h", H, 0, 2), tensor("total", TOTAL, 1, 3), tensor("shifted", SHIFTED, 2, 3)
    return Image(
        name="adder",
        inputs=(a, b),
        outputs=(total, shifted),
        steps=np.stack([add(A, 0, H), add(H, B, TOTAL), add(H, 16, SHIFTED)]),
        step_names=("first", "second", "third"),
        weights=W.tobytes(),
        tensors=(
            TensorSpec(name="w0", dtype="float32", shape=(4,), offset=0, step=0),
            TensorSpec(name="w1", dtype="float32", shape=(4,), offset=16, step=2),
        ),
        activations=(a, b, h, total, shifted),
        activation_bytes=320,
    )


def sample(number: int) -> dict[str, np.ndarray]:
    """Give inputs that no other number has."""
    return {"a": np.full((1, 4), number, np.float32), "b": np.full((1, 4), 100 * number + 50, np.float32)}


SAMPLES = tuple(sample(number) for number in range(6))


def right(number: int) -> dict[str, np.ndarray]:
    """Give the outputs of a sample, by hand."""
    h = number + W[:4]
    return {"total": (h + 100 * number + 50).reshape(1, 4), "shifted": (h + W[4:]).reshape(1, 4)}


def right_bytes(number: int) -> bytes:
    """Give the outputs of a sample as the node delivers them."""
    return b"".join(values.astype(np.float32).tobytes() for values in right(number).values())


def weight_bit(index: int, bit: int = SIGN) -> int:
    """Give the bit of a weight in its region."""
    return 32 * index + bit


def activation_bit(place: int, index: int = 0, bit: int = SIGN) -> int:
    """Give the bit of an activation in its region."""
    return 8 * (place - A) + 32 * index + bit


def step_bit(step: int, column: int, bit: int) -> int:
    """Give the bit of a word of the step table in its region."""
    return 64 * (32 * step + column) + bit


def checkpoint_bytes(protection: Protection) -> int:
    """Give the size of both slots' payloads."""
    return layout_of(adder_image(), protection)["checkpoint"].size_bytes
