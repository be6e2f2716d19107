"""Exact effects of single faults on sequences of inferences, by running only the steps that a fault reaches.

For models that keep state between inferences, and for steps that :class:`node.model.incremental.IncrementalEngine` does
not know. Golden values of every step of every inference are kept. A trial begins where its fault strikes, runs the
steps that read something else than in the golden run, and ends when the state is golden again. The bytes are those of
:class:`node.model.effects.WholeRuns`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault
from node.kernels.inference.incremental import sequence as kernels
from node.kernels.inference.incremental import tables
from node.kernels.inference.incremental.run import winner
from node.model.accumulators import REGION as ACCUMULATORS
from node.model.accumulators import accumulator_bytes
from node.model.effects import Effects, Faults, Sample, engine_of
from node.model.frames import NotIncremental
from node.model.image import Image, TensorSpec
from node.model.sequence_frames import MOST_BYTES, SequenceFrames
from node.model.working_memory import TYPES
from node.struck_sums import StruckSums

KEPT_BYTES = 16 << 20
"""Outputs that are kept at once."""

Bytes = NDArray[np.uint8]
Words = NDArray[np.int64]


class SequenceEngine:
    """Golden values of some sequences of inputs, and the effects of faults on them.

    Parameters
    ----------
    image : Image
        Compiled model.
    samples : sequence of mapping
        Inputs, as :meth:`node.model.engine.Engine.write_input` takes them.
    length : int
        Inferences of a sequence: so many samples in a row, from the first state.

    Raises
    ------
    NotIncremental
        The golden values are too many, or hold a NaN, or the winner of the first output is not known here.

    Examples
    --------
    >>> import numpy as np, hil
    >>> from hil.workloads import story
    >>> image = hil.compile_model(story().model_path)
    >>> shapes = {spec.name: (spec.shape, spec.dtype) for spec in image.inputs}
    >>> one = {name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()}
    >>> engine = SequenceEngine(image, [one] * 3, length=3)
    >>> engine.effects(Faults.at_start("state", np.arange(8))).codes.shape
    (8, 1)
    """

    def __init__(self, image: Image, samples: Sequence[Sample], length: int = 1) -> None:
        if not samples or len(samples) % length:
            raise DataError(f"{len(samples)} inputs are no sequences of {length}: give whole ones, at least one")
        if image.outputs[0].dtype not in TYPES:
            raise NotIncremental(f"output of {image.outputs[0].dtype}")
        self.image = image
        self.length = length
        self.n_inputs = len(samples) // length
        self._frames = SequenceFrames(image, length)
        if self.n_inputs * self._frames.golden.size > MOST_BYTES:
            raise NotIncremental("too many golden values")
        self._engine, self._arena = engine_of(image)
        self._sums = StruckSums(self._engine, self._arena)
        self._pristine = self._arena.u8.copy()
        first = image.outputs[0]
        self._kind = np.array([np.prod(first.shape), TYPES[first.dtype]], np.int64)
        self._outputs: list[Bytes] = []
        self._winners: list[Words] = []
        self._golden = [self._run(samples[i : i + length]) for i in range(0, len(samples), length)]

    def golden_output(self, number: int) -> bytes:
        """Give the undisturbed outputs of a sequence, one inference after the other."""
        return self._outputs[number].tobytes()

    def effects(self, faults: Faults, *, keep_outputs: bool = False) -> Effects:
        """Give the effect of each fault on each sequence: the worst on any of its inferences."""
        table = self._fault_table(faults)
        codes = np.zeros((len(faults), self.n_inputs), np.uint8)
        index: list[Words] = [np.zeros((0, 2), np.int64)]
        outputs: list[Bytes] = [np.zeros((0, self._outputs[0].size), np.uint8)]
        for number, golden in enumerate(self._golden):
            self._frames.load(golden)
            for part in self._parts(len(faults), keep_outputs):
                kept = np.repeat(self._outputs[number].reshape(1, -1), len(part) if keep_outputs else 0, axis=0)
                found = self._part(faults, table, part, (self._kind, self._winners[number], kept))
                codes[part, number] = found
                if keep_outputs:
                    differing = np.flatnonzero((found != tables.SAME) & (found != kernels.CRASHED))
                    index.append(np.stack([part[differing], np.full(len(differing), number)], axis=1))
                    outputs.append(kept[differing])
        return Effects(codes=codes, index=np.concatenate(index), outputs=np.concatenate(outputs))

    def _run(self, samples: Sequence[Sample]) -> Bytes:
        """Run a sequence step by step, keep its outputs and their winners, and give its golden values."""
        arena, frames, image = self._arena.u8, self._frames, self.image
        np.copyto(arena, self._pristine)
        for spec in image.states:
            frames.keep_value(arena, 0, spec)
        outputs, winners = [], []
        for number, sample in enumerate(samples):
            for spec in image.inputs:
                self._engine.write_input(spec.name, sample[spec.name])
            frames.keep_inputs(arena, number)
            for step in range(self._engine.n_steps):
                self._engine.run_step(step)
                frames.keep(arena, number, step)
            outputs.append(np.frombuffer(self._engine.output_bytes(), np.uint8))
            memory = (self._arena.u8, self._arena.i32, self._arena.f32)
            winners.append(winner(memory, image.outputs[0].offset, self._kind))
        self._outputs.append(np.concatenate(outputs))
        self._winners.append(np.array(winners, np.int64))
        frames.require_numbers()
        return frames.golden.copy()

    # ---- faults ------------------------------------------------------------------------------------------------

    def _fault_table(self, faults: Faults) -> Words:
        """Give the faults as the kernels read them; what nothing reads any more has no mark."""
        self._check(faults)
        image, byte = self.image, faults.bits // 8
        table = np.full((len(faults), 7), -1, np.int64)
        table[:, kernels.INFERENCE], table[:, kernels.STEP] = faults.inferences, faults.steps
        table[:, kernels.UNTIL] = faults.inferences
        table[:, kernels.MASK] = 1 << (faults.bits % 8)
        table[:, kernels.PERSISTS] = faults.region == "weights"
        if faults.region == "weights":
            for spec in image.tensors:
                self._strike(table, spec, byte, (spec.offset <= byte) & (byte < spec.end))
        elif faults.region == "activations":
            byte += image.activation_offset
            for spec in image.activations:
                struck = (spec.offset <= byte) & (byte < spec.end) & (faults.steps <= spec.last_step)
                self._strike(table, spec, byte, struck & (self._written(spec, byte) < faults.steps))
        elif faults.region == "state":
            byte += image.state_offset
            for spec in image.states:
                inside = (spec.offset <= byte) & (byte < spec.end)
                table[inside & (self._written(spec, byte) < faults.steps), kernels.UNTIL] += 1
                self._strike(table, spec, byte, inside & (table[:, kernels.UNTIL] < self.length))
        return table

    def _check(self, faults: Faults) -> None:
        image, region = self.image, faults.region
        sizes = {"weights": len(image.weights), "activations": image.activation_bytes, "state": image.state_bytes}
        sizes[ACCUMULATORS] = accumulator_bytes(image)
        if not sizes.get(region):
            raise DataError(f"region {region!r}: weights, activations, accumulators and state are struck here")
        ends = {"bit": 8 * sizes[region], "step": len(image.steps) + 1, "inference": self.length}
        found = {"bit": faults.bits, "step": faults.steps, "inference": faults.inferences}
        for what, values in found.items():
            if len(values) and (values.min() < 0 or values.max() >= ends[what]):
                raise DataError(f"region {region!r}: a fault strikes at a {what} outside 0 to {ends[what] - 1}")

    def _written(self, spec: TensorSpec, byte: Words) -> Words:
        """Give the step that first writes each byte of the arena, if it lies in a value."""
        steps = self._frames.written_at.get(spec)
        if steps is None:  # working memory
            return np.full(len(byte), len(self.image.steps))
        return steps[np.clip(byte - spec.offset, 0, len(steps) - 1)]

    def _strike(self, table: Words, spec: TensorSpec, byte: Words, struck: NDArray[np.bool_]) -> None:
        """Let faults strike a value."""
        if not struck.any():
            return
        frames = self._frames
        own = 0 if spec.end <= len(self.image.weights) else frames.frame_bytes
        table[struck, kernels.STRUCK_MARK] = frames.marks[spec]
        table[struck, kernels.BYTE] = frames.place_of(spec, 0) + byte[struck] + own * table[struck, kernels.UNTIL]

    def _parts(self, count: int, keep_outputs: bool) -> Iterator[Words]:
        size = max(1, KEPT_BYTES // max(1, self._outputs[0].size)) if keep_outputs else max(1, count)
        for first in range(0, count, size):
            yield np.arange(first, min(first + size, count))

    def _part(self, faults: Faults, table: Words, part: Words, outputs: tuple[Words, Words, Bytes]) -> Bytes:
        """Give the effects of some faults on the sequence that is loaded."""
        effects = np.zeros(len(part), np.uint8)
        if faults.region == ACCUMULATORS:
            for i, fault in enumerate(part):
                effects[i] = self._strike_sum(int(faults.bits[fault]), table[fault], (outputs, i))
        else:
            frames = self._frames
            struck = np.ascontiguousarray(table[part])
            kernels.run_sequences(frames.memory, frames.model, frames.work, struck, outputs, effects)
        return effects

    def _strike_sum(self, bit: int, fault: Words, outputs: tuple[tuple[Words, Words, Bytes], int]) -> int:
        """Give the effect of a struck accumulator; its own step is run the slow way, in an arena."""
        sum_fault, inference = Fault(strike=0, region=ACCUMULATORS, bit=bit), int(fault[kernels.INFERENCE])
        step = self._sums.step_of(sum_fault)
        frames, arena = self._frames, self._arena
        work, u8, shift = (frames.memory, frames.model, frames.work), frames.memory[0], inference * frames.frame_bytes
        kernels.begin(*work, inference, step)
        for spec in frames.traffic[step].reads:
            if spec not in self.image.tensors:
                place = frames.places[spec] + shift
                arena.u8[spec.offset : spec.end] = u8[place : place + spec.size_bytes]
        self._sums.strike(sum_fault)
        self._engine.run_step(step)
        kernels.begin(*work, inference, step + 1)
        (write,) = frames.traffic[step].writes
        start = frames.place_of(write.holder, write.start) + shift
        struck, own = arena.u8[write.start : write.end], slice(start, start + write.end - write.start)
        golden = u8[own].copy()
        u8[own] = struck
        fault = fault.copy()
        fault[[kernels.STEP, kernels.STRUCK_MARK]] = step + 1, frames.marks[write.holder]
        effect = int(kernels.finish(*work, fault, outputs))
        u8[own] = golden
        return effect
