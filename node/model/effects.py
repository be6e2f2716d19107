"""What single flipped bits do to the outputs of a model: the question, the answer, and the slow way to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault
from node.arena import Arena
from node.errors import PayloadCrash
from node.kernels.inference.incremental import tables
from node.layout import layout_of
from node.model.accumulators import REGION as ACCUMULATORS
from node.model.crew import LEAST_WORK, plan_crew
from node.model.engine import Engine, load_image
from node.model.image import Image
from node.protection import Protection
from node.struck_cells import StruckCells
from node.struck_sums import StruckSums

Sample = Mapping[str, NDArray[np.generic]]


class Effect(IntEnum):
    """What a fault does to the output of one input."""

    SAME = tables.SAME
    """Every byte is golden."""
    WRONG = tables.WRONG
    """Bytes differ, the winner does not."""
    MOVED = tables.MOVED
    """The largest value of the first output is another one, or there is none because of a NaN."""
    CRASHED = 3
    """No output: a step no longer describes a computation."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Single flipped bits of one region.

    Parameters
    ----------
    region : str
        ``weights``, ``activations``, ``state``, ``steps`` or ``accumulators`` (see :mod:`node.model.accumulators`).
    bits : ndarray of int64, [faults]
        Counted from the start of the region.
    steps : ndarray of int64, [faults]
        Just before which step each bit flips; an accumulator flips in its own, whatever stands here.
    inferences : ndarray of int64, [faults], optional
        In which inference of a sequence; the first without it.
    """

    region: str
    bits: NDArray[np.int64]
    steps: NDArray[np.int64]
    inferences: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not len(self.inferences):
            object.__setattr__(self, "inferences", np.zeros(len(self.bits), np.int64))

    def __len__(self) -> int:
        return len(self.bits)

    def part(self, chosen: slice | NDArray[np.int64]) -> Faults:
        """Give some of them."""
        moments = self.steps[chosen], self.inferences[chosen]
        return Faults(region=self.region, bits=self.bits[chosen], steps=moments[0], inferences=moments[1])

    @classmethod
    def at_start(cls, region: str, bits: NDArray[np.int64]) -> Faults:
        """Give faults that are there before the first step."""
        return cls(region=region, bits=bits, steps=np.zeros(len(bits), np.int64))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Several faults of memory in one inference.

    Parameters
    ----------
    sample : int
        The input.
    faults : tuple of Fault
        Distinct bits of ``weights`` and ``activations``, each flipped or stuck from just before its ``step`` on; or
        distinct bits of ``accumulators``, each flipped in its step.
    """

    sample: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What faults do to outputs.

    Parameters
    ----------
    codes : ndarray of uint8, [faults, inputs]
        An :class:`Effect` each.
    index : ndarray of int64, [kept, 2]
        Fault and input of each output that differs, where outputs were asked for.
    outputs : ndarray of uint8, [kept, bytes]
        Those outputs, all tensors of the model one after the other.
    """

    codes: NDArray[np.uint8]
    index: NDArray[np.int64]
    outputs: NDArray[np.uint8]


def engine_of(image: Image, threads: int = 1, least_work: int = LEAST_WORK) -> tuple[Engine, Arena]:
    """Give an engine on an arena of its own, loaded and without protection; see :func:`node.model.crew.plan_crew`."""
    layout = layout_of(image, Protection())
    plan = plan_crew(image, layout.arena_bytes, threads, least_work)
    arena = Arena(layout, plan.spare_bytes)
    load_image(arena, image)
    return Engine(image, arena, plan), arena


class WholeRuns:
    """Effects of faults by computing every step that follows: for any image, any region, and to check shortcuts.

    Parameters
    ----------
    image : Image
        Compiled model.
    samples : sequence of mapping
        Inputs, as :meth:`node.model.engine.Engine.write_input` takes them.
    length : int
        Inferences of a sequence: so many samples in a row, from the first state. Outputs are those of all of them, and
        an effect is the worst on any.
    """

    def __init__(self, image: Image, samples: Sequence[Sample], length: int = 1) -> None:
        self.image = image
        self.length = length
        self.n_inputs = len(samples) // length
        self._engine, self._arena = engine_of(image)
        self._sums = StruckSums(self._engine, self._arena)
        self._pristine = self._arena.u8.copy()
        self._samples = samples
        self._golden = [self._output(number, None) or b"" for number in range(self.n_inputs)]

    def golden_output(self, number: int) -> bytes:
        """Give the undisturbed output of an input, all tensors of the model one after the other."""
        return self._golden[number]

    def effects(self, faults: Faults, *, keep_outputs: bool = False) -> Effects:
        """Give the effect of each fault on each input; see :class:`node.model.incremental.IncrementalEngine`."""
        codes = np.zeros((len(faults), self.n_inputs), np.uint8)
        index: list[tuple[int, int]] = []
        outputs: list[bytes] = []
        moments = zip(faults.bits, faults.steps, faults.inferences, strict=True)
        for fault, (bit, step, inference) in enumerate(moments):
            for number in range(self.n_inputs):
                output = self._output(number, (faults.region, int(bit), int(step), int(inference)))
                codes[fault, number] = self._effect(number, output)
                if keep_outputs and output is not None and codes[fault, number] != Effect.SAME:
                    index.append((fault, number))
                    outputs.append(output)
        kept = np.frombuffer(b"".join(outputs), np.uint8).reshape(len(outputs), len(self._golden[0]))
        return Effects(codes=codes, index=np.array(index, np.int64).reshape(-1, 2), outputs=kept)

    def outputs(self, groups: Sequence[Group]) -> list[bytes | None]:
        """Give what each group of faults makes of the output of its input, None for a crash."""
        return [self._group_output(group) for group in groups]

    def _begin(self, number: int) -> None:
        np.copyto(self._arena.u8, self._pristine)
        self._write_inputs(number)

    def _write_inputs(self, number: int) -> None:
        for spec in self.image.inputs:
            self._engine.write_input(spec.name, self._samples[number][spec.name])

    def _output(self, number: int, fault: tuple[str, int, int, int] | None) -> bytes | None:
        """Give the outputs of a sequence under a fault, None for a crash."""
        np.copyto(self._arena.u8, self._pristine)
        outputs = []
        try:
            for inference in range(self.length):
                self._write_inputs(number * self.length + inference)
                struck = fault is not None and fault[3] == inference
                first = self._strike(*fault[:3]) if fault is not None and struck else 0
                self._engine.run_steps(first, self._engine.n_steps)
                outputs.append(self._engine.output_bytes())
        except PayloadCrash:
            return None
        return b"".join(outputs)

    def _strike(self, region: str, bit: int, step: int) -> int:
        """Compute up to a fault, let it happen and give the step that is next."""
        if region != ACCUMULATORS:
            self._engine.run_steps(0, step)
            self._arena.flip(region, bit)
            return step
        fault = Fault(strike=0, region=region, bit=bit)
        step = self._sums.step_of(fault)
        self._engine.run_steps(0, step)
        self._sums.strike(fault)
        self._engine.run_step(step)
        return step + 1

    def _group_output(self, group: Group) -> bytes | None:
        """Give the output under a group of faults, operator by operator."""
        self._begin(group.sample)
        cells = StruckCells(self._arena, None, self._sums, _no_interrupt, repair_at_once=False)
        try:
            for step in range(self._engine.n_steps + 1):
                cells.assert_stuck()
                for fault in group.faults:
                    if fault.step == step:
                        cells.inject(fault)
                if step < self._engine.n_steps:
                    self._engine.run_step(step)
        except PayloadCrash:
            return None
        return self._engine.output_bytes()

    def _effect(self, number: int, output: bytes | None) -> Effect:
        if output is None:
            return Effect.CRASHED
        if output == self._golden[number]:
            return Effect.SAME
        return Effect.WRONG if self._winner(output) == self._winner(self._golden[number]) else Effect.MOVED

    def _winner(self, output: bytes) -> list[int]:
        """Give the winner of each inference."""
        first, size = self.image.outputs[0], len(output) // self.length
        found = [np.frombuffer(output, first.dtype, math.prod(first.shape), i * size) for i in range(self.length)]
        return [-1 if np.isnan(values).any() else int(np.argmax(values)) for values in found]


def _no_interrupt(kind: int) -> None:
    raise DataError(f"functional interrupt {kind} is no fault of memory")
