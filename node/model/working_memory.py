"""The memory that the incremental kernels work in: golden and struck values of several inputs, and their tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.arena import ALIGNMENT_BYTES
from node.jit import entry_of
from node.kernels.inference.dispatch import run_steps
from node.kernels.inference.incremental import tables
from node.kernels.inference.incremental.golden import golden_sums
from node.kernels.inference.incremental.groups import run_groups
from node.kernels.inference.incremental.run import run_faults
from node.kernels.inference.limits import LARGEST_RING, SLACK
from node.kernels.inference.tiles import LANES, TILE_ROWS
from node.model.frames import CONVOLUTIONS, Frames
from node.model.steps import COLUMNS, Opcode, Step

KEPT_BYTES = 16 << 20
"""Outputs that are kept at once."""
HELD = tables.HELD_PLACES + 3
TYPES = {"float32": 0, "int8": 1, "uint8": 2, "int32": 3}
SUMMED = (Opcode.MAX_POOL_INT8, Opcode.AVERAGE_POOL_INT8)
"""Steps whose scratch is one word a channel."""


def scratch_words(step: Step) -> int:
    """Give enough words for the scratch of a convolution (see ``node.kernels.inference.ring.ring_values``)."""
    gathered = TILE_ROWS * step.kernel_h * step.kernel_w * step.in_c
    ring = max(gathered, LARGEST_RING, step.in_h * step.in_w * step.in_c // 8)
    return ring + (step.out_c + LANES * step.groups) + SLACK


class WorkingMemory:
    """The working memory of the incremental kernels, for a number of frames.

    Parameters
    ----------
    frames : Frames
        The values and steps of a model.
    capacity : int
        Inputs that are worked on at once.
    """

    def __init__(self, frames: Frames, capacity: int) -> None:
        self.frames = frames
        self.capacity = capacity
        image = frames.image
        weights = -(-len(image.weights) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self._work = weights
        self._gold = self._work + capacity * frames.frame_bytes
        self._sums = self._gold + capacity * frames.frame_bytes
        self.sizes = np.zeros(tables.SIZES, np.int64)
        total = self._place_work(self._sums + capacity * frames.sum_bytes)
        raw = np.zeros(total + ALIGNMENT_BYTES, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT_BYTES
        u8 = raw[start : start + total]
        u8[: len(image.weights)] = np.frombuffer(image.weights, np.uint8)
        self.memory = (u8, u8.view(np.int32), u8.view(np.float32))
        self.plan = (*self._placed_tables(), self.sizes)
        tensors = self.plan[2]
        entries = int((tensors[:, tables.BLOCKS] * capacity).sum())
        self.state = (
            np.zeros(entries, np.bool_),
            np.zeros(entries, np.int32),
            np.zeros(len(tensors), np.int64),
            np.zeros(entries, np.int32),
            np.zeros((len(tensors), capacity), np.bool_),
            np.zeros(len(tensors), np.int64),
            np.zeros(capacity, np.int64),
        )
        row = np.zeros(frames.rows.shape[1], np.int64)
        self.work = (row, np.full(HELD, -1, np.int64), np.zeros((1, len(row)), np.int64))
        self.sizes[tables.INTERPRETER] = entry_of(run_steps)
        self.output_places = self._output_places()
        self.output_bytes = sum(size for _, size in self.output_places)
        self.room = max(capacity, KEPT_BYTES // max(1, self.output_bytes))

    def _place_work(self, start: int) -> int:
        """Place the working memory from byte ``start``; give its end."""
        frames, capacity = self.frames, self.capacity
        depth = lines = outputs = slots = channels = pairs = scratch = LANES
        for number, step in enumerate(frames.steps):
            channels = max(channels, step.in_c if step.opcode in SUMMED else 0)
            if step.opcode not in CONVOLUTIONS:
                continue
            step_depth = step.kernel_h * step.kernel_w * (step.in_c // step.groups)
            lanes = -(-capacity * step.out_h * step.out_w // LANES) * LANES
            depth, outputs = max(depth, step_depth), max(outputs, lanes)
            lines = max(lines, lanes * (step_depth if step.opcode == Opcode.CONV_F32 else 1))
            if step.opcode == Opcode.CONV_INT8:
                columns = int(frames.links[number, tables.SUM_COLUMNS])
                slots = max(slots, capacity * step.out_h * step.out_w * columns)
            pairs = max(pairs, step_depth)
            scratch = max(scratch, scratch_words(step))
        wanted = {
            tables.GATHERED: 4 * max(TILE_ROWS * depth, channels, scratch), tables.TILE: 4 * TILE_ROWS * LANES,
            tables.SLOTS: 4 * slots, tables.PAIRS: 8 * pairs, tables.LINES: 4 * lines,
            tables.START_SUMS: 4 * outputs, tables.CHANNEL: 4 * TILE_ROWS * depth,
            tables.VARIANTS: 4 * TILE_ROWS * outputs, tables.GOLDEN_LINE: 4 * outputs,
        }  # fmt: skip
        for column, size in wanted.items():
            self.sizes[column] = start
            start += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self.sizes[tables.FRAME_BYTES] = frames.frame_bytes
        self.sizes[tables.GOLDEN] = self._gold - self._work
        self.sizes[tables.SUM_FRAME_BYTES] = frames.sum_bytes
        return start

    def _placed_tables(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        frames = self.frames
        rows, links = frames.rows.copy(), frames.links.copy()
        rows[:, [COLUMNS.index("in_a"), COLUMNS.index("out")]] += self._work
        second = links[:, tables.IN_B_TENSOR] >= 0
        rows[second, COLUMNS.index("in_b")] += self._work
        rows[:, COLUMNS.index("scratch")] = self.sizes[tables.GATHERED]
        links[:, tables.SUMS] += self._sums
        values = frames.value_table(self.capacity)
        values[:, tables.START] += self._work
        return rows, links, values

    def _output_places(self) -> list[tuple[int, int]]:
        places = []
        for spec, number in zip(self.frames.image.outputs, self.frames.outputs, strict=True):
            value = self.frames.values[number]
            places.append((value.place + spec.offset - value.arena.place, spec.size_bytes))
        return places

    def load(self, golden: NDArray[np.uint8]) -> None:
        """Take the golden frames of up to ``capacity`` inputs, uint8 [inputs, bytes]."""
        size = golden.size
        for start in (self._work, self._gold):
            self.memory[0][start : start + size] = golden.reshape(-1)
        self.sizes[tables.FRAMES] = len(golden)
        self.work[1][:] = -1
        for number in range(len(self.frames.steps)):
            if self.frames.links[number, tables.SUM_COLUMNS] > 0:
                golden_sums(self.memory, self.plan, number)

    def run(
        self, table: NDArray[np.int64], keep_outputs: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8]]:
        """Give effects, and fault, input and bytes of the outputs that differ."""
        frames = int(self.sizes[tables.FRAMES])
        room = min(self.room, len(table) * frames) if keep_outputs else 0
        index, kept = np.zeros((room, 2), np.int64), np.zeros((room, self.output_bytes), np.uint8)
        effects = np.zeros((len(table), frames), np.uint8)
        specs = self.frames.image.outputs
        places = self._places()
        first = np.array([np.prod(specs[0].shape), TYPES[specs[0].dtype]], np.int64)
        table = table.copy()
        table[table[:, tables.KIND] == tables.ACTIVATION, tables.ELEMENT] += self._work
        outputs = (places, first, index, kept, np.zeros(frames, np.int64))
        number = run_faults(self.memory, self.plan, self.state, self.work, table, outputs, effects)
        self._require_steps()
        return effects, index[:number], kept[:number]

    def _places(self) -> NDArray[np.int64]:
        """Give tensor, first byte in frame 0 and bytes of each output."""
        found = zip(self.frames.outputs, self.output_places, strict=True)
        return np.array([(number, self._work + start, size) for number, (start, size) in found], np.int64)

    def run_together(self, groups: NDArray[np.int64], events: NDArray[np.int64]) -> list[bytes]:
        """Give the outputs under groups of faults (see :mod:`node.model.group_table`)."""
        events = events.copy()
        events[events[:, tables.ACT] < tables.PARAMETER_FLIPPED, tables.PLACE] += self._work
        outputs = np.zeros((len(groups), self.output_bytes), np.uint8)
        run_groups(self.memory, self.plan, self.state, self.work, (groups, events), (self._places(), outputs))
        self._require_steps()
        return [output.tobytes() for output in outputs]

    def _require_steps(self) -> None:
        if self.sizes[tables.FAILED]:
            raise AssertionError("a step that has run before is refused in working memory: please report it")
