"""Frames: the step table of an image rewritten so that every value of one input keeps a place of its own.

In an arena, later activations take over the memory of earlier ones. The incremental engine needs all golden
values at once, so here each value that a step writes is a tensor by itself, and a step finds its operands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

from node.arena import ALIGNMENT_BYTES
from node.kernels.inference.incremental import tables
from node.kernels.inference.tiles import LANES
from node.model.image import Image, TensorSpec
from node.model.steps import COLUMNS, Opcode, Step

CONVOLUTIONS = (Opcode.CONV_F32, Opcode.CONV_INT8)
WINDOWED = (
    *CONVOLUTIONS, Opcode.DEPTHWISE_F32, Opcode.DEPTHWISE_INT8, Opcode.MAX_POOL_F32, Opcode.AVERAGE_POOL_F32,
    Opcode.MAX_POOL_INT8, Opcode.AVERAGE_POOL_INT8,
)  # fmt: skip
ADDED = (Opcode.ADD_F32, Opcode.ADD_INT8)
ITEMS = {
    Opcode.CONV_F32: (4, 4), Opcode.DEPTHWISE_F32: (4, 4), Opcode.ADD_F32: (4, 4), Opcode.CLAMP_F32: (4, 4),
    Opcode.MAX_POOL_F32: (4, 4), Opcode.AVERAGE_POOL_F32: (4, 4), Opcode.SOFTMAX_F32: (4, 4),
    Opcode.QUANTIZE: (4, 1), Opcode.DEQUANTIZE: (1, 4), Opcode.CONV_INT8: (1, 1), Opcode.DEPTHWISE_INT8: (1, 1),
    Opcode.ADD_INT8: (1, 1), Opcode.MAX_POOL_INT8: (1, 1), Opcode.AVERAGE_POOL_INT8: (1, 1),
    Opcode.REQUANTIZE: (1, 1), Opcode.TRANSPOSE: (0, 0),
}  # fmt: skip
"""Bytes of an element read and written; a TRANSPOSE says so in its row."""
LINE_ELEMENTS = 64
"""Largest block of a value without pixels."""


class NotIncremental(Exception):
    """The image has a step whose reads and writes this engine does not know: run it as a whole."""


@dataclass(frozen=True, kw_only=True)
class Operand:
    """What a step reads or writes: elements from a byte of the arena."""

    place: int
    item: int
    count: int

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.place + self.item * self.count


@dataclass(kw_only=True)
class Value:
    """A tensor of a frame: ``arena`` is where the image keeps it, from after step ``first`` to before ``end``."""

    arena: Operand
    block: int
    first: int
    end: int
    last_read: int
    place: int = 0

    def holds(self, operand: Operand) -> bool:
        """Tell whether an operand lies in it, element on element."""
        inside = self.arena.place <= operand.place and operand.end <= self.arena.end
        return inside and operand.item == self.arena.item and (operand.place - self.arena.place) % operand.item == 0


def operands_of(step: Step) -> tuple[Operand, Operand | None, Operand]:
    """Give what a step reads as a and b, and what it writes.

    Raises
    ------
    NotIncremental
        For an operator that is not known here.
    """
    if step.opcode not in ITEMS:
        raise NotIncremental(f"operator {step.opcode}")
    item, item_out = ITEMS[Opcode(step.opcode)]
    reads, writes = step.in_c, step.in_c
    if step.opcode in WINDOWED:
        reads, writes = step.in_h * step.in_w * step.in_c, step.out_h * step.out_w * step.out_c
    elif step.opcode == Opcode.SOFTMAX_F32:
        reads = writes = step.in_w * step.in_c
    elif step.opcode == Opcode.TRANSPOSE:
        reads = writes = step.in_h * step.in_w
        item = item_out = step.count
    second = Operand(place=step.in_b, item=item, count=step.count) if step.opcode in ADDED else None
    first = Operand(place=step.in_a, item=item, count=reads)
    return first, second, Operand(place=step.out, item=item_out, count=writes)


def operand_of(spec: TensorSpec) -> Operand:
    """Give an input or an output of the model as an operand."""
    item = np.dtype(spec.dtype).itemsize
    return Operand(place=spec.offset, item=item, count=spec.size_bytes // item)


def _is_one_row(step: Step) -> bool:
    """Tell whether a step is the product of one row of inputs with a matrix."""
    sizes = (step.in_h, step.in_w, step.out_h, step.out_w, step.kernel_h, step.kernel_w, step.groups)
    return all(size == 1 for size in sizes)


class Frames:
    """The values of an image and the tables of its steps for a number of inputs.

    Parameters
    ----------
    image : Image
        Compiled model.

    Attributes
    ----------
    values : list of Value
        Every tensor, the inputs first.
    rows, links : ndarray of int64
        The tables of :mod:`node.kernels.inference.incremental.tables`, with places in a frame that begins at 0.
    writes : list of tuple
        Step, first byte, end and value (None: working memory) of everything that is written into the arena.
    frame_bytes, sum_bytes : int
        Size of a frame, and of the golden sums that go with it.

    Raises
    ------
    NotIncremental
        An operator is not known, or a step reads what no single step wrote.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.steps = [Step.from_row(row) for row in image.steps]
        self.values: list[Value] = []
        self.frame_bytes = self.sum_bytes = 0
        self.rows = image.steps.astype(np.int64)
        self.links = np.full((len(self.steps), 8), -1, np.int64)
        for spec in image.inputs:
            self._write(operand_of(spec), -1, 0)
        for index, step in enumerate(self.steps):
            self._link(index, step)
        self.outputs = [self._find(operand_of(spec), len(self.steps)) for spec in image.outputs]
        for value in self.outputs:
            self.values[value].last_read = len(self.steps)
        self.writes = self._writes()

    def _writes(self) -> list[tuple[int, int, int, Value | None]]:
        """Give step, first byte, end and value of all that steps write, by step; working memory is no value."""
        found: list[tuple[int, int, int, Value | None]] = [
            (value.first, value.arena.place, value.arena.end, value) for value in self.values
        ]
        results = {(value.first, value.arena.place) for value in self.values}
        for spec in self.image.activations:
            if (spec.step, spec.offset) not in results:
                found.append((spec.step, spec.offset, spec.end, None))
        return sorted(found, key=lambda write: write[0])

    def _link(self, index: int, step: Step) -> None:
        first, second, out = operands_of(step)
        a = self._find(first, index)
        if self.values[a].last_read < 0 and step.opcode in WINDOWED and first.count == self.values[a].arena.count:
            self.values[a].block = step.in_c if self.values[a].first < 0 else self.values[a].block
        self.links[index, tables.IN_A_TENSOR] = a
        self._read(index, "in_a", a, first, tables.SHIFT_A)
        if second is not None and second.place >= self.image.activation_offset:
            b = self._find(second, index)
            self.links[index, tables.IN_B_TENSOR] = b
            self._read(index, "in_b", b, second, tables.SHIFT_B)
        number = self._write(out, index, self._block(step, out, a))
        self.links[index, tables.OUT_TENSOR] = number
        self.rows[index, COLUMNS.index("out")] = self.values[number].place
        if step.opcode == Opcode.CONV_INT8:
            columns = -(-(step.out_c // step.groups) // LANES) * LANES * step.groups
            self.links[index, tables.SUMS] = self.sum_bytes
            self.links[index, tables.SUM_COLUMNS] = columns
            self.sum_bytes += 4 * columns * step.out_h * step.out_w
        elif step.opcode == Opcode.CONV_F32 and _is_one_row(step):
            columns = -(-step.out_c // LANES) * LANES
            self.links[index, tables.SUMS] = self.sum_bytes
            self.links[index, tables.SUM_COLUMNS] = columns
            self.sum_bytes += 4 * columns * -(-step.in_c // LANES)

    def _read(self, index: int, column: str, number: int, operand: Operand, shift: int) -> None:
        value = self.values[number]
        offset = operand.place - value.arena.place
        value.last_read = index
        self.rows[index, COLUMNS.index(column)] = value.place + offset
        self.links[index, shift] = offset // operand.item

    def _find(self, operand: Operand, step: int) -> int:
        for number, value in enumerate(self.values):
            if value.end >= step and value.holds(operand):
                return number
        raise NotIncremental(f"step {step} reads what no single step wrote")

    def _write(self, operand: Operand, step: int, block: int) -> int:
        for value in self.values:
            if value.end >= step and value.arena.place < operand.end and operand.place < value.arena.end:
                value.end = step
        block = block or gcd(operand.count, LINE_ELEMENTS)
        value = Value(arena=operand, block=block, first=step, end=len(self.steps), last_read=-1, place=self.frame_bytes)
        self.frame_bytes += -(-operand.item * operand.count // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        self.values.append(value)
        return len(self.values) - 1

    def _block(self, step: Step, out: Operand, a: int) -> int:
        """Give the elements of a block of an output; 0 lets the value choose."""
        if step.opcode in WINDOWED:
            return step.out_c
        if step.opcode == Opcode.SOFTMAX_F32:
            return step.in_c
        if step.opcode == Opcode.TRANSPOSE:
            return step.in_h if step.in_h < out.count else 0
        block = self.values[a].block
        fits = out.count % block == 0
        if step.opcode in ADDED and fits:
            fits = step.count % block == 0 or block % step.count == 0
        return block if fits else out.count

    @property
    def products(self) -> int:
        """Products of weights that an inference sums up."""
        steps = [step for step in self.steps if step.opcode in CONVOLUTIONS]
        return sum(
            step.out_h * step.out_w * step.out_c * step.kernel_h * step.kernel_w * step.in_c // step.groups
            for step in steps
        )

    def value_table(self, frames: int) -> NDArray[np.int64]:
        """Give the table of tensors for so many frames, places in frame 0."""
        table = np.zeros((len(self.values), 5), np.int64)
        base = 0
        for number, value in enumerate(self.values):
            blocks = value.arena.count // value.block
            table[number] = (value.place, value.arena.item, value.block, blocks, base)
            base += frames * blocks
        return table
