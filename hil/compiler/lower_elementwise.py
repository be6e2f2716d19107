"""Element-wise operators of any shapes and types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hil.compiler.graph import Node
from hil.compiler.lowering import Lowering
from hil.compiler.program import Tensor
from hil.compiler.views import (
    View,
    cast,
    collapse,
    combined,
    constant_view,
    copied,
    dense,
    emit_view,
    mapped,
    operand,
    view_of,
)
from node.kernels.inference.general import codes
from node.model.steps import Opcode
from node.model.views import KINDS, ViewStep, kinds

Parameters = Callable[[Node], tuple[float, float]]


def _none(_node: Node) -> tuple[float, float]:
    return 0.0, 0.0


def _attributes(first: tuple[str, float], second: tuple[str, float] = ("", 0.0)) -> Parameters:
    def read(node: Node) -> tuple[float, float]:
        return float(node.attributes.get(*first)), float(node.attributes.get(*second))

    return read


def _hard_swish(_node: Node) -> tuple[float, float]:
    return 1.0 / 6.0, 0.5


FUNCTIONS: dict[str, tuple[int, Parameters]] = {
    "Abs": (codes.ABS, _none),
    "Ceil": (codes.CEIL, _none),
    "Elu": (codes.ELU, _attributes(("alpha", 1.0))),
    "Erf": (codes.ERF, _none),
    "Exp": (codes.EXP, _none),
    "Floor": (codes.FLOOR, _none),
    "Gelu": (codes.GELU, _none),
    "HardSigmoid": (codes.HARD_SIGMOID, _attributes(("alpha", 0.2), ("beta", 0.5))),
    "HardSwish": (codes.HARD_SWISH, _hard_swish),
    "LeakyRelu": (codes.LEAKY_RELU, _attributes(("alpha", 0.01))),
    "Log": (codes.LOG, _none),
    "Neg": (codes.NEG, _none),
    "Reciprocal": (codes.RECIPROCAL, _none),
    "Relu": (codes.RELU, _none),
    "Round": (codes.ROUND, _none),
    "Selu": (codes.SELU, _attributes(("alpha", 1.6732632423543772), ("gamma", 1.0507009873554805))),
    "Sigmoid": (codes.SIGMOID, _none),
    "Sign": (codes.SIGN, _none),
    "Softplus": (codes.SOFTPLUS, _none),
    "Softsign": (codes.SOFTSIGN, _none),
    "Sqrt": (codes.SQRT, _none),
    "Tanh": (codes.TANH, _none),
}
"""Functions of one float: the number of the kernel's function and its parameters."""

INTEGER_FUNCTIONS = {"Abs": codes.INT_ABS, "Neg": codes.INT_NEG, "Not": codes.INT_NOT, "Sign": codes.INT_SIGN}

BINARY = {
    "Add": codes.ADD,
    "And": codes.AND,
    "Div": codes.DIV,
    "Equal": codes.EQUAL,
    "Greater": codes.GREATER,
    "GreaterOrEqual": codes.GREATER_EQUAL,
    "Less": codes.LESS,
    "LessOrEqual": codes.LESS_EQUAL,
    "Max": codes.MAX,
    "Mean": codes.ADD,
    "Min": codes.MIN,
    "Mul": codes.MUL,
    "Or": codes.OR,
    "PRelu": codes.PRELU,
    "Pow": codes.POW,
    "Sub": codes.SUB,
    "Sum": codes.ADD,
    "Xor": codes.XOR,
}
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
LOGICAL = ("And", "Or", "Xor")


def lower_unary(low: Lowering, node: Node) -> None:
    """Lower a function of one value."""
    source = operand(low, node, 0)
    name = node.outputs[0]
    if source.dtype == "float32" and node.op in FUNCTIONS:
        code, parameters = FUNCTIONS[node.op]
        if node.op == "Gelu" and node.attributes.get("approximate", "none") == "tanh":
            code = codes.GELU_TANH
        low.values[name] = mapped(low, name, source, (code, *parameters(node)))
    elif node.op in INTEGER_FUNCTIONS:
        how = (Opcode.BINARY_INT, INTEGER_FUNCTIONS[node.op], source.dtype)
        low.values[name] = combined(low, name, how, source, source)
    else:
        raise node.error(f"is not supported for {source.dtype}")


def binary(low: Lowering, name: str, op: str, a: View, b: View) -> Tensor:
    """Emit one operator of two operands of one type."""
    if a.dtype != b.dtype:
        raise ValueError(f"{op} of {a.dtype} and {b.dtype}: one type is expected")
    code = BINARY[op]
    if a.dtype != "float32":
        dtype = "bool" if op in COMPARISONS or op in LOGICAL else a.dtype
        if op == "PRelu":
            raise ValueError(f"PRelu of {a.dtype}: float32 is supported")
        return combined(low, name, (Opcode.BINARY_INT, code, dtype), a, b)
    if op in COMPARISONS:
        return combined(low, name, (Opcode.COMPARE_F32, code, "bool"), a, b)
    if op in LOGICAL:
        raise ValueError(f"{op} of float32: truth values are expected")
    if op in ("Add", "Mul") and a.strides and not any(a.broadcast(np.broadcast_shapes(a.shape, b.shape)).strides):
        a, b = b, a  # The kernel is fastest with a repeated value second.
    return combined(low, name, (Opcode.BINARY_F32, code, "float32"), a, b)


def lower_binary(low: Lowering, node: Node) -> None:
    """Lower an operator of two or more operands, combined from left to right."""
    views = [operand(low, node, i) for i in range(len(node.inputs))]
    name = node.outputs[0]
    if node.op == "Pow":
        views = [views[0], _exponent(low, node, views)]
        if views[1].dtype == "float32" and views[0].dtype != "float32":
            result = binary(
                low, f"{name}.real", "Pow", view_of(cast(low, f"{name}.base", views[0], "float32")), views[1]
            )
            low.values[name] = cast(low, name, view_of(result), views[0].dtype)
            return
    if node.op == "PRelu" and len(views[1].shape) == 1 and low.graph.opset < 9:
        slope = views[1]
        rest = len(views[0].shape) - 2
        views[1] = replace(slope, shape=slope.shape + (1,) * rest, strides=slope.strides + (0,) * rest)
    if len(views) == 1:
        low.values[name] = copied(low, name, views[0])
        return
    result = binary(low, name, node.op, views[0], views[1])
    for other in views[2:]:
        result = binary(low, name, node.op, view_of(result), other)
    if node.op == "Mean":
        count = constant_view(low, f"{node.name}.count", np.array(len(views), np.float32))
        result = binary(low, name, "Div", view_of(result), count)
    low.values[name] = result


def _exponent(low: Lowering, node: Node, views: list[View]) -> View:
    """Give the exponent of Pow in the type of the base, unless it is a float and the base is none."""
    base, exponent = views
    if exponent.dtype in (base.dtype, "float32"):
        return exponent
    if low.is_constant(node.input(1)):
        return constant_view(low, node.input(1), low.constant(node, 1).astype(base.dtype))
    return view_of(cast(low, f"{node.outputs[0]}.exponent", exponent, base.dtype))


def lower_where(low: Lowering, node: Node) -> None:
    """Lower Where: the second choice everywhere, then the first where the condition holds."""
    condition, first, second = (operand(low, node, i) for i in range(3))
    low.values[node.outputs[0]] = where(low, node.outputs[0], condition, (first, second))


def where(low: Lowering, name: str, condition: View, choices: tuple[View, View]) -> Tensor:
    """Emit ``choices[0]`` where a condition holds and ``choices[1]`` elsewhere, in plain order."""
    first, second = choices
    shape = tuple(np.broadcast_shapes(condition.shape, first.shape, second.shape))
    result = copied(low, name, second.broadcast(shape))
    views = [condition.broadcast(shape), first.broadcast(shape)]
    sizes, strides = collapse(shape, [*(v.strides for v in views), dense(shape)])
    step = ViewStep(
        opcode=Opcode.SELECT,
        shape=sizes,
        strides_a=strides[0],
        strides_b=strides[1],
        kinds=kinds("bool", first.dtype),
    )
    emit_view(low, name, step, {"in_a": views[0], "in_b": views[1]}, result.buffer)
    return result


def lower_clip_any(low: Lowering, node: Node) -> None:
    """Lower Clip of integers, or with limits that are computed."""
    result = operand(low, node, 0)
    name = node.outputs[0]
    tensor = None
    for index, op in ((1, "Max"), (2, "Min")):
        if node.input(index):
            tensor = binary(low, name, op, result, operand(low, node, index))
            result = view_of(tensor)
    low.values[name] = tensor or copied(low, name, result)


def lower_relu_any(low: Lowering, node: Node) -> None:
    """Lower Relu of integers."""
    source = operand(low, node, 0)
    zero = constant_view(low, f"{node.name}.zero", np.zeros((), source.dtype))
    low.values[node.outputs[0]] = binary(low, node.outputs[0], "Max", source, zero)


def lower_cast(low: Lowering, node: Node) -> None:
    """Lower Cast and CastLike."""
    import onnx

    if node.op == "CastLike":
        dtype = operand(low, node, 1).dtype
    else:
        dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(int(node.attributes["to"]))))
    if low.is_constant(node.input(0)):
        low.graph.constants[node.outputs[0]] = low.constant(node, 0).astype(dtype)
        return
    if dtype not in KINDS:
        raise node.error(f"gives the type {dtype}: {', '.join(KINDS)} are supported")
    source = operand(low, node, 0)
    if dtype == source.dtype:
        low.values[node.outputs[0]] = low.tensor_of_any_type(node, 0)
        return
    low.values[node.outputs[0]] = cast(low, node.outputs[0], source, dtype)


def lower_trilu(low: Lowering, node: Node) -> None:
    """Lower Trilu: a constant mask chooses between the input and zeros."""
    source = operand(low, node, 0)
    shift = int(low.constant(node, 1).reshape(-1)[0]) if node.input(1) else 0
    ones = np.ones(source.shape[-2:], bool)
    mask = np.triu(ones, shift) if node.attributes.get("upper", 1) else np.tril(ones, shift)
    keep = constant_view(low, f"{node.name}.mask", mask)
    zero = constant_view(low, f"{node.name}.zero", np.zeros((), source.dtype))
    low.values[node.outputs[0]] = where(low, node.outputs[0], keep, (source, zero))


def constant_output(low: Lowering, name: str) -> Tensor:
    """Emit the copy of a constant that is a model output."""
    view = constant_view(low, name, np.asarray(low.graph.constants[name]))
    return copied(low, name, view)
