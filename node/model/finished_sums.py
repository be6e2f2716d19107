"""The finished sum of one output, and the output that it becomes: term by term, the slow way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.arena import Arena
from node.kernels.inference.tiles import LANES
from node.model.engine import Engine
from node.model.steps import COLUMNS, STEP_WORDS, Opcode, Step, float_bits

LIMITED = (Opcode.CONV_F32, Opcode.DEPTHWISE_F32)
"""Steps whose sums are their outputs but for the limits."""
MEANS = (Opcode.AVERAGE_POOL_F32, Opcode.AVERAGE_POOL_INT8)
WORD = 0xFFFF_FFFF


class FinishedSums:
    """The sums of the steps of an engine, from the inputs and parameters that lie in its memory.

    Parameters
    ----------
    engine : Engine
        Whose steps; while a sum of floats is read, one of them is run without limits.
    arena : Arena
        The engine's memory.
    """

    def __init__(self, engine: Engine, arena: Arena) -> None:
        self._engine = engine
        self._memory = arena.u8
        self._table = arena.view("steps").view(np.int64).reshape(-1, STEP_WORDS)
        self._compiled = engine.image.steps

    def read(self, number: int, outputs: tuple[int, ...]) -> list[int]:
        """Give the bits of the sums of some outputs of a step, before it has run.

        The step is taken as it was compiled: one whose row was struck has other sums, if it has any.
        """
        step = Step.from_row(self._compiled[number])
        if step.opcode in LIMITED:
            return self._without_limits(number, step, outputs)
        total = _mean_sum if step.opcode in MEANS else _product_sum
        return [total(self._memory, step, output) for output in outputs]

    def _without_limits(self, number: int, step: Step, outputs: tuple[int, ...]) -> list[int]:
        row = self._table[number]
        limits = [COLUMNS.index("low"), COLUMNS.index("high")]
        kept, checked = row[limits].copy(), self._engine.checked
        row[limits] = float_bits(-np.inf), float_bits(np.inf)
        self._engine.checked = None
        try:
            # Not by the instance: a trace that stands in for its method has no such step.
            Engine.run_steps(self._engine, number, number + 1)
        finally:
            row[limits] = kept
            self._engine.checked = checked
        held = self._memory[step.out :].view(np.uint32)
        return [int(held[output]) for output in outputs]

    def output_of(self, number: int, output: int, bits: int) -> tuple[int, bytes]:
        """Give place and bytes of an output whose sum has these bits."""
        step = Step.from_row(self._compiled[number])
        if step.opcode in LIMITED:
            return step.out + 4 * output, _limited(step, bits)
        if step.opcode in MEANS:
            return _mean(self._memory, step, output, bits)
        return step.out + output, _requantised(self._memory, step, output, bits)


def _terms(step: Step, output: int) -> Iterator[tuple[int, int]]:
    """Give, in order, the taps of an output that lie in the input, and the pixels of the input that they meet."""
    y, x = divmod(output // step.out_c, step.out_w)
    for tap in range(step.kernel_h * step.kernel_w):
        down, right = divmod(tap, step.kernel_w)
        row = y * step.stride_h - step.pad_top + down * step.dilation_h
        across = x * step.stride_w - step.pad_left + right * step.dilation_w
        if 0 <= row < step.in_h and 0 <= across < step.in_w:
            yield tap, row * step.in_w + across


def gathered(
    memory: NDArray[np.uint8], step: Step, output: int, kind: type[np.generic]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Give the taps of an output that lie in the input, each with the inputs of the output's group as ``kind``."""
    of_group, item = step.in_c // step.groups, np.dtype(kind).itemsize
    group = output % step.out_c // (step.out_c // step.groups)
    for tap, pixel in _terms(step, output):
        first = step.in_a + item * (pixel * step.in_c + group * of_group)
        yield tap, memory[first : first + item * of_group].view(kind)


def _column(step: Step, output: int) -> int:
    """Give the packed column of an output's channel; a depthwise step packs nothing."""
    channel = output % step.out_c
    if step.opcode == Opcode.DEPTHWISE_INT8:
        return channel
    channels = step.out_c // step.groups
    group, within = divmod(channel, channels)
    return group * -(-channels // LANES) * LANES + within


def _product_sum(memory: NDArray[np.uint8], step: Step, output: int) -> int:
    """Add up the products of integers."""
    kind = np.int8 if step.signed & 1 else np.uint8
    column, channel = _column(step, output), output % step.out_c
    total = int(memory[step.bias + 4 * column : step.bias + 4 * column + 4].view(np.int32)[0])
    if step.opcode == Opcode.DEPTHWISE_INT8:
        values, weights = memory[step.in_a + channel :].view(kind), memory[step.weights + channel :].view(np.int8)
        for tap, pixel in _terms(step, output):
            total += (int(values[pixel * step.in_c]) - step.zero_a) * int(weights[tap * step.in_c])
        return total & WORD
    of_group = step.in_c // step.groups
    depth = step.kernel_h * step.kernel_w * of_group
    packed = step.weights + column // LANES * LANES * depth + column % LANES
    for tap, values in gathered(memory, step, output, kind):
        at = packed + LANES * tap * of_group
        weights = memory[at : at + LANES * of_group : LANES].view(np.int8)
        total += int((values.astype(np.int64) - step.zero_a) @ weights.astype(np.int64))
    return total & WORD


def _mean_sum(memory: NDArray[np.uint8], step: Step, output: int) -> int:
    """Add up the values of a window."""
    channel = output % step.out_c
    if step.opcode == Opcode.AVERAGE_POOL_INT8:
        bytes_ = memory[step.in_a + channel :].view(np.int8 if step.signed & 1 else np.uint8)
        return sum(int(bytes_[pixel * step.in_c]) - step.zero_a for _, pixel in _terms(step, output)) & WORD
    total, values = np.zeros(1, np.float32), memory[step.in_a :].view(np.float32)
    with np.errstate(all="ignore"):
        for _, pixel in _terms(step, output):
            total += values[pixel * step.in_c + channel]
    return int(total.view(np.uint32)[0])


def _limited(step: Step, bits: int) -> bytes:
    value, low, high = np.array([bits, step.low, step.high], np.uint32).view(np.float32)
    value = low if value < low else value
    value = high if value > high else value
    return np.float32(value).tobytes()


def _requantised(memory: NDArray[np.uint8], step: Step, output: int, bits: int) -> bytes:
    place = step.scales + 4 * _column(step, output)
    multiplier = memory[place : place + 4].view(np.float32)[0]
    with np.errstate(all="ignore"):
        value = np.float32(np.array([bits], np.uint32).view(np.int32)[0]) * np.nan_to_num(multiplier)
    return _byte(step, value)


def _mean(memory: NDArray[np.uint8], step: Step, output: int, bits: int) -> tuple[int, bytes]:
    """Give place and bytes of the mean of a sum; a window of padding alone gives 0 / 0."""
    met = sum(1 for _ in _terms(step, output))
    divisor = np.float32(step.kernel_h * step.kernel_w if step.count == 1 else met)
    held = np.array([bits], np.uint32)
    with np.errstate(all="ignore"):
        if step.opcode == Opcode.AVERAGE_POOL_F32:
            return step.out + 4 * output, (held.view(np.float32) / divisor).tobytes()
        scale_in, scale_out = memory[step.scales : step.scales + 8].view(np.float32)
        return step.out + output, _byte(step, np.float32(held.view(np.int32)[0]) / divisor * scale_in / scale_out)


def _byte(step: Step, value: np.float32) -> bytes:
    scaled = float(np.clip(np.nan_to_num(value, nan=0.0), -65536.0, 65536.0))
    return bytes([min(max(round(scaled) + step.zero_out, step.low), step.high) & 255])
