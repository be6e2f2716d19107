"""The working memory of :mod:`node.model.sequences`: a frame for each inference, its golden twin, and their tables."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from node.arena import ALIGNMENT_BYTES
from node.jit import entry_of
from node.kernels.inference import dispatch
from node.kernels.inference.incremental import sequence as kernels
from node.model.frames import NotIncremental
from node.model.image import Image, TensorSpec
from node.model.steps import Opcode
from node.model.traffic import OUT, SCRATCH, Write, traffic_of

MOST_STEPS = 4096
"""Of an image with more of them the tables would take longer than what they save."""
MOST_BYTES = 1 << 30
"""Working memory of one sequence."""

Words = NDArray[np.int64]
Bytes = NDArray[np.uint8]


def aligned(size: int) -> int:
    """Give a size rounded up to whole lines of memory."""
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class SequenceFrames:
    """The working memory for sequences of a number of inferences.

    Parameters, then room for the working memory of one step, then a frame for each inference and one more, whose state
    the last one writes; then the golden twins of all frames; then, by inference, versions of what is written more than
    once.

    Parameters
    ----------
    image : Image
        Compiled model.
    length : int
        Inferences.

    Raises
    ------
    NotIncremental
        It has too many steps, or its values take too much memory.
    """

    def __init__(self, image: Image, length: int) -> None:
        if len(image.steps) > MOST_STEPS:
            raise NotIncremental(f"{len(image.steps)} steps")
        self.image = image
        self.length = length
        self.traffic = [traffic_of(image, number) for number in range(len(image.steps))]
        self.writers = self._writers()
        self._place_values()
        self.written_at = {spec: self._written_at(spec) for spec in self.places}
        self._require_states()
        self.modes = [[self._mode(number, write) for write in each.writes] for number, each in enumerate(self.traffic)]
        self._place_versions()
        raw = np.zeros(self._end + ALIGNMENT_BYTES, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT_BYTES
        u8 = raw[start : start + self._end]
        u8[: len(image.weights)] = np.frombuffer(image.weights, np.uint8)
        self.memory = (u8, u8.view(np.int32), u8.view(np.float32))
        self.model = self._tables()
        n_steps, words = image.steps.shape
        row, done = np.zeros(words, np.int64), np.zeros(length * n_steps, np.int64)
        self.work = (row, row.reshape(1, -1).copy(), np.zeros((length + 1, len(self.marks)), np.bool_), done)

    def _place_values(self) -> None:
        """Give every value its place in frame 0 and its mark: states, buffers, and the parameters where they are."""
        image = self.image
        scratch = {spec for number in range(len(image.steps)) if (spec := self._scratch(number)) is not None}
        values = [*image.states, *(spec for spec in image.activations if spec not in scratch)]
        self.marks = {spec: number for number, spec in enumerate((*values, *image.tensors))}
        self._room = aligned(len(image.weights))
        self.frame_start = self._room + aligned(max((spec.size_bytes for spec in scratch), default=0))
        sizes = [aligned(spec.size_bytes) for spec in values]
        starts = accumulate(sizes, initial=self.frame_start)
        self.places = dict(zip(values, starts, strict=False)) | {spec: spec.offset for spec in image.tensors}
        self.frame_bytes = sum(sizes)
        self.twin = (self.length + 1) * self.frame_bytes

    def _scratch(self, number: int) -> TensorSpec | None:
        """Give the buffer of the working memory of a step: one that no step writes a result to."""
        place = int(self.image.steps[number, SCRATCH])
        alive = (spec for spec in self.image.activations if 0 <= spec.step <= number <= spec.last_step)
        return next((spec for spec in alive if spec.offset <= place < spec.end and spec not in self.writers), None)

    def _writers(self) -> dict[TensorSpec, list[tuple[int, Write]]]:
        found: dict[TensorSpec, list[tuple[int, Write]]] = {}
        for number, each in enumerate(self.traffic):
            for write in each.writes:
                found.setdefault(write.holder, []).append((number, write))
        return found

    def _written_at(self, spec: TensorSpec) -> Words:
        """Give the first step that writes each byte of a value; of what none writes the number after the last."""
        steps = np.full(spec.size_bytes, len(self.image.steps))
        for number, write in reversed(self.writers.get(spec, ())):
            counts = np.zeros(spec.size_bytes, np.int64)
            write.count_in(counts)
            steps[counts > 0] = number
        if spec.step < 0:
            steps[:] = -1
        return steps

    def _require_states(self) -> None:
        """Refuse an image that reads a state once it is written, or leaves some of it as it was."""
        for spec in self.image.states:
            steps = self.written_at[spec]
            readers = [number for number, each in enumerate(self.traffic) if spec in each.reads]
            if steps.max() >= len(self.image.steps) or max(readers, default=-1) > steps.min():
                raise NotIncremental(f"state {spec.name!r} is not written as a whole after it was read")

    def _mode(self, number: int, write: Write) -> int:
        """Tell whether what a step writes is written again by another, or by itself from what was there."""
        counts = np.zeros(write.holder.size_bytes, np.int64)
        for _, other in self.writers[write.holder]:
            other.count_in(counts)
        traffic = self.traffic[number]
        # A recurrent step goes on from an output beside its own.
        goes_on = self.image.steps[number, 0] in (Opcode.LSTM, Opcode.GRU) and write is traffic.writes[0]
        if counts.max(initial=0) <= 1 and (goes_on or write.holder not in traffic.reads):
            return kernels.PLAIN
        return kernels.VERSIONED if write.gaps is None else kernels.LOOSE

    def _place_versions(self) -> None:
        self.versions: dict[tuple[int, int], int] = {}
        start = first = self.frame_start + 2 * self.twin
        for number, each in enumerate(self.traffic):
            for i, write in enumerate(each.writes):
                if self.modes[number][i] == kernels.VERSIONED:
                    self.versions[number, i] = start
                    start += aligned(write.end - write.start)
        self.version_bytes = start - first
        self._end = first + self.length * self.version_bytes
        if self._end > MOST_BYTES:
            raise NotIncremental("too many golden values")

    def place_of(self, holder: TensorSpec, place: int) -> int:
        """Give the place in frame 0 of a byte of the arena that a value holds."""
        return self.places[holder] + place - holder.offset

    def _tables(self) -> tuple[Words, ...]:
        """Give the tables of the model that the kernels read."""
        image, states = self.image, set(self.image.states)
        rows, shifts = image.steps.astype(np.int64), np.zeros(image.steps.shape, np.int64)
        steps = np.zeros((len(rows) + 1, 4), np.int64)
        reads: list[int] = []
        writes: list[tuple[int, ...]] = []
        interpreters = self._interpreters()
        for number, each in enumerate(self.traffic):
            steps[number] = len(reads), len(writes), interpreters[number], max(self.modes[number])
            # A column that a step does not use is 0, where anything may lie.
            reads += [self.marks[spec] for spec in each.reads if spec in self.marks]
            for column, spec in each.columns.items():
                if spec not in self.places:
                    continue
                later = column == OUT and spec in states
                rows[number, column] = self.place_of(spec, int(rows[number, column])) + later * self.frame_bytes
                shifts[number, column] = self.places[spec] >= self.frame_start
            scratch = self._scratch(number)
            if scratch is not None:
                rows[number, SCRATCH] += self._room - scratch.offset
            for i, write in enumerate(each.writes):
                later = write.holder in states
                place = self.place_of(write.holder, write.start) + later * self.frame_bytes
                version = self.versions.get((number, i), -1)
                writes.append((place, write.end - write.start, self.marks[write.holder], later, version))
        steps[-1, :2] = len(reads), len(writes)
        outputs = [(*self._port(spec), self.marks[self._holder(spec)]) for spec in image.outputs]
        sizes = (
            len(rows), self.length, self.frame_bytes, self.twin, self.version_bytes,
            sum(spec.size_bytes for spec in image.outputs), 0, len(states),
        )  # fmt: skip
        found = (np.array(reads), np.array(writes), np.array(outputs), np.array(sizes))
        return (rows, shifts, steps, *(np.ascontiguousarray(table, np.int64) for table in found))

    def _holder(self, port: TensorSpec) -> TensorSpec:
        """Give the buffer that an input or an output of the model lies in."""
        last = len(self.image.steps)
        wanted = -1 if port in self.image.inputs else last
        return next(
            spec
            for spec in self.image.activations
            if spec in self.places and spec.offset <= port.offset < spec.end and spec.step <= wanted <= spec.last_step
        )

    def _port(self, port: TensorSpec) -> tuple[int, int]:
        """Give place in frame 0 and size of an input or an output of the model."""
        return self.place_of(self._holder(port), port.offset), port.size_bytes

    def _interpreters(self) -> list[int]:
        """Give the address of what runs each step."""
        table = np.zeros((1, self.image.steps.shape[1]), np.int64)
        arguments = (self.memory, table, table[0].copy(), 0, 1)
        general = self.image.steps[:, 0] >= Opcode.COPY
        plain = entry_of(dispatch.run_steps, *arguments)
        if not general.any():
            return [plain] * len(general)
        from node.kernels.inference.general import interpreter

        strided = entry_of(interpreter.run_steps, *arguments)
        return [strided if each else plain for each in general]

    # ---- golden values -----------------------------------------------------------------------------------------

    def keep(self, arena: Bytes, inference: int, step: int) -> None:
        """Take over from an arena what a step of a golden run has just written."""
        u8 = self.memory[0]
        for i, write in enumerate(self.traffic[step].writes):
            later = write.holder in self.image.states
            self.keep_value(arena, inference + later, write.holder)
            if (step, i) in self.versions:
                place = self.versions[step, i] + inference * self.version_bytes
                u8[place : place + write.end - write.start] = arena[write.start : write.end]

    def keep_value(self, arena: Bytes, inference: int, spec: TensorSpec) -> None:
        """Take over from an arena what a value holds in an inference."""
        place = self.places[spec] + inference * self.frame_bytes
        for start in (place, place + self.twin):
            self.memory[0][start : start + spec.size_bytes] = arena[spec.offset : spec.end]

    def keep_inputs(self, arena: Bytes, inference: int) -> None:
        """Take over from an arena the inputs of an inference."""
        for port in self.image.inputs:
            self.keep_value(arena, inference, self._holder(port))

    def require_numbers(self) -> None:
        """Refuse a golden NaN: which bits it has depends on the order of operands in the code that happens to run."""
        for spec, place in self.places.items():
            if spec.dtype != "float32":
                continue
            frames = range(self.length) if place >= self.frame_start else (0,)
            used = self.written_at[spec][::4] < len(self.image.steps) if place >= self.frame_start else slice(None)
            for inference in frames:
                start = place + inference * self.frame_bytes
                if np.isnan(self.memory[0][start : start + spec.size_bytes].view(np.float32)[used]).any():
                    raise NotIncremental(f"{spec.name!r} holds a NaN")

    @property
    def golden(self) -> Bytes:
        """The memory that holds golden values: the twins and the versions."""
        return self.memory[0][self.frame_start + self.twin :]

    def load(self, golden: Bytes) -> None:
        """Take golden values that :attr:`golden` held before."""
        self.golden[:] = golden
        self.memory[0][self.frame_start :][: self.twin] = golden[: self.twin]
