"""Reductions, products of activations, normalisations and softmax over any axis, from general steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.compiler import lower_float
from hil.compiler.graph import Node
from hil.compiler.lower_elementwise import binary
from hil.compiler.lower_moves import option
from hil.compiler.lowering import Lowering
from hil.compiler.program import Buffer, Draft, Tensor, elements
from hil.compiler.views import View, constant_view, copied, emit_view, mapped, operand, reduced, view_of
from node.kernels.inference.general import codes
from node.model.steps import Opcode, Step
from node.model.views import ViewStep

REDUCTIONS = {
    "GlobalMaxPool": codes.LARGEST,
    "GlobalAveragePool": codes.MEAN,
    "ReduceMax": codes.LARGEST,
    "ReduceMean": codes.MEAN,
    "ReduceMin": codes.SMALLEST,
    "ReduceProd": codes.PRODUCT,
    "ReduceSum": codes.SUM,
}
PLACES = {"ArgMax": (codes.ARG_MAX, codes.ARG_MAX_LAST), "ArgMin": (codes.ARG_MIN, codes.ARG_MIN_LAST)}


def lower_reduce(low: Lowering, node: Node) -> None:
    """Lower ReduceSum, ReduceMean, ReduceMax, ReduceMin and ReduceProd."""
    source = operand(low, node, 0)
    rank = len(source.shape)
    given = option(low, node, 1, "axes")
    name = node.outputs[0]
    if not given and node.attributes.get("noop_with_empty_axes", 0):
        low.values[name] = copied(low, name, source)
        return
    axes = tuple(sorted({axis % rank for axis in given})) if given else tuple(range(rank))
    if source.dtype == "bool" and node.op not in ("ReduceMax", "ReduceMin"):
        raise node.error("is not supported for bool: cast the input to a number")
    result = reduced(low, name, (REDUCTIONS[node.op], source.dtype), source, axes)
    low.values[name] = _squeezed(node, result, axes)


def _squeezed(node: Node, tensor: Tensor, axes: tuple[int, ...]) -> Tensor:
    if node.attributes.get("keepdims", 1):
        return tensor
    return replace(tensor, shape=tuple(size for axis, size in enumerate(tensor.shape) if axis not in axes))


def lower_global_pool(low: Lowering, node: Node) -> None:
    """Lower GlobalMaxPool, and GlobalAveragePool of more than two spatial dimensions."""
    source = operand(low, node, 0)
    axes = tuple(range(2, len(source.shape)))
    low.values[node.outputs[0]] = reduced(low, node.outputs[0], (REDUCTIONS[node.op], source.dtype), source, axes)


def lower_places(low: Lowering, node: Node) -> None:
    """Lower ArgMax and ArgMin."""
    source = operand(low, node, 0)
    axis = int(node.attributes.get("axis", 0)) % len(source.shape)
    function = PLACES[node.op][int(node.attributes.get("select_last_index", 0))]
    low.values[node.outputs[0]] = _squeezed(
        node, reduced(low, node.outputs[0], (function, "int64"), source, (axis,)), (axis,)
    )


def product(low: Lowering, name: str, a: View, b: View) -> Tensor:
    """Emit the product of two operands of at least two dimensions, leading ones broadcast."""
    (rows, depth), (other, columns) = a.shape[-2:], b.shape[-2:]
    if depth != other or a.dtype != "float32" or b.dtype != "float32":
        raise ValueError(f"product of {a.dtype} {a.shape} and {b.dtype} {b.shape} is not supported")
    lead = tuple(np.broadcast_shapes(a.shape[:-2], b.shape[:-2]))
    first, second = a.broadcast((*lead, rows, depth)), b.broadcast((*lead, depth, columns))
    sizes, strides = _merged(lead, first.strides[:-2], second.strides[:-2])
    step = ViewStep(
        opcode=Opcode.MATMUL_F32,
        shape=(*sizes, rows, columns, depth),
        strides_a=(*strides[0], first.strides[-2], 0, first.strides[-1]),
        strides_b=(*strides[1], 0, second.strides[-1], second.strides[-2]),
    )
    shape = (*lead, rows, columns)
    out = Buffer(name, "float32", elements(shape))
    emit_view(low, name, step, {"in_a": first, "in_b": second}, out)
    return Tensor(out, shape)


def _merged(
    lead: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    from hil.compiler.views import collapse

    sizes, strides = collapse(lead, [a, b])
    if len(sizes) > 3:
        raise ValueError(f"leading shape {lead} needs {len(sizes)} dimensions: at most 3 that cannot be merged")
    return sizes, strides


def lower_matmul(low: Lowering, node: Node) -> None:
    """Lower MatMul: with a constant matrix as a packed product, else of two activations."""
    if low.is_constant(node.input(1)) and not low.is_constant(node.input(0)):
        rank = len(low.raw(node, 0).shape)
        if low.constant(node, 1).ndim == 2 and rank > 1 and low.constant(node, 1).dtype == np.float32:
            lower_float.lower_matmul(low, node)
            return
    a, b = operand(low, node, 0), operand(low, node, 1)
    rows, columns = a.shape[:-1][-1:], b.shape[1:][-1:]
    if len(a.shape) == 1:
        a, rows = replace(a, shape=(1, *a.shape), strides=(0, *a.strides)), ()
    if len(b.shape) == 1:
        b, columns = replace(b, shape=(*b.shape, 1), strides=(*b.strides, 0)), ()
    result = product(low, node.outputs[0], a, b)
    low.values[node.outputs[0]] = replace(result, shape=(*result.shape[:-2], *rows, *columns))


def lower_gemm(low: Lowering, node: Node) -> None:
    """Lower Gemm: with constant B and C as a packed product, else from general steps."""
    rest = [node.input(1)] + ([node.input(2)] if node.input(2) else [])
    constant = all(low.is_constant(name) for name in rest) and not low.is_constant(node.input(0))
    if constant and not node.attributes.get("transA", 0):
        columns = low.constant(node, 1).shape[0 if node.attributes.get("transB", 0) else 1]
        bias = low.constant(node, 2) if len(rest) > 1 else np.zeros(1)
        if bias.size == 1 or (bias.shape[-1:] == (columns,) and bias.size == columns):
            lower_float.lower_gemm(low, node)
            return
    a, b = operand(low, node, 0), operand(low, node, 1)
    a = a.permuted((1, 0)) if node.attributes.get("transA", 0) else a
    b = b.permuted((1, 0)) if node.attributes.get("transB", 0) else b
    name = node.outputs[0]
    result = _scaled(low, name, product(low, name, a, b), float(node.attributes.get("alpha", 1.0)))
    if len(rest) > 1:
        c = operand(low, node, 2)
        beta = float(node.attributes.get("beta", 1.0))
        if beta != 1.0:
            c = view_of(
                binary(low, name, "Mul", c, constant_view(low, f"{node.name}.beta", np.array(beta, np.float32)))
            )
        result = binary(low, name, "Add", view_of(result), c)
    low.values[name] = result


def _scaled(low: Lowering, name: str, tensor: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return tensor
    return binary(low, name, "Mul", view_of(tensor), constant_view(low, f"{name}.factor", np.array(factor, np.float32)))


def lower_softmax(low: Lowering, node: Node) -> None:
    """Lower Softmax; an axis that is not the last is brought there and back."""
    source = low.program.as_plain(node.name, low.tensor(node, 0))
    rank = len(source.shape)
    axis = int(node.attributes.get("axis", -1 if low.graph.opset >= 13 else 1)) % max(1, rank)
    if low.graph.opset < 13 or axis == rank - 1:
        width = elements(source.shape[axis:])
        low.values[node.outputs[0]] = _softmax(low, node.outputs[0], source, width)
        return
    order = (*(i for i in range(rank) if i != axis), axis)
    moved = copied(low, f"{node.name}.order", view_of(source).permuted(order))
    result = _softmax(low, node.outputs[0], moved, moved.shape[-1])
    back = tuple(int(i) for i in np.argsort(order))
    low.values[node.outputs[0]] = copied(low, node.outputs[0], view_of(result).permuted(back))


def _softmax(low: Lowering, name: str, source: Tensor, width: int) -> Tensor:
    step = Step(opcode=Opcode.SOFTMAX_F32, in_w=source.buffer.count // width, in_c=width)
    out = replace(source, buffer=Buffer(name, "float32", source.buffer.count))
    low.program.emit(Draft(name, step, {"in_a": source.buffer}, {}, out.buffer))
    return out


def lower_log_softmax(low: Lowering, node: Node) -> None:
    """Lower LogSoftmax as x - max - log(sum(exp(x - max)))."""
    source = operand(low, node, 0)
    rank = len(source.shape)
    axis = int(node.attributes.get("axis", -1 if low.graph.opset >= 13 else 1)) % max(1, rank)
    axes = (axis,) if low.graph.opset >= 13 else tuple(range(axis, rank))
    name = node.outputs[0]
    largest = reduced(low, f"{name}.largest", (codes.LARGEST, "float32"), source, axes)
    shifted = binary(low, f"{name}.shifted", "Sub", source, view_of(largest))
    weights = mapped(low, f"{name}.weights", view_of(shifted), (codes.EXP, 0.0, 0.0))
    total = reduced(low, f"{name}.total", (codes.SUM, "float32"), view_of(weights), axes)
    logarithm = mapped(low, f"{name}.log", view_of(total), (codes.LOG, 0.0, 0.0))
    low.values[name] = binary(low, name, "Sub", view_of(shifted), view_of(logarithm))


def along_channels(view: View, rank: int) -> View:
    """Give a vector of one value a channel so that it broadcasts against [batch][channel][...]."""
    rest = rank - 2
    return replace(view, shape=view.shape + (1,) * rest, strides=view.strides + (0,) * rest)


def standardised(low: Lowering, name: str, source: View, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """Emit (x - mean) / sqrt(variance + epsilon) over some axes."""
    mean = reduced(low, f"{name}.mean", (codes.MEAN, "float32"), source, axes)
    centred = binary(low, f"{name}.centred", "Sub", source, view_of(mean))
    squares = binary(low, f"{name}.squares", "Mul", view_of(centred), view_of(centred))
    variance = reduced(low, f"{name}.variance", (codes.MEAN, "float32"), view_of(squares), axes)
    deviation = deviation_of(low, name, view_of(variance), epsilon)
    return binary(low, f"{name}.standard", "Div", view_of(centred), view_of(deviation))


def deviation_of(low: Lowering, name: str, variance: View, epsilon: float) -> Tensor:
    """Emit sqrt(variance + epsilon)."""
    small = constant_view(low, f"{name}.epsilon", np.array(epsilon, np.float32))
    raised = binary(low, f"{name}.raised", "Add", variance, small)
    return mapped(low, f"{name}.deviation", view_of(raised), (codes.SQRT, 0.0, 0.0))


def lower_instance_normalization(low: Lowering, node: Node) -> None:
    """Lower InstanceNormalization."""
    source = operand(low, node, 0)
    rank, name = len(source.shape), node.outputs[0]
    axes = tuple(range(2, rank))
    normal = standardised(low, name, source, axes, float(node.attributes.get("epsilon", 1e-5)))
    scale, shift = (along_channels(operand(low, node, i), rank) for i in (1, 2))
    scaled = binary(low, f"{name}.scaled", "Mul", view_of(normal), scale)
    low.values[name] = binary(low, name, "Add", view_of(scaled), shift)


def lower_batch_normalization(low: Lowering, node: Node) -> None:
    """Lower BatchNormalization for inference, of any rank and with computed parameters."""
    if node.attributes.get("training_mode", 0) or any(node.outputs[1:]):
        raise node.error("training_mode is not supported: export the model for inference")
    constant = all(low.is_constant(node.input(i)) for i in range(1, 5))
    if constant and len(low.raw(node, 0).shape) in (3, 4):
        lower_float.lower_batch_normalization(low, node)
        return
    source = operand(low, node, 0)
    rank, name = len(source.shape), node.outputs[0]
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    if constant:
        factor, shift = lower_float.normalisation(low, node)
        views = [constant_view(low, f"{node.name}.{k}", v.astype(np.float32)) for k, v in (("f", factor), ("s", shift))]
        scaled = binary(low, f"{name}.scaled", "Mul", source, along_channels(views[0], rank))
        low.values[name] = binary(low, name, "Add", view_of(scaled), along_channels(views[1], rank))
        return
    scale, bias, mean, variance = (operand(low, node, i) for i in range(1, 5))
    if any(low.is_constant(node.input(i)) for i in range(1, 5)):
        raise node.error("has parameters of which some are constant and some computed: make all of them constant")
    deviation = deviation_of(low, name, variance, epsilon)
    centred = binary(low, f"{name}.centred", "Sub", source, along_channels(mean, rank))
    normal = binary(low, f"{name}.standard", "Div", view_of(centred), along_channels(view_of(deviation), rank))
    scaled = binary(low, f"{name}.scaled", "Mul", view_of(normal), along_channels(scale, rank))
    low.values[name] = binary(low, name, "Add", view_of(scaled), along_channels(bias, rank))


def lower_lrn(low: Lowering, node: Node) -> None:
    """Lower LRN: squares summed over neighbouring channels by shifted copies."""
    from hil.compiler.lower_moves import spread

    source = operand(low, node, 0)
    rank, name = len(source.shape), node.outputs[0]
    size = int(node.attributes["size"])
    alpha, beta = float(node.attributes.get("alpha", 1e-4)), float(node.attributes.get("beta", 0.75))
    squares = binary(low, f"{name}.squares", "Mul", source, source)
    before, after = [0] * rank, [0] * rank
    before[1], after[1] = (size - 1) // 2, size // 2
    wide = view_of(spread(low, f"{name}.wide", view_of(squares), (before, after, [0] * rank), np.zeros(())))
    # Windows over the channels are an axis more, walked with the stride of the channels.
    shape = (*source.shape, size)
    windows = replace(wide, shape=shape, strides=(*wide.strides, wide.strides[1]), channels_last=False)
    total = reduced(low, f"{name}.total", (codes.SUM, "float32"), windows, (rank,))
    sums = replace(view_of(total), shape=source.shape, strides=Tensor(total.buffer, source.shape).strides)
    scaled = mapped(low, f"{name}.scaled", sums, (codes.AFFINE, alpha / size, float(node.attributes.get("bias", 1.0))))
    power = constant_view(low, f"{node.name}.beta", np.array(beta, np.float32))
    divisor = binary(low, f"{name}.divisor", "Pow", view_of(scaled), power)
    low.values[name] = binary(low, name, "Div", source, view_of(divisor))
