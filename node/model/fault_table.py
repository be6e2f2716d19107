"""Where a struck bit lies: the step, the output channel and the product that it belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from node.kernels.inference.incremental import tables
from node.kernels.inference.tiles import LANES
from node.model.accumulators import ACCUMULATOR_BITS, accumulator_bytes, locate
from node.model.frames import Frames
from node.model.image import TensorSpec
from node.model.steps import Opcode, Step

KINDS = {
    (Opcode.CONV_F32, "weights"): tables.WEIGHT_F32,
    (Opcode.CONV_F32, "bias"): tables.BIAS_F32,
    (Opcode.CONV_INT8, "weights"): tables.WEIGHT_INT8,
    (Opcode.CONV_INT8, "bias"): tables.BIAS_INT8,
    (Opcode.CONV_INT8, "scales"): tables.MULTIPLIER_INT8,
}

Words = NDArray[np.int64]


def fault_table(frames: Frames, region: str, bits: Words, steps: Words) -> Words:
    """Give the table of faults that the incremental kernels read, int64 [faults, columns].

    Parameters
    ----------
    frames : Frames
        The model.
    region : str
        ``weights``, ``activations`` or ``accumulators`` (see :mod:`node.model.accumulators`).
    bits, steps : ndarray of int64, [faults]
        Which bit of the region flips, and just before which step (of an accumulator: when its step has summed).

    Raises
    ------
    DataError
        A bit or a step lies outside, or the region is another one.
    """
    sizes = {"weights": len(frames.image.weights), "activations": frames.image.activation_bytes}
    size = (sizes | {"accumulators": accumulator_bytes(frames.image)}).get(region)
    if size is None:
        raise DataError(f"region {region!r}: weights, activations and accumulators are struck here")
    if len(bits) and (bits.min() < 0 or bits.max() >= 8 * size):
        raise DataError(f"a bit lies outside region {region!r} of {8 * size} bits")
    if len(steps) and (steps.min() < 0 or steps.max() > len(frames.steps)):
        raise DataError(f"a fault strikes at a step outside 0 to {len(frames.steps)}")
    table = np.zeros((len(bits), 6), np.int64)
    if region == "weights":
        for spec in frames.image.tensors:
            struck = (bits // 8 >= spec.offset) & (bits // 8 < spec.end) & (steps <= spec.step)
            table[struck] = _in_parameter(frames.steps[spec.step], spec, bits[struck] - 8 * spec.offset)
        return table
    if region == "accumulators":
        table[:, tables.KIND] = tables.ACCUMULATOR
        table[:, tables.STEP], table[:, tables.ELEMENT] = locate(frames.image, bits // ACCUMULATOR_BITS)
        table[:, tables.BIT] = bits % ACCUMULATOR_BITS
        return table
    byte = frames.image.activation_offset + bits // 8
    for number, value in enumerate(frames.values):
        held = (value.arena.place <= byte) & (byte < value.arena.end)
        struck = held & (value.first < steps) & (steps <= min(value.end, value.last_read))
        table[struck, tables.STEP] = steps[struck]
        table[struck, tables.KIND] = tables.ACTIVATION
        table[struck, tables.OUT_CHANNEL] = number
        table[struck, tables.ELEMENT] = value.place + byte[struck] - value.arena.place
        table[struck, tables.BIT] = bits[struck] % 8
    return table


def _in_parameter(step: Step, spec: TensorSpec, bits: Words) -> Words:
    """Give the entries of bits of a parameter, counted from its start."""
    item = np.dtype(spec.dtype).itemsize
    index = bits // (8 * item)
    table = np.zeros((len(bits), 6), np.int64)
    table[:, tables.STEP] = spec.step
    table[:, tables.ELEMENT] = spec.offset + index * item
    table[:, tables.BIT] = bits % (8 * item)
    field = next((name for name in ("weights", "bias", "scales") if getattr(step, name) == spec.offset), "")
    kind = KINDS.get((Opcode(step.opcode), field))
    if kind is None:
        table[:, tables.KIND] = tables.PARAMETER
        return table
    depth = step.kernel_h * step.kernel_w * (step.in_c // step.groups)
    column = index
    if field == "weights":
        table[:, tables.PRODUCT] = index // LANES % depth
        column = index // (depth * LANES) * LANES + index % LANES
    channels = step.out_c // step.groups
    columns = -(-channels // LANES) * LANES
    used = (column % columns < channels) & (column < columns * step.groups)
    table[:, tables.KIND] = np.where(used, kind, tables.NOWHERE)
    table[:, tables.OUT_CHANNEL] = column // columns * channels + column % columns
    return table
