"""Exact effects of single faults, by computing only what a fault can reach.

Golden values of every step are kept for all inputs. A fault is carried out where it strikes, what differs from
golden is brought through the steps that follow, and the work ends as soon as nothing differs any more. The bytes
are those of :class:`node.model.engine.Engine`, which computes every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from node.kernels.inference.incremental import run, sequence, tables
from node.model.effects import Effects, Faults, Group, Sample, WholeRuns, engine_of
from node.model.fault_table import fault_table
from node.model.frames import Frames, NotIncremental, Value
from node.model.group_table import group_table
from node.model.image import Image, TensorSpec
from node.model.sequences import SequenceEngine
from node.model.working_memory import WorkingMemory

CHUNK_BYTES = 3 << 20
"""Values of several inputs that are worked on at once: about what a core's cache holds."""


class IncrementalEngine:
    """Golden values of some inputs, and the effects of faults on them.

    Parameters
    ----------
    image : Image
        Compiled model.
    samples : sequence of mapping
        Inputs, as :meth:`node.model.engine.Engine.write_input` takes them.
    chunk : int, optional
        Inputs that are worked on together; by default as many as fit a cache.

    Raises
    ------
    NotIncremental
        When the image or its golden values ask for whole runs: an unknown operator, or a NaN without any fault,
        whose payload depends on the order of operands.

    Examples
    --------
    >>> import numpy as np, hil
    >>> from hil.workloads import digits
    >>> image = hil.compile_model(digits("int8").model_path)
    >>> engine = IncrementalEngine(image, [{"image": np.zeros((1, 1, 8, 8), np.float32)}])
    >>> effects = engine.effects(Faults.at_start("weights", np.arange(64 * 8, 64 * 8 + 16)))
    >>> effects.codes.shape
    (16, 1)
    """

    def __init__(self, image: Image, samples: Sequence[Sample], chunk: int | None = None) -> None:
        if not samples:
            raise DataError("no inputs are given: give at least one")
        self.image = image
        self.frames = Frames(image)
        self.n_inputs = len(samples)
        per_input = 2 * self.frames.frame_bytes + self.frames.sum_bytes
        self.chunk = min(chunk or max(1, CHUNK_BYTES // max(per_input, 1)), len(samples))
        self._golden = self._golden_frames(samples)
        self._memory = WorkingMemory(self.frames, self.chunk)

    def _golden_frames(self, samples: Sequence[Sample]) -> NDArray[np.uint8]:
        """Run every input once, step by step, and give its frame, uint8 [inputs, bytes]."""
        engine, arena = engine_of(self.image)
        written: dict[int, list[Value]] = {}
        for value in self.frames.values:
            written.setdefault(value.first, []).append(value)
        golden = np.zeros((len(samples), self.frames.frame_bytes), np.uint8)
        for frame, sample in zip(golden, samples, strict=True):
            for spec in self.image.inputs:
                engine.write_input(spec.name, sample[spec.name])
            for step in range(-1, len(self.frames.steps)):
                if step >= 0:
                    engine.run_step(step)
                for value in written.get(step, ()):
                    size = value.arena.end - value.arena.place
                    frame[value.place : value.place + size] = arena.u8[value.arena.place : value.arena.end]
        self._refuse_nan(golden)
        return golden

    def _refuse_nan(self, golden: NDArray[np.uint8]) -> None:
        for value in self.frames.values:
            held = golden[:, value.place : value.place + value.arena.end - value.arena.place]
            if value.arena.item == 4 and np.isnan(np.ascontiguousarray(held).view(np.float32)).any():
                raise NotIncremental("a golden value is NaN")
        for spec in self.image.tensors:
            if spec.dtype == "float32" and np.isnan(_parameter(self.image, spec)).any():
                raise NotIncremental(f"parameter {spec.name!r} holds a NaN")

    def effects(self, faults: Faults, *, keep_outputs: bool = False) -> Effects:
        """Give the effect of each fault on each input.

        Parameters
        ----------
        faults : Faults
            Each strikes by itself.
        keep_outputs : bool
            Give the outputs that differ too.
        """
        table = fault_table(self.frames, faults.region, faults.bits, faults.steps)
        order = _order(table)
        codes = np.zeros((len(faults), self.n_inputs), np.uint8)
        index: list[NDArray[np.int64]] = [np.zeros((0, 2), np.int64)]
        outputs: list[NDArray[np.uint8]] = [np.zeros((0, self._memory.output_bytes), np.uint8)]
        for first in range(0, self.n_inputs, self.chunk):
            golden = self._golden[first : first + self.chunk]
            self._memory.load(golden)
            for part in self._parts(order, keep_outputs):
                effects, kept, kept_bytes = self._memory.run(np.ascontiguousarray(table[part]), keep_outputs)
                codes[part, first : first + len(golden)] = effects
                if keep_outputs:
                    index.append(np.stack([part[kept[:, 0]], kept[:, 1] + first], axis=1))
                    outputs.append(kept_bytes)
        return Effects(codes=codes, index=np.concatenate(index), outputs=np.concatenate(outputs))

    def outputs(self, groups: Sequence[Group]) -> list[bytes]:
        """Give what each group of faults makes of the output of its input, all tensors one after the other."""
        found = [b""] * len(groups)
        for first in range(0, self.n_inputs, self.chunk):
            golden = self._golden[first : first + self.chunk]
            numbers = [i for i, group in enumerate(groups) if first <= group.sample < first + len(golden)]
            if not numbers:
                continue
            self._memory.load(golden)
            table = group_table(self.frames, self.image, [groups[i] for i in numbers], first)
            for i, output in zip(numbers, self._memory.run_together(*table), strict=True):
                found[i] = output
        return found

    def byte_before(self, samples: Sequence[int], step: int, byte: int) -> int | None:
        """Give a byte of the activations just before a step, where nothing was ever struck.

        Parameters
        ----------
        samples : sequence of int
            The inputs of all inferences since the memory was zero, the present one last.
        step : int
            Of the present inference.
        byte : int
            Counted from the start of the region.

        Returns
        -------
        int or None
            None where working memory of a step lies there, whose content is not kept here.
        """
        place = self.image.activation_offset + byte
        for end, sample in zip((step, *[len(self.frames.steps)] * (len(samples) - 1)), reversed(samples), strict=True):
            for first, start, stop, value in reversed(self.frames.writes):
                if first < end and start <= place < stop:
                    return None if value is None else int(self._golden[sample, value.place + place - start])
        return 0

    def golden_output(self, number: int) -> bytes:
        """Give the undisturbed output of an input, all tensors of the model one after the other."""
        frame = self._golden[number]
        return b"".join(frame[start : start + size].tobytes() for start, size in self._memory.output_places)

    def _parts(self, order: NDArray[np.int64], keep_outputs: bool) -> Iterator[NDArray[np.int64]]:
        size = max(1, self._memory.room // self.chunk) if keep_outputs else max(1, len(order))
        for first in range(0, len(order), size):
            yield order[first : first + size]


_SORTED_BY = (tables.STEP, tables.KIND, tables.OUT_CHANNEL, tables.PRODUCT, tables.BIT)


def _order(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give an order in which faults of one weight, one channel and one step are neighbours."""
    key = np.zeros(len(table), np.int64)
    for column in _SORTED_BY:
        key = key * (int(table[:, column].max(initial=0)) + 1) + table[:, column]
    return np.argsort(key)


def _parameter(image: Image, spec: TensorSpec) -> NDArray[np.generic]:
    return np.frombuffer(
        image.weights, np.dtype(spec.dtype), spec.size_bytes // np.dtype(spec.dtype).itemsize, spec.offset
    )


def warm_engine(image: Image) -> None:
    """Compile or load the kernels of the engine that is exact for an image."""
    with suppress(NotIncremental):
        if not image.states and Frames(image).values:
            run.warm()
            return
    sequence.warm()


def engine_for(
    image: Image, samples: Sequence[Sample], region: str, length: int = 1
) -> IncrementalEngine | SequenceEngine | WholeRuns:
    """Give the fastest engine that is exact for this image and region; of a model with state for such sequences."""
    if region == "steps":
        return WholeRuns(image, samples, length)
    with suppress(NotIncremental):
        if not image.states:
            return IncrementalEngine(image, samples)
    with suppress(NotIncremental):
        return SequenceEngine(image, samples, length)
    return WholeRuns(image, samples, length)
