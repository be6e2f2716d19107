"""What each step of an image reads and writes in its arena, so that it can be told which steps a difference reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from node.kernels.inference.general import codes
from node.kernels.inference.general.codes import RANK, SHAPE, STRIDES_B
from node.model.frames import operands_of
from node.model.image import Image, TensorSpec
from node.model.steps import COLUMNS, Opcode, Step

OPERANDS = tuple(COLUMNS.index(name) for name in ("in_a", "in_b", "weights", "bias", "scales"))
OUT, CELL, SCRATCH = (COLUMNS.index(name) for name in ("out", "scales", "scratch"))
ITEMS = {codes.U8: 1, codes.I8: 1, codes.BOOL: 1, codes.I32: 4, codes.F32: 4, codes.I64: 8}
"""Bytes of an element of each kind."""
FLOATS = (Opcode.MAP_F32, Opcode.BINARY_F32, Opcode.MATMUL_F32)
"""Steps whose rows say nothing of kinds, since they know floats alone."""
KEPT = {Opcode.REDUCE_F32: 3, Opcode.REDUCE_INT: 3, Opcode.MATMUL_F32: 5}
"""How many of the dimensions of a row its output has; of all others all."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """Bytes that a step writes.

    Parameters
    ----------
    holder : TensorSpec
        The buffer or state that they lie in.
    start, end : int
        The first of them and the one after the last, in the arena.
    gaps : ndarray of int64, optional
        Where not all between are written: the first byte of each element that is.
    item : int
        Bytes of such an element.
    """

    holder: TensorSpec
    start: int
    end: int
    gaps: NDArray[np.int64] | None = None
    item: int = 1

    def count_in(self, counts: NDArray[np.int64]) -> None:
        """Count this write in the bytes of its holder."""
        if self.gaps is None:
            counts[self.start - self.holder.offset : self.end - self.holder.offset] += 1
            return
        for byte in range(self.item):
            np.add.at(counts, self.gaps - self.holder.offset + byte, 1)


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one step reads and writes.

    Parameters
    ----------
    columns : dict of int to TensorSpec
        The buffer, state or parameter that each place in its row lies in, working memory left out.
    reads : tuple of TensorSpec
        Those that it takes operands from; it may read only a part.
    writes : tuple of Write
        What it writes, working memory left out.
    """

    columns: dict[int, TensorSpec]
    reads: tuple[TensorSpec, ...]
    writes: tuple[Write, ...]


def traffic_of(image: Image, number: int) -> Traffic:
    """Give what a step of an image reads and writes."""
    row = image.steps[number]
    alive = [spec for spec in image.activations if spec.step <= number <= spec.last_step]
    specs = [*alive, *image.states, *(spec for spec in image.tensors if spec.step <= number <= spec.last_step)]
    columns: dict[int, TensorSpec] = {}
    for column in (*OPERANDS, OUT):
        place = int(row[column])
        found = next((spec for spec in specs if spec.offset <= place < spec.end), None)
        if found is not None:
            columns[column] = found
    reads = {columns[column] for column in OPERANDS if column in columns}
    writes = [_output(row, columns[OUT])]
    if row[0] == Opcode.SELECT:  # what is not selected stays
        reads.add(columns[OUT])
    if row[0] == Opcode.LSTM:
        place = int(row[CELL])
        writes.append(Write(holder=columns[CELL], start=place, end=place + 4 * int(row[SHAPE] * row[SHAPE + 1])))
    return Traffic(columns=columns, reads=tuple(reads), writes=tuple(writes))


def _output(row: NDArray[np.int64], holder: TensorSpec) -> Write:
    opcode, place = int(row[0]), int(row[OUT])
    if opcode < Opcode.COPY:
        return Write(holder=holder, start=place, end=operands_of(Step.from_row(row))[2].end)
    shape = row[SHAPE : SHAPE + RANK].astype(np.int64)
    if opcode == Opcode.COPY:
        return _copied(row, shape, holder)
    if opcode in (Opcode.LSTM, Opcode.GRU):
        return _moments(row, holder)
    item = 4 if opcode in FLOATS else ITEMS[int(row[codes.KINDS]) >> 3]
    return Write(holder=holder, start=place, end=place + item * int(shape[: KEPT.get(Opcode(opcode), RANK)].prod()))


def _moments(row: NDArray[np.int64], holder: TensorSpec) -> Write:
    """Give what a recurrent step writes: the outputs of its moments, in either direction, with those of another."""
    size, moments = int(row[SHAPE] * row[SHAPE + 1]), int(row[SHAPE + RANK - 1])
    starts = int(row[OUT]) // 4 + int(row[STRIDES_B + 1]) * np.arange(moments)
    values = 4 * (starts[:, None] + np.arange(size)).reshape(-1)
    start, end = int(values.min()), int(values.max()) + 4
    dense = end - start == 4 * values.size
    return Write(holder=holder, start=start, end=end, gaps=None if dense else values, item=4)


def _copied(row: NDArray[np.int64], shape: NDArray[np.int64], holder: TensorSpec) -> Write:
    """Give what a COPY writes, element by element where it leaves gaps."""
    place, item = int(row[OUT]), ITEMS[int(row[codes.KINDS]) & 7]
    strides = row[STRIDES_B : STRIDES_B + RANK].astype(np.int64)
    offsets = np.zeros(1, np.int64)
    for size, stride in zip(shape, strides, strict=True):
        offsets = (offsets[:, None] + stride * np.arange(size)).reshape(-1)
    start, end = place + item * int(offsets.min()), place + item * (int(offsets.max()) + 1)
    if end - start == item * offsets.size:
        return Write(holder=holder, start=start, end=end)
    return Write(holder=holder, start=start, end=end, gaps=place + item * offsets, item=item)
