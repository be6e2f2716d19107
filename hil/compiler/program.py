"""Program: steps whose operands are buffers and parameters that have no place in memory yet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ModelError
from hil.compiler.graph import Array
from hil.compiler.limits import LARGEST_STEPS
from node.model.steps import Opcode, Step
from node.model.views import ViewStep


@dataclass(frozen=True, eq=False)
class Buffer:
    """Memory for one activation, or for the scratch of one step."""

    name: str
    dtype: str
    count: int

    @property
    def size_bytes(self) -> int:
        """Bytes that it takes."""
        return self.count * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Parameter:
    """A packed constant of the weights region."""

    name: str
    array: Array


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How integers stand for real values: real = (integer - zero) * scale."""

    scale: float
    zero: int
    dtype: str

    @property
    def signed(self) -> bool:
        """True for int8, false for uint8."""
        return self.dtype == "int8"

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    def quantise(self, value: float) -> int:
        """Give the integer that stands for a real value; an infinite one gives a limit."""
        low, high = self.limits
        if np.isinf(value):
            return high if value > 0 else low
        return int(np.clip(np.rint(np.float32(value) / np.float32(self.scale)) + self.zero, low, high))


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph: a buffer seen in a shape.

    Parameters
    ----------
    buffer : Buffer
        Where it lies; several tensors may share one.
    shape : tuple of int
        As ONNX sees it, batch and channels first.
    channels_last : bool
        True when the memory is [height][width][channel] although the shape is [channel][height][width], in each sample.
    quantisation : Quantisation, optional
        Set when the buffer holds integers that stand for the real values of the graph.
    """

    buffer: Buffer
    shape: tuple[int, ...]
    channels_last: bool = False
    quantisation: Quantisation | None = None

    @property
    def channels(self) -> int:
        """Second dimension."""
        return self.shape[1]

    @property
    def height(self) -> int:
        """Third dimension of four, 1 for a sequence [1][channel][position]."""
        return self.shape[2] if len(self.shape) == 4 else 1

    @property
    def width(self) -> int:
        """Last dimension."""
        return self.shape[-1]

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements from one index to the next in each dimension."""
        order = memory_order(len(self.shape), self.channels_last)
        strides = [0] * len(self.shape)
        step = 1
        for axis in reversed(order):
            strides[axis] = step
            step *= self.shape[axis]
        return tuple(strides)

    @property
    def order_matters(self) -> bool:
        """False when channels first and channels last are the same memory."""
        return len(self.shape) in (3, 4) and self.channels > 1 and self.height * self.width > 1


@dataclass(frozen=True, eq=False)
class State:
    """A model input whose memory keeps what an output of the last inference gave, and its first values."""

    name: str
    tensor: Tensor
    initial: Array


@dataclass(frozen=True)
class Draft:
    """A step with its operands, by column; ``offsets`` are bytes from the start of an operand."""

    name: str
    step: Step | ViewStep
    reads: dict[str, Buffer]
    parameters: dict[str, Parameter]
    out: Buffer
    scratch: Buffer | None = None
    offsets: dict[str, int] = field(default_factory=dict)


@dataclass
class Program:
    """What the lowering writes and the planner reads."""

    name: str
    source: str
    """The model file, for errors."""
    drafts: list[Draft] = field(default_factory=list)
    inputs: list[tuple[str, Tensor]] = field(default_factory=list)
    outputs: list[tuple[str, Tensor]] = field(default_factory=list)
    states: tuple[State, ...] = ()

    def emit(self, draft: Draft) -> None:
        """Add a step; a batch or a sequence beyond all measure would never come to an end."""
        if len(self.drafts) == LARGEST_STEPS:
            raise ModelError(f"{self.source}: {draft.name!r} is beyond step {LARGEST_STEPS}: shorten batch or sequence")
        self.drafts.append(draft)

    def emit_samples(self, draft: Draft, samples: int) -> None:
        """Add a step for each sample of input a and output, which lie one after the other."""
        size_in, size_out = draft.reads["in_a"].size_bytes // samples, draft.out.size_bytes // samples
        for n in range(samples):
            self.emit(replace(draft, offsets={"in_a": n * size_in, "out": n * size_out}))

    def transpose(self, name: str, tensor: Tensor, rows: int, columns: int) -> Buffer:
        """Add a change of order from [rows][columns] to [columns][rows] of each sample; give the new buffer."""
        out = Buffer(f"{name}.order", tensor.buffer.dtype, tensor.buffer.count)
        item = np.dtype(out.dtype).itemsize
        step = Step(opcode=Opcode.TRANSPOSE, in_h=rows, in_w=columns, count=item)
        self.emit_samples(
            Draft(f"{name}.order", step, {"in_a": tensor.buffer}, {}, out), tensor.buffer.count // (rows * columns)
        )
        return out

    def as_channels_last(self, name: str, tensor: Tensor) -> Tensor:
        """Give the tensor with its memory in the order that windowed steps read."""
        if tensor.channels_last:
            return tensor
        buffer = tensor.buffer
        if tensor.order_matters:
            buffer = self.transpose(name, tensor, tensor.channels, tensor.height * tensor.width)
        return Tensor(buffer, tensor.shape, True, tensor.quantisation)

    def as_plain(self, name: str, tensor: Tensor) -> Tensor:
        """Give the tensor with its memory in the order of its shape."""
        if not tensor.channels_last:
            return tensor
        buffer = tensor.buffer
        if tensor.order_matters:
            buffer = self.transpose(name, tensor, tensor.height * tensor.width, tensor.channels)
        return Tensor(buffer, tensor.shape, False, tensor.quantisation)


def memory_order(rank: int, channels_last: bool) -> tuple[int, ...]:
    """Give the axes of a shape in the order in which they lie in memory, the slowest first."""
    return (0, *range(2, rank), 1) if channels_last and rank > 2 else tuple(range(rank))


def elements(shape: tuple[int, ...]) -> int:
    """Give the number of elements of a shape."""
    return int(np.prod(shape, dtype=np.int64))


def pack(matrix: NDArray[np.generic], lanes: int = 16) -> NDArray[np.generic]:
    """Give [depth][columns] as panels [panel][depth][lanes], the last one filled with zeros."""
    depth, columns = matrix.shape
    panels = -(-columns // lanes)
    padded = np.zeros((depth, panels * lanes), matrix.dtype)
    padded[:, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(depth, panels, lanes).transpose(1, 0, 2))
