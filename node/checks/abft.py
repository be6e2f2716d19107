"""Algorithm-based fault tolerance: products and convolutions against sums made when their weights were known good."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.arena import ALIGNMENT_BYTES, Arena
from node.checks.abft_general import GENERAL, can_be_checked, general_bytes, general_frame, load_general
from node.kernels.checks.parameters import sum_words
from node.kernels.inference.checked.conv_f32 import checked_conv_f32, kept_words
from node.kernels.inference.checked.conv_int8 import HEAD, checked_conv_int8, group_bytes
from node.kernels.inference.checked.counts import kept_words as kept_words_int8
from node.kernels.inference.checked.expected import half_bytes
from node.kernels.inference.checked.general_f32 import checked_general_f32
from node.kernels.inference.checked.rows import OTHER_SHAPE
from node.kernels.inference.checked.sums_f32 import LARGEST, UNDERFLOW, gamma_of, group_words
from node.kernels.inference.columns import INVALID, OK, OPCODE
from node.kernels.inference.tiles import LANES
from node.model.finished_sums import gathered
from node.model.image import Image
from node.model.steps import STEP_WORDS, Opcode, Step

REGION = "check.abft"
SUMMED = (Opcode.CONV_F32, Opcode.CONV_INT8)
DEPTHWISE = (Opcode.DEPTHWISE_F32, Opcode.DEPTHWISE_INT8)


@dataclass(frozen=True)
class CheckedStep:
    """One step with check data: its row as compiled, and where in the region its data lie, in bytes."""

    step: Step
    row: NDArray[np.int64]
    start: int
    size: int

    @property
    def depth(self) -> int:
        """Products of a sum."""
        return self.step.kernel_h * self.step.kernel_w * (self.step.in_c // self.step.groups)

    @property
    def panels(self) -> int:
        """Panels of packed weights of a group."""
        return -(-self.step.out_c // self.step.groups // LANES)


def checked_steps(image: Image) -> dict[int, CheckedStep]:
    """Give the steps that have check data, by number: products with weights and convolutions."""
    found: dict[int, CheckedStep] = {}
    start = 0
    for number, row in enumerate(image.steps):
        if row[OPCODE] not in (*SUMMED, *DEPTHWISE) and not (row[OPCODE] in GENERAL and can_be_checked(row)):
            continue
        checked = CheckedStep(Step.from_row(row), row, start, 0)
        size = _check_bytes(checked)
        found[number] = CheckedStep(checked.step, row, start, size)
        start += size
    return found


def _check_bytes(checked: CheckedStep) -> int:
    groups = checked.step.groups
    match checked.step.opcode:
        case Opcode.CONV_F32:
            return 4 * groups * int(group_words(checked.depth))
        case Opcode.CONV_INT8:
            return 4 * HEAD + groups * int(group_bytes(checked.depth, checked.step.out_c // groups))
        case opcode if opcode in GENERAL:
            return general_bytes(checked.row)
        case _:
            return ALIGNMENT_BYTES


def _kept_words(checked: CheckedStep) -> int:
    """Give the words of working memory in which a step counts."""
    match checked.step.opcode:
        case Opcode.CONV_F32:
            return int(kept_words(checked.row))
        case Opcode.CONV_INT8:
            return int(kept_words_int8(checked.row))
        case _:
            return 0


def abft_bytes(image: Image) -> int:
    """Give the size of the region that holds the check data."""
    return sum(checked.size for checked in checked_steps(image).values())


class Abft:
    """Runs products and convolutions with a check of every sum.

    The check data have to be made by :meth:`load` before anything is run. A depthwise convolution has few weights and
    no sums worth comparing: its parameters are added up before it is run.

    Parameters
    ----------
    image : Image
        The steps.
    arena : Arena
        Their memory, with a region ``check.abft`` of :func:`abft_bytes`.
    """

    def __init__(self, image: Image, arena: Arena) -> None:
        self._steps = checked_steps(image)
        self._arena, self._memory = arena, (arena.u8, arena.i32, arena.f32)
        table = arena.view("steps").view(np.int64).reshape(-1, STEP_WORDS)
        self._base = arena.layout[REGION].offset
        words = max((_kept_words(checked) for checked in self._steps.values()), default=0)
        room = np.zeros(words + ALIGNMENT_BYTES // 8, np.int64)
        self._kept = room[-room.ctypes.data % ALIGNMENT_BYTES // 8 :][:words]
        self._held: list[NDArray[np.int64]] = []
        self._calls = {
            number: self._call(checked, table[number])
            for number, checked in self._steps.items()
            if checked.step.opcode not in DEPTHWISE
        }
        self.alarm = False

    def _call(self, checked: CheckedStep, given: NDArray[np.int64]) -> tuple[Callable[[int, int], int], int, int]:
        """Give what runs a step whose row in the table is ``given``, and its arguments."""
        place = (self._base + checked.start) // 4
        if checked.step.opcode in GENERAL:
            frame, held = general_frame(checked.row, given, self._arena)
            self._held += held
            return checked_general_f32, frame.ctypes.data, place
        u8, compiled, copy = self._memory[0], checked.row.copy(), np.zeros(STEP_WORDS, np.int64)
        places = (part.ctypes.data for part in (given, compiled, copy, self._kept))
        frame = np.array([u8.ctypes.data, u8.size, *places, self._kept.size], np.int64)
        self._held += [given, compiled, copy, frame]
        run = checked_conv_int8 if checked.step.opcode == Opcode.CONV_INT8 else checked_conv_f32
        return run, frame.ctypes.data, place

    @property
    def steps(self) -> frozenset[int]:
        """Steps that are checked."""
        return frozenset(self._steps)

    def load(self) -> None:
        """Make the check data of every step from its parameters, which are taken as right."""
        for number in self._steps:
            self.load_step(number)

    def load_step(self, number: int) -> None:
        """Make the check data of one step from its parameters, which are taken as right."""
        checked = self._steps[number]
        place = self._base + checked.start
        data = self._memory[0][place : place + checked.size]
        data[:] = 0
        if checked.step.opcode in DEPTHWISE:
            data.view(np.int32)[:3] = self._parameter_sums(checked)
            return
        if checked.step.opcode == Opcode.CONV_INT8:
            self._load_int8(checked, data)
            return
        if checked.step.opcode in GENERAL:
            load_general(checked.row, self._memory[2], data.view(np.float32))
            return
        for group, words in enumerate(data.view(np.float32).reshape(checked.step.groups, -1)):
            matrix, bias, _ = self._parameters(checked, group)
            blocks = -(-checked.depth // LANES) * LANES
            floats = words
            floats[: checked.depth] = matrix.sum(axis=1, dtype=np.float64)
            floats[blocks : blocks + checked.depth] = rounded_up(np.abs(matrix).sum(axis=1, dtype=np.float64))
            floats[2 * blocks] = bias.sum(dtype=np.float64)
            floats[2 * blocks + 1] = rounded_up(np.abs(bias).sum(dtype=np.float64))

    def _load_int8(self, checked: CheckedStep, data: NDArray[np.uint8]) -> None:
        head, halves = data[: 4 * HEAD].view(np.int32), data[4 * HEAD :].view(np.int16)
        room = int(half_bytes(checked.depth)) // 2
        for group, parts in enumerate(halves.reshape(checked.step.groups, -1, room)):
            matrix, bias, scales = self._parameters(checked, group)
            rest = matrix.sum(axis=1, dtype=np.int64)
            head[:3] += wrapped([part.sum(dtype=np.int64) for part in (bias, scales, rest)])
            for half in parts:
                half[: checked.depth] = rest.astype(np.int16)
                rest = (rest - half[: checked.depth]) >> 16

    def run(self, number: int) -> int | None:
        """Run a step and note in ``alarm`` whether its sums agree.

        Returns
        -------
        int or None
            As the interpreter: -1, or 0 where the row is no valid step; None where the step was not run, because it
            has no check data or its row asks for another shape than they were made for.
        """
        self.alarm = False
        if number not in self._calls:
            if number in self._steps:
                self._check_parameters(self._steps[number])
            return None
        run, frame, sums = self._calls[number]
        status = run(frame, sums)
        if status == OK:
            return -1
        self.alarm = status != INVALID
        return None if status == OTHER_SHAPE else 0 if status == INVALID else -1

    def sees(self, number: int, changes: Iterable[tuple[int, int, int]]) -> bool:
        """Tell whether the check of a step would be of other sums.

        Integer sums are checked modulo 2**32: what does not cancel is seen. Floats are seen beyond the bound on their
        rounding, here without the rounding of this one run.

        Parameters
        ----------
        number : int
            Of the step, whose inputs are in memory.
        changes : iterable of tuple
            Number of an output, bits of its sum as computed, and as they are now.
        """
        checked = self._steps.get(number)
        if checked is None or checked.step.opcode in DEPTHWISE:
            return False
        if checked.step.opcode == Opcode.CONV_INT8:
            return sum(after - before for _, before, after in changes) % (1 << 32) != 0
        pixels: dict[int, float] = {}
        channels = checked.step.out_c // checked.step.groups
        with np.errstate(invalid="ignore"):
            for output, *bits in changes:
                before, after = np.array(bits, np.uint32).view(np.float32).astype(np.float64)
                first = output // channels * channels
                pixels[first] = pixels.get(first, 0.0) + (after - before)
        return any(self._beyond_bound(checked, first, difference) for first, difference in pixels.items())

    def _beyond_bound(self, checked: CheckedStep, output: int, difference: float) -> bool:
        """Tell whether rounding does not explain a difference of the sum over the channels of a pixel's group."""
        channels, blocks = checked.step.out_c // checked.step.groups, -(-checked.depth // LANES) * LANES
        group = output % checked.step.out_c // channels
        words = self._memory[2][(self._base + checked.start) // 4 + group * int(group_words(checked.depth)) :]
        inputs = np.zeros(checked.depth)
        for tap, values in gathered(self._memory[0], checked.step, output, np.float32):
            inputs[tap * len(values) : (tap + 1) * len(values)] = np.abs(values)
        bound = float(words[2 * blocks + 1]) + float(inputs @ words[blocks : blocks + checked.depth])
        if not bound <= LARGEST:
            return False
        gamma = gamma_of(channels, (0, 1, 0, 0, checked.depth))
        return gamma > 0.0 and not abs(difference) <= gamma * bound + 2 * (checked.depth + LANES) * channels * UNDERFLOW

    def _check_parameters(self, checked: CheckedStep) -> None:
        word = (self._base + checked.start) // 4
        self.alarm = not np.array_equal(self._memory[1][word : word + 3], self._parameter_sums(checked))

    def _parameter_sums(self, checked: CheckedStep) -> NDArray[np.int32]:
        """Give the sums of the weights, biases and multipliers of a depthwise step, as they lie in memory."""
        u8, i32, _ = self._memory
        step = checked.step
        taps = step.kernel_h * step.kernel_w * step.in_c
        integer = step.opcode == Opcode.DEPTHWISE_INT8
        weights = u8[step.weights : step.weights + taps] if integer else i32[step.weights // 4 :][:taps]
        scales = i32[step.scales // 4 :][: step.in_c if integer else 0]
        return np.array([sum_words(part) for part in (weights, i32[step.bias // 4 :][: step.in_c], scales)], np.int32)

    def _parameters(self, checked: CheckedStep, group: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Give the weights [products][channels], biases and multipliers of one group, without padding."""
        u8, i32, f32 = self._memory
        step, columns = checked.step, checked.panels * LANES
        channels = step.out_c // step.groups
        integer = step.opcode == Opcode.CONV_INT8
        weights = u8.view(np.int8)[step.weights :] if integer else f32[step.weights // 4 :]
        size = columns * checked.depth
        packed = weights[group * size : (group + 1) * size].reshape(checked.panels, checked.depth, LANES)
        matrix = packed.transpose(1, 0, 2).reshape(checked.depth, columns)[:, :channels]
        bias = (i32 if integer else f32)[step.bias // 4 + group * columns :][:channels]
        scales = i32[step.scales // 4 + group * columns :][: channels if integer else 0]
        return matrix, bias, scales


def wrapped(values: Any) -> NDArray[np.int32]:
    """Give 64-bit integers modulo 2**32 as int32."""
    return np.asarray(values, np.int64).astype(np.int32)


def rounded_up(values: Any) -> NDArray[np.float32]:
    """Give float32 that are not below the float64 given."""
    single = np.asarray(values, np.float64).astype(np.float32)
    return np.where(single < values, np.nextafter(single, np.float32(np.inf)), single).astype(np.float32)
