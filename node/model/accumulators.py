"""Accumulators as cells: the finished sums of all products with packed weights, 32 bits each, step after step.

A sum is struck once its last product was added and before it is limited or requantised. The sums of a step lie in
the order of its outputs; other steps (depthwise, pools, adds) keep theirs in registers, which are not struck.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.kernels.inference.tiles import LANES
from node.model.engine import Engine
from node.model.image import Image
from node.model.steps import COLUMNS, Opcode, Step, float_bits

ACCUMULATOR_BITS = 32
SUMMING = (Opcode.CONV_F32, Opcode.CONV_INT8)

Words = NDArray[np.int64]


def _counts(image: Image) -> Words:
    """Give the accumulators of each step."""
    rows = image.steps.astype(np.int64)
    outputs = rows[:, [COLUMNS.index(name) for name in ("out_h", "out_w", "out_c")]].prod(axis=1)
    return np.where(np.isin(rows[:, 0], SUMMING), outputs, 0)


def accumulator_bytes(image: Image) -> int:
    """Give the size of all accumulators of one inference."""
    return int(_counts(image).sum()) * ACCUMULATOR_BITS // 8


def locate(image: Image, numbers: Words) -> tuple[Words, Words]:
    """Give the step of each accumulator, and which output of that step it becomes."""
    ends = np.cumsum(_counts(image))
    steps = np.searchsorted(ends, numbers, side="right")
    starts = np.concatenate([[0], ends])
    return steps, numbers - starts[steps]


def run_struck_step(engine: Engine, memory: NDArray[np.uint8], steps: NDArray[np.int64], cell: tuple[int, int]) -> None:
    """Run the step of an accumulator with one bit of it flipped: the slow way, to check shortcuts.

    Parameters
    ----------
    engine : Engine
        Its inputs of the step are there.
    memory : ndarray of uint8
        The engine's arena.
    steps : ndarray of int64, [steps, words]
        The step table in that arena.
    cell : tuple of int
        Number of the accumulator and bit.
    """
    number, output = (int(found[0]) for found in locate(engine.image, np.array([cell[0]])))
    step = Step.from_row(steps[number])
    if step.opcode == Opcode.CONV_F32:
        place, value = _struck_float(engine, memory, steps[number], (number, output, cell[1]))
    else:
        place, value = step.out + output, _struck_integer(memory, step, output, cell[1])
    engine.run_step(number)
    memory[place : place + len(value)] = np.frombuffer(value, np.uint8)


def _struck_float(
    engine: Engine, memory: NDArray[np.uint8], row: NDArray[np.int64], where: tuple[int, int, int]
) -> tuple[int, bytes]:
    """Give place and bytes of an output: the step is run without limits, which leaves its sums."""
    number, output, bit = where
    low, high = COLUMNS.index("low"), COLUMNS.index("high")
    limits = row[[low, high]].copy()
    row[[low, high]] = float_bits(-np.inf), float_bits(np.inf)
    engine.run_step(number)
    row[[low, high]] = limits
    place = int(row[COLUMNS.index("out")]) + 4 * output
    bits = memory[place : place + 4].view(np.uint32)[0] ^ np.uint32(1 << bit)
    value, bounds = bits.view(np.float32), limits.astype(np.uint32).view(np.float32)
    value = bounds[0] if value < bounds[0] else value
    value = bounds[1] if value > bounds[1] else value
    return place, np.float32(value).tobytes()


def _struck_integer(memory: NDArray[np.uint8], step: Step, output: int, bit: int) -> bytes:
    """Give the byte of an output: its products are added one by one."""
    pixel, channel = divmod(output, step.out_c)
    y, x = divmod(pixel, step.out_w)
    of_group, channels = step.in_c // step.groups, step.out_c // step.groups
    group, within = divmod(channel, channels)
    column = group * -(-channels // LANES) * LANES + within
    depth = step.kernel_h * step.kernel_w * of_group
    packed = step.weights + column // LANES * LANES * depth + column % LANES
    total = int(memory[step.bias + 4 * column : step.bias + 4 * column + 4].view(np.int32)[0])
    kind = np.int8 if step.signed & 1 else np.uint8
    for tap in range(step.kernel_h * step.kernel_w):
        down, right = divmod(tap, step.kernel_w)
        row = y * step.stride_h - step.pad_top + down * step.dilation_h
        across = x * step.stride_w - step.pad_left + right * step.dilation_w
        if not (0 <= row < step.in_h and 0 <= across < step.in_w):
            continue
        first = step.in_a + (row * step.in_w + across) * step.in_c + group * of_group
        values = memory[first : first + of_group].view(kind).astype(np.int64) - step.zero_a
        at = packed + LANES * tap * of_group
        total += int(values @ memory[at : at + LANES * of_group : LANES].view(np.int8).astype(np.int64))
    struck = np.array([total & 0xFFFFFFFF ^ 1 << bit], np.uint32).view(np.int32).astype(np.float32)
    multiplier = memory[step.scales + 4 * column : step.scales + 4 * column + 4].view(np.float32)
    scaled = float(np.clip(struck * np.nan_to_num(multiplier), -65536.0, 65536.0)[0])
    return bytes([min(max(round(scaled) + step.zero_out, step.low), step.high) & 255])
