"""What the steps of an image write: the values that a range check looks at."""

from __future__ import annotations

from node.model.frames import operands_of
from node.model.image import Image, TensorSpec
from node.model.steps import Opcode, Step

CHECKED_TYPES = ("float32", "int8", "uint8")

_MOVES = (Opcode.TRANSPOSE, Opcode.COPY, Opcode.GATHER, Opcode.SELECT)
"""Steps that make no new values."""


def checked_outputs(image: Image) -> dict[int, tuple[str, int, int]]:
    """Give type, place in the arena and number of values that each step writes, for those that can be checked.

    Left out are steps that only move values, integers of more than eight bits, and general steps that fill a buffer
    together with others.
    """
    found: dict[int, tuple[str, int, int]] = {}
    for number, row in enumerate(image.steps):
        step = Step.from_row(row)
        spec = _buffer(image, number, step.out)
        if step.opcode in _MOVES or spec is None or spec.dtype not in CHECKED_TYPES:
            continue
        if step.opcode < Opcode.COPY:
            written = operands_of(step)[2]
            found[number] = (spec.dtype, written.place, written.count)
        elif _writers(image, spec) == 1:
            found[number] = (spec.dtype, spec.offset, spec.shape[0])
    return found


def _buffer(image: Image, number: int, place: int) -> TensorSpec | None:
    """Give the activation that lies at a place of the arena while a step runs."""
    alive = (spec for spec in image.activations if spec.step <= number <= spec.last_step)
    return next((spec for spec in alive if spec.offset <= place < spec.end), None)


def _writers(image: Image, spec: TensorSpec) -> int:
    column_out = 3
    return sum(
        spec.offset <= int(image.steps[number, column_out]) < spec.end
        for number in range(max(spec.step, 0), min(spec.last_step + 1, len(image.steps)))
    )
