"""Views: operands of any shape, walked in strides, and the steps that read and write them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hil.compiler.graph import Array, Node
from hil.compiler.lowering import Lowering
from hil.compiler.program import Buffer, Draft, Parameter, Quantisation, Tensor, elements, memory_order
from node.kernels.inference.limits import LARGEST_DIMENSION
from node.model.steps import Opcode, float_bits
from node.model.views import KINDS, RANK, ViewStep, kinds

Strides = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class View:
    """An activation or a constant as an operand: element ``offset + sum(index * stride)`` of its memory."""

    source: Buffer | Parameter
    dtype: str
    shape: tuple[int, ...]
    strides: Strides
    offset: int = 0
    channels_last: bool = False
    quantisation: Quantisation | None = None

    def broadcast(self, shape: tuple[int, ...]) -> View:
        """Give the view in a larger shape; raises ValueError where it does not fit."""
        if np.broadcast_shapes(self.shape, shape) != shape:
            raise ValueError(f"shape {self.shape} does not broadcast to {shape}")
        lead = len(shape) - len(self.shape)
        strides = [0] * lead + [s if n > 1 else 0 for s, n in zip(self.strides, self.shape, strict=True)]
        return replace(self, shape=shape, strides=tuple(strides), channels_last=self.channels_last and not lead)

    def permuted(self, axes: tuple[int, ...]) -> View:
        """Give the view with its axes in another order."""
        shape, strides = (tuple(values[a] for a in axes) for values in (self.shape, self.strides))
        return replace(self, shape=shape, strides=strides, channels_last=False)


def view_of(tensor: Tensor) -> View:
    """Give a tensor as an operand."""
    return View(
        tensor.buffer,
        tensor.buffer.dtype,
        tensor.shape,
        tensor.strides,
        channels_last=tensor.channels_last and tensor.order_matters,
        quantisation=tensor.quantisation,
    )


def constant_view(low: Lowering, name: str, array: Array) -> View:
    """Give a constant as an operand in the weights region."""
    array = np.asarray(array)
    if str(array.dtype) not in KINDS:
        raise ValueError(f"constant {name!r} is {array.dtype}: {', '.join(KINDS)} are supported")
    strides = Tensor(Buffer(name, str(array.dtype), array.size), array.shape).strides
    dense = np.ascontiguousarray(array).reshape(array.shape)
    return View(Parameter(low.unique(name), dense), str(array.dtype), array.shape, strides)


def operand(low: Lowering, node: Node, index: int) -> View:
    """Give an input as an operand: a constant, or an activation with its real values."""
    if low.is_constant(node.input(index)):
        return constant_view(low, node.input(index), low.constant(node, index))
    source = low.raw(node, index)
    return view_of(source if source.quantisation is None else low.tensor(node, index))


def merge(shape: tuple[int, ...], views: list[Strides]) -> tuple[tuple[int, ...], list[Strides]]:
    """Merge neighbouring axes that all views walk in one stride, and drop those of 1."""
    merged: list[tuple[int, tuple[int, ...]]] = []
    for axis, size in enumerate(shape):
        steps = tuple(strides[axis] for strides in views)
        if size == 1:
            continue
        if merged and merged[-1][0] * size <= LARGEST_DIMENSION:
            before, last = merged[-1]
            if all(old == new * size for old, new in zip(last, steps, strict=True)):
                merged[-1] = (before * size, steps)
                continue
        merged.append((size, steps))
    sizes = tuple(size for size, _ in merged)
    return sizes, [tuple(steps[i] for _, steps in merged) for i in range(len(views))]


def collapse(shape: tuple[int, ...], views: list[Strides]) -> tuple[tuple[int, ...], list[Strides]]:
    """Merge axes as :func:`merge` does; raises ValueError where more remain than a row holds."""
    sizes, strides = merge(shape, views)
    if len(sizes) > RANK:
        raise ValueError(f"shape {shape} needs {len(sizes)} dimensions: at most {RANK} that cannot be merged")
    return sizes, strides


def dense(shape: tuple[int, ...], channels_last: bool = False) -> Strides:
    """Give the strides of a dense output."""
    return Tensor(Buffer("", "uint8", elements(shape)), shape, channels_last).strides


def emit_view(low: Lowering, name: str, step: ViewStep, operands: dict[str, View], out: Buffer) -> None:
    """Add a general step that reads views."""
    reads = {column: v.source for column, v in operands.items() if isinstance(v.source, Buffer)}
    given = {column: v.source for column, v in operands.items() if isinstance(v.source, Parameter)}
    offsets = {column: v.offset * np.dtype(v.dtype).itemsize for column, v in operands.items()}
    low.program.emit(Draft(name, step, reads, given, out, offsets=offsets))


def copy_into(low: Lowering, name: str, source: View, out: Buffer, place: tuple[Strides, int]) -> None:
    """Add a COPY of a view to elements of a buffer; ``place`` is the strides there and the first element.

    A view of more dimensions than a row holds is copied part by part.
    """
    strides, offset = place
    shape, views = merge(source.shape, [source.strides, strides])
    if len(shape) > RANK:
        for i in range(shape[0]):
            part = replace(source, shape=shape[1:], strides=views[0][1:], offset=source.offset + i * views[0][0])
            copy_into(low, name, part, out, (views[1][1:], offset + i * views[1][0]))
        return
    step = ViewStep(
        opcode=Opcode.COPY,
        shape=shape,
        strides_a=views[0],
        strides_b=views[1],
        kinds=kinds(source.dtype, source.dtype),
    )
    reads = {"in_a": source.source} if isinstance(source.source, Buffer) else {}
    given = {"in_a": source.source} if isinstance(source.source, Parameter) else {}
    size = np.dtype(source.dtype).itemsize
    offsets = {"in_a": source.offset * size, "out": offset * size}
    low.program.emit(Draft(name, step, reads, given, out, offsets=offsets))


def copied(low: Lowering, name: str, source: View, channels_last: bool = False) -> Tensor:
    """Add a COPY of a view to a new tensor."""
    channels_last = channels_last and len(source.shape) in (3, 4)
    order = memory_order(len(source.shape), channels_last)
    out = Buffer(name, source.dtype, elements(source.shape))
    moved = source.permuted(order)
    copy_into(low, name, moved, out, (dense(moved.shape), 0))
    return Tensor(out, source.shape, channels_last, source.quantisation)


def dense_view(low: Lowering, name: str, source: View) -> View:
    """Give an operand whose elements lie side by side: a constant, or a part of a tensor, is copied."""
    whole = isinstance(source.source, Buffer) and source.source.count == elements(source.shape)
    if whole and source.strides == dense(source.shape, source.channels_last):
        return source
    return view_of(copied(low, f"{name}.dense", source))


def mapped(low: Lowering, name: str, source: View, function: tuple[int, float, float]) -> Tensor:
    """Add a MAP_F32: a function with its two parameters, of every value of a dense view."""
    source = dense_view(low, name, source)
    code, alpha, beta = function
    order = memory_order(len(source.shape), source.channels_last)
    shape, _ = collapse(tuple(source.shape[a] for a in order), [dense(tuple(source.shape[a] for a in order))])
    step = ViewStep(opcode=Opcode.MAP_F32, shape=shape, function=code, alpha=float_bits(alpha), beta=float_bits(beta))
    out = Buffer(name, "float32", elements(source.shape))
    emit_view(low, name, step, {"in_a": source}, out)
    return Tensor(out, source.shape, source.channels_last)


def combined(low: Lowering, name: str, how: tuple[Opcode, int, str], a: View, b: View) -> Tensor:
    """Add an element-wise step of two views with broadcasting; ``how`` is opcode, function and type of the result."""
    opcode, function, dtype = how
    shape = tuple(np.broadcast_shapes(a.shape, b.shape))
    last = any(v.channels_last and v.shape == shape for v in (a, b))
    order = memory_order(len(shape), last)
    first, second = (v.broadcast(shape).permuted(order) for v in (a, b))
    sizes, strides = collapse(first.shape, [first.strides, second.strides, dense(first.shape)])
    step = ViewStep(
        opcode=opcode,
        shape=sizes,
        strides_a=strides[0],
        strides_b=strides[1],
        function=function,
        kinds=kinds(a.dtype, dtype),
    )
    out = Buffer(name, dtype, elements(shape))
    emit_view(low, name, step, {"in_a": first, "in_b": second}, out)
    return Tensor(out, shape, last)


def cast(low: Lowering, name: str, source: View, dtype: str) -> Tensor:
    """Add a change of type of a dense view."""
    source = dense_view(low, name, source)
    order = memory_order(len(source.shape), source.channels_last)
    sizes = tuple(source.shape[a] for a in order)
    shape, _ = collapse(sizes, [dense(sizes)])
    step = ViewStep(opcode=Opcode.CAST, shape=shape, kinds=kinds(source.dtype, dtype))
    out = Buffer(name, dtype, elements(source.shape))
    emit_view(low, name, step, {"in_a": source}, out)
    return Tensor(out, source.shape, source.channels_last)


def gathered(low: Lowering, name: str, source: View, axis: int, indices: View) -> Tensor:
    """Add a GATHER along an axis of a dense view; the indices' shape replaces the axis."""
    last = source.channels_last
    order = memory_order(len(source.shape), last)
    where = order.index(axis)
    sizes = [source.shape[a] for a in order]
    taken = elements(indices.shape)
    shape = (elements(tuple(sizes[:where])), sizes[where], taken, elements(tuple(sizes[where + 1 :])), 1, 1)
    step = ViewStep(opcode=Opcode.GATHER, shape=shape, kinds=kinds(indices.dtype, source.dtype))
    result = (*source.shape[:axis], *indices.shape, *source.shape[axis + 1 :])
    last = last and len(indices.shape) == 1
    if source.channels_last and not last:
        raise ValueError(f"{name}: indices of one dimension are expected")
    out = Buffer(name, source.dtype, elements(result))
    emit_view(low, name, step, {"in_a": source, "in_b": indices}, out)
    return Tensor(out, result, last, source.quantisation)


def reduced(low: Lowering, name: str, how: tuple[int, str], source: View, axes: tuple[int, ...]) -> Tensor:
    """Add a reduction over axes, which become 1; ``how`` is the function and the type of the result."""
    function, dtype = how
    kept = tuple(a for a in range(len(source.shape)) if a not in axes)
    outer = source.permuted(kept)
    inner = source.permuted(tuple(axes))
    keep, keep_strides = collapse(outer.shape, [outer.strides])
    drop, drop_strides = collapse(inner.shape, [inner.strides])
    if len(keep) > 3 or len(drop) > 3:
        raise ValueError(f"reduction of shape {source.shape} over axes {axes}: too many separate axes")
    step = ViewStep(
        opcode=Opcode.REDUCE_F32 if source.dtype == "float32" else Opcode.REDUCE_INT,
        shape=(1,) * (3 - len(keep)) + keep + (1,) * (3 - len(drop)) + drop,
        strides_a=(0,) * (3 - len(keep)) + keep_strides[0] + (0,) * (3 - len(drop)) + drop_strides[0],
        function=function,
        kinds=kinds(source.dtype, dtype),
    )
    shape = tuple(1 if a in axes else size for a, size in enumerate(source.shape))
    out = Buffer(name, dtype, elements(shape))
    emit_view(low, name, step, {"in_a": source}, out)
    return Tensor(out, shape)
