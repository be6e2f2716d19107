"""Integer steps: DequantizeLinear, an operator and QuantizeLinear together become one step on bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hil.compiler.graph import Array, Node
from hil.compiler.lower_elementwise import binary
from hil.compiler.lower_float import (
    check_channels,
    in_memory_order,
    matrix_rows,
    packed_groups,
    packed_vector,
    pool_step,
    scratch_of,
    two_dimensional,
)
from hil.compiler.lowering import Lowering, QuantisedConstant
from hil.compiler.program import Buffer, Draft, Parameter, Quantisation, Tensor, elements, pack
from hil.compiler.views import View, cast, constant_view, mapped, view_of
from hil.compiler.wide_weights import integer_weights, repeated
from hil.compiler.window import window_of
from node.kernels.inference.general import codes
from node.model.steps import Opcode, Step


def lower_quantize(low: Lowering, node: Node) -> None:
    """Lower QuantizeLinear: nothing where the value already is that integer, else a step."""
    if low.constant(node, 1).size > 1:
        _quantise_channels(low, node)
        return
    source = low.raw(node, 0)
    kind = low.quantisation(node)
    name = node.outputs[0]
    if source.quantisation == kind:
        low.values[name] = replace(source, quantisation=None)
        return
    step = integer_limits(Step(opcode=Opcode.QUANTIZE, in_c=source.buffer.count), kind)
    scales = [kind.scale]
    if source.quantisation is not None:
        step = replace(
            step, opcode=Opcode.REQUANTIZE, zero_a=source.quantisation.zero, signed=int(source.quantisation.signed)
        )
        scales = [source.quantisation.scale, kind.scale]
    elif source.buffer.dtype != "float32":
        raise node.error(f"its input holds {source.buffer.dtype}: floats are expected")
    out = Buffer(name, kind.dtype, source.buffer.count)
    low.program.emit(Draft(node.name, step, {"in_a": source.buffer}, {"scales": low.scales(node, scales)}, out))
    low.values[name] = replace(source, buffer=out, quantisation=None)


def lower_dequantize(low: Lowering, node: Node) -> None:
    """Lower DequantizeLinear: the value stays as integers until somebody needs floats."""
    name = node.input(0)
    if name in low.graph.constants:
        integers = low.graph.constants[name]
        if node.attributes.get("block_size", 0):
            low.graph.constants[node.outputs[0]] = _dequantise_blocks(low, node, integers)
            return
        zero = low.graph.constants[node.input(2)] if node.input(2) else np.zeros(1, integers.dtype)
        axis = int(node.attributes.get("axis", 1)) % max(1, integers.ndim)
        scale = low.constant(node, 1)
        if not np.isfinite(scale).all():
            raise node.error(f"its scale {node.input(1)!r} is infinite: quantise the model again")
        low.quantised[node.outputs[0]] = QuantisedConstant(name, integers, scale, zero, axis)
        return
    if low.constant(node, 1).size > 1:
        _dequantise_channels(low, node)
        return
    low.values[node.outputs[0]] = replace(low.raw(node, 0), quantisation=low.quantisation(node))


def _along_axis(low: Lowering, node: Node, index: int, source: View) -> View:
    """Give the scales or zero points of an activation as floats: one for each index of an axis, or for each block."""
    values = _spread(node, low.constant(node, index).astype(np.float32), source.shape)
    return constant_view(low, f"{node.name}.{'scale' if index == 1 else 'zero'}", values)


def _spread(node: Node, values: Array, shape: tuple[int, ...]) -> Array:
    """Give scales or zero points so that they broadcast against what is quantised, of that shape."""
    axis = int(node.attributes.get("axis", 1)) % len(shape)
    block = int(node.attributes.get("block_size", 0))
    if block:
        return np.repeat(values, block, axis).take(range(shape[axis]), axis)
    return values.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _dequantise_blocks(low: Lowering, node: Node, integers: Array) -> Array:
    """Give the floats of a constant with a scale for each block of an axis; no kernel multiplies such integers."""
    zero = _spread(node, low.constant(node, 2), integers.shape).astype(np.int32) if node.input(2) else 0
    scale = _spread(node, low.constant(node, 1), integers.shape).astype(np.float32)
    return (integers.astype(np.int32) - zero).astype(np.float32) * scale


def _dequantise_channels(low: Lowering, node: Node) -> None:
    """Lower DequantizeLinear of an activation with a scale for each channel, in floats."""
    source = view_of(low.raw(node, 0))
    name = node.outputs[0]
    real = view_of(cast(low, f"{name}.real", source, "float32"))
    if node.input(2):
        real = view_of(binary(low, f"{name}.centred", "Sub", real, _along_axis(low, node, 2, source)))
    low.values[name] = binary(low, name, "Mul", real, _along_axis(low, node, 1, source))


def _quantise_channels(low: Lowering, node: Node) -> None:
    """Lower QuantizeLinear of an activation with a scale for each channel, in floats."""
    source = view_of(low.tensor(node, 0))
    name = node.outputs[0]
    dtype = str(low.constant(node, 2).dtype) if node.input(2) else "uint8"
    if dtype not in ("int8", "uint8"):
        raise node.error(f"quantises to {dtype}: int8 and uint8 are supported")
    value = view_of(binary(low, f"{name}.scaled", "Div", source, _along_axis(low, node, 1, source)))
    value = view_of(mapped(low, f"{name}.rounded", value, (codes.ROUND, 0.0, 0.0)))
    if node.input(2):
        value = view_of(binary(low, f"{name}.shifted", "Add", value, _along_axis(low, node, 2, source)))
    for op, limit in (("Max", np.iinfo(dtype).min), ("Min", np.iinfo(dtype).max)):
        bound = constant_view(low, f"{name}.limit", np.array(limit, np.float32))
        value = view_of(binary(low, f"{name}.limited", op, value, bound))
    low.values[name] = cast(low, name, value, dtype)


def integer_limits(step: Step, kind: Quantisation, clamp: tuple[float, float] = (-np.inf, np.inf)) -> Step:
    """Give the step with the output's zero point and limits, within which a fused Relu or Clip lies."""
    return replace(
        step, zero_out=kind.zero, low=kind.quantise(clamp[0]), high=kind.quantise(clamp[1]), signed=4 * kind.signed
    )


def lower_integer(low: Lowering, node: Node) -> bool:
    """Lower an operator between DequantizeLinear and QuantizeLinear in integers; False when it is none such."""
    lower = INTEGER_OPERATORS.get(node.op)
    if node.op == "Add" and low.is_constant(node.input(0)):
        node = replace(node, inputs=(node.input(1), node.input(0)))
    source = low.values.get(node.input(0))
    if lower is None or source is None or source.quantisation is None:
        return False
    if node.op in WINDOWED and len(source.shape) > 4:
        return False  # Volumes are walked in floats.
    return lower(low, node, source, source.quantisation)


def _lower_conv(low: Lowering, node: Node, source: Tensor, kind: Quantisation) -> bool:
    weights = low.quantised.get(node.input(1))
    result = low.quantised_result(node.outputs[0])
    if weights is None or result is None:
        return False
    groups = int(node.attributes.get("group", 1))
    source = low.image(node, source)
    check_channels(node, source, weights.integers.shape, groups)
    window = window_of(node, source, weights.integers.shape[2:])
    values, parts = integer_weights(weights, axis=1)
    values = two_dimensional(values)
    out_c = values.shape[0]
    source = repeated(low, node, source, parts, groups)
    bias, multipliers = integer_sums(low, node, (weights, kind, result), out_c)
    depthwise = groups == source.channels == out_c and groups > 1
    step = Step(opcode=Opcode.DEPTHWISE_INT8 if depthwise else Opcode.CONV_INT8, groups=groups)
    step = window.apply(step, source, out_c)
    if depthwise:
        values = np.ascontiguousarray(values.reshape(out_c, -1).T)
        scratch = None
    else:
        values, bias, multipliers = (
            packed_groups(values, groups),
            packed_vector(bias, groups),
            packed_vector(multipliers, groups),
        )
        scratch = scratch_of(node, step)
    memory = (source, scratch, window.shape(source, out_c), source.shape[0])
    _emit_sum(low, node, (step, kind, result), (values, bias, multipliers), memory)
    return True


def _lower_gemm(low: Lowering, node: Node, source: Tensor, kind: Quantisation) -> bool:
    weights = low.quantised.get(node.input(1))
    result = low.quantised_result(node.outputs[0])
    plain = all(node.attributes.get(key, 1.0) == 1.0 for key in ("alpha", "beta"))
    if weights is None or result is None or not plain or weights.integers.ndim != 2:
        return False
    if node.attributes.get("transA", 0):
        raise node.error("transA = 1 is not supported: transpose the input before the export")
    axis = 1 if node.attributes.get("transB", 0) else 0
    values, parts = integer_weights(weights, axis)
    values = values.T if axis else values
    depth, columns = values.shape
    source = low.program.as_plain(node.name, source)
    rows = matrix_rows(node, source, weights.integers.shape[axis])
    source = repeated(low, node, source, parts)
    bias, multipliers = integer_sums(low, node, (weights, kind, result), columns)
    step = Step(opcode=Opcode.CONV_INT8, in_w=rows, in_c=depth, out_w=rows, out_c=columns)
    scratch = scratch_of(node, step)
    packed = pack(values), packed_vector(bias, 1), packed_vector(multipliers, 1)
    _emit_sum(low, node, (step, kind, result), packed, (source, scratch, (*source.shape[:-1], columns), 1))
    return True


def _emit_sum(
    low: Lowering,
    node: Node,
    how: tuple[Step, Quantisation, Quantisation],
    packed: tuple[Array, Array, Array],
    memory: tuple[Tensor, Buffer | None, tuple[int, ...], int],
) -> None:
    """Emit a convolution or a product; the output takes the name of the value before QuantizeLinear."""
    (step, kind, result), (source, scratch, shape, samples) = how, memory
    clamp, name = low.activation(node.outputs[0])
    step = integer_limits(step, result, clamp)
    step = replace(step, zero_a=kind.zero, signed=step.signed | int(kind.signed))
    given = {
        "weights": low.parameter(node, 1, packed[0]),
        "bias": low.parameter(node, 2, packed[1]),
        "scales": Parameter(low.unique(f"{node.name}.multiplier"), packed[2]),
    }
    out = Tensor(Buffer(name, result.dtype, elements(shape)), shape, source.channels_last, result)
    low.program.emit_samples(Draft(node.name, step, {"in_a": source.buffer}, given, out.buffer, scratch), samples)
    low.values[name] = out


def integer_sums(
    low: Lowering,
    node: Node,
    kinds: tuple[QuantisedConstant, Quantisation, Quantisation],
    columns: int,
) -> tuple[Array, Array]:
    """Give the bias as int32 in units of scale_in * scale_weight, and scale_in * scale_weight / scale_out."""
    weights, kind, result = kinds
    scale = np.broadcast_to(weights.scale.astype(np.float32).reshape(-1), (columns,)) * np.float32(kind.scale)
    real = low.optional_constant(node, 2, columns).astype(np.float64).reshape(-1)
    real = np.broadcast_to(real, (columns,))
    bias = np.where(real == 0.0, 0.0, np.inf)  # What a channel of scale 0 can hold: nothing at all.
    bias = np.rint(np.divide(real, scale, out=bias, where=scale != 0.0))
    known = low.quantised.get(node.input(2))
    if known is not None and np.allclose(known.scale.reshape(-1), scale, rtol=1e-5, atol=0.0):
        bias = np.broadcast_to(known.integers.reshape(-1).astype(np.float64), (columns,))
    if np.abs(bias).max() >= 2**31:
        raise node.error("its bias does not fit int32 in the scale of its inputs: quantise the model again")
    return bias.astype(np.int32), (scale / np.float32(result.scale)).astype(np.float32)


def _lower_add(low: Lowering, node: Node, source: Tensor, kind: Quantisation) -> bool:
    result = low.quantised_result(node.outputs[0])
    second = _second_term(low, node, source)
    if result is None or second is None:
        return False
    other, other_kind, period = second
    clamp, name = low.activation(node.outputs[0])
    step = integer_limits(Step(opcode=Opcode.ADD_INT8, in_c=source.buffer.count), result, clamp)
    signed = step.signed | int(kind.signed) | 2 * int(other_kind.signed)
    step = replace(step, zero_a=kind.zero, zero_b=other_kind.zero, signed=signed, count=period)
    given = {"scales": low.scales(node, [kind.scale, other_kind.scale, result.scale])}
    reads = {"in_a": source.buffer}
    if isinstance(other, Parameter):
        given["in_b"] = other
    else:
        reads["in_b"] = other
    out = replace(source, buffer=Buffer(name, result.dtype, source.buffer.count), quantisation=result)
    low.program.emit(Draft(node.name, step, reads, given, out.buffer))
    low.values[name] = out
    return True


def _second_term(low: Lowering, node: Node, source: Tensor) -> tuple[Buffer | Parameter, Quantisation, int] | None:
    """Give the second term of an Add as bytes, how they are quantised, and after how many they repeat."""
    constant = low.quantised.get(node.input(1))
    if constant is not None and constant.scale.size == 1 and constant.integers.dtype in (np.int8, np.uint8):
        bytes_ = in_memory_order(node, constant.integers, source)
        kind = Quantisation(
            scale=float(constant.scale.reshape(-1)[0]),
            zero=int(constant.zero.reshape(-1)[0]),
            dtype=str(bytes_.dtype),
        )
        return low.parameter(node, 1, bytes_), kind, bytes_.size
    other = low.values.get(node.input(1))
    if other is None or other.quantisation is None or other.shape != source.shape:
        return None
    ordered = low.same_order(node, other, source)
    return ordered.buffer, other.quantisation, ordered.buffer.count


def _lower_pool(low: Lowering, node: Node, source: Tensor, kind: Quantisation) -> bool:
    largest = node.op == "MaxPool"
    result = kind if largest else low.quantised_result(node.outputs[0])
    if result is None:
        return False
    source = low.image(node, source)
    step, out = pool_step(node, source)
    clamp, name = ((-np.inf, np.inf), node.outputs[0]) if largest else low.activation(node.outputs[0])
    step = replace(step, opcode=Opcode.MAX_POOL_INT8 if largest else Opcode.AVERAGE_POOL_INT8)
    step = integer_limits(step, result, clamp)
    step = replace(step, zero_a=kind.zero, signed=step.signed | int(kind.signed))
    out = replace(out, buffer=Buffer(name, result.dtype, out.buffer.count), quantisation=result)
    scales = low.scales(node, [kind.scale, result.scale])
    scratch = Buffer(f"{node.name}.scratch", "int32", source.channels)
    draft = Draft(node.name, step, {"in_a": source.buffer}, {"scales": scales}, out.buffer, scratch)
    low.program.emit_samples(draft, out.shape[0])
    low.values[name] = out
    return True


def _lower_clamp(low: Lowering, node: Node, source: Tensor, kind: Quantisation) -> bool:
    result = low.quantised_result(node.outputs[0])
    if result is None:
        return False
    first = low.clamp_of(node)
    rest, name = low.activation(node.outputs[0])
    clamp = (min(max(first[0], rest[0]), rest[1]), min(max(first[1], rest[0]), rest[1]))
    step = integer_limits(Step(opcode=Opcode.REQUANTIZE, in_c=source.buffer.count), result, clamp)
    step = replace(step, zero_a=kind.zero, signed=step.signed | int(kind.signed))
    out = replace(source, buffer=Buffer(name, result.dtype, source.buffer.count), quantisation=result)
    scales = low.scales(node, [kind.scale, result.scale])
    low.program.emit(Draft(node.name, step, {"in_a": source.buffer}, {"scales": scales}, out.buffer))
    low.values[name] = out
    return True


WINDOWED = ("AveragePool", "Conv", "GlobalAveragePool", "MaxPool")
INTEGER_OPERATORS: dict[str, Callable[[Lowering, Node, Tensor, Quantisation], bool]] = {
    "Add": _lower_add,
    "AveragePool": _lower_pool,
    "Clip": _lower_clamp,
    "Conv": _lower_conv,
    "Gemm": _lower_gemm,
    "GlobalAveragePool": _lower_pool,
    "MatMul": _lower_gemm,
    "MaxPool": _lower_pool,
    "Relu": _lower_clamp,
}
"""Operators that compute on bytes."""
