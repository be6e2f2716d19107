"""Groups of faults as the incremental kernels read them: what happens to which byte, and just before which step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault, FaultKind
from node.kernels.inference.incremental import tables
from node.model.accumulators import ACCUMULATOR_BITS, accumulator_bytes, locate
from node.model.accumulators import REGION as ACCUMULATORS
from node.model.effects import Group
from node.model.frames import Frames, Value
from node.model.image import Image

ACTS = {
    FaultKind.FLIP: tables.FLIPPED, FaultKind.STUCK_AT_1: tables.SET, FaultKind.STUCK_AT_0: tables.CLEARED,
}  # fmt: skip

Event = tuple[int, int, int, int, int]


def group_table(
    frames: Frames, image: Image, groups: Sequence[Group], first_sample: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give groups [groups, 3] and events [events, 5], columns as in the kernels' tables.

    Parameters
    ----------
    frames : Frames
        The model.
    image : Image
        Its parameters.
    groups : sequence of Group
        What strikes.
    first_sample : int
        The input of frame 0.

    Raises
    ------
    DataError
        A fault strikes no bit of weights or activations, or not sums of one step alone.
    """
    bounds = np.zeros((len(groups), 3), np.int64)
    events: list[Event] = []
    for number, group in enumerate(groups):
        if any(fault.region == ACCUMULATORS for fault in group.faults):
            own = _struck_sums(image, group.faults)
        else:
            own = sorted(event for fault in group.faults for event in _events(frames, image, fault))
        bounds[number] = len(events), len(events) + len(own), group.sample - first_sample
        events += own
    return bounds, np.array(events, np.int64).reshape(-1, 5)


def _struck_sums(image: Image, faults: Sequence[Fault]) -> list[Event]:
    """Give an event for each struck sum, with all the bits of it that flip."""
    bits = np.array([fault.bit for fault in faults], np.int64)
    known = all(fault.region == ACCUMULATORS and fault.kind is FaultKind.FLIP for fault in faults)
    if not known or bits.min() < 0 or bits.max() >= 8 * accumulator_bytes(image):
        raise DataError("bits of accumulators flip by themselves, and only such as there are")
    steps, outputs = locate(image, bits // ACCUMULATOR_BITS)
    if len(set(steps.tolist())) > 1:
        raise DataError("accumulators of several steps are struck: leave them to a whole run")
    masks: dict[int, int] = {}
    for output, bit in zip(outputs.tolist(), (bits % ACCUMULATOR_BITS).tolist(), strict=True):
        masks[output] = masks.get(output, 0) ^ 1 << bit
    return [(int(steps[0]), tables.SUM_FLIPPED, 0, output, mask) for output, mask in masks.items()]


def _events(frames: Frames, image: Image, fault: Fault) -> Iterator[Event]:
    byte, mask = fault.bit >> 3, 1 << (fault.bit & 7)
    act = ACTS.get(fault.kind)
    size = {"weights": len(image.weights), "activations": image.activation_bytes}.get(fault.region, 0)
    if act is None or not 0 <= byte < size:
        raise DataError(f"{fault.kind.name} of bit {fault.bit} in {fault.region}: weights and activations are struck")
    if fault.region == "weights":
        spec = next((spec for spec in image.tensors if spec.offset <= byte < spec.end), None)
        held = bool(image.weights[byte] & mask)
        changes = act == tables.FLIPPED or held != (act == tables.SET)
        if spec is not None and fault.step <= spec.step and changes:
            yield spec.step, tables.PARAMETER_FLIPPED, 0, byte, mask
        return
    place = image.activation_offset + byte
    for number, value in enumerate(frames.values):
        if value.arena.place <= place < value.arena.end:
            moment = _moment(value, fault, stuck=act != tables.FLIPPED)
            if moment is not None:
                yield moment, act, number, value.place + place - value.arena.place, mask


def _moment(value: Value, fault: Fault, *, stuck: bool) -> int | None:
    """Give the step before which a fault changes a value; None where it is not there, or not read any more.

    A stuck cell changes whatever is written to it later, too.
    """
    last = min(value.end, value.last_read)
    moment = max(fault.step, value.first + 1) if stuck else fault.step
    return moment if value.first < moment <= last else None
