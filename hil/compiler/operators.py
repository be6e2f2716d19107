"""Which operator is lowered how: the plain kernels where they fit, general steps elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from hil.compiler import (
    lower_elementwise,
    lower_float,
    lower_general,
    lower_integer,
    lower_moves,
    lower_recurrent,
    lower_resize,
    lower_volume,
    shapes,
)
from hil.compiler.graph import Node
from hil.compiler.lowering import Lowering
from hil.compiler.window import spans_of

Lower = Callable[[Lowering, Node], None]


def _lower_add(low: Lowering, node: Node) -> None:
    """Lower Add with a fused activation where the plain kernel can do it."""
    names = [node.input(i) for i in range(2)]
    active = [low.values[name] for name in names if name in low.values]
    floats = all(tensor.quantisation is not None or tensor.buffer.dtype == "float32" for tensor in active)
    alike = active[0].shape == active[1].shape if len(active) == 2 else _fits(low, node, active[0].shape)
    if floats and alike:
        lower_float.lower_add(low, node)
    else:
        lower_elementwise.lower_binary(low, node)


def _fits(low: Lowering, node: Node, shape: tuple[int, ...]) -> bool:
    constant = low.constant(node, 0 if low.is_constant(node.input(0)) else 1)
    lead = constant.shape[: max(0, constant.ndim - len(shape))]
    sizes = zip(constant.shape[::-1], shape[::-1], strict=False)
    return not lead and all(given in (1, size) for given, size in sizes)


def _lower_clamp(low: Lowering, node: Node) -> None:
    """Lower Relu and Clip of floats with constant limits in one step."""
    limits = all(low.is_constant(node.input(i)) for i in (1, 2) if node.input(i))
    source = low.raw(node, 0)
    if limits and (source.quantisation is not None or source.buffer.dtype == "float32"):
        lower_float.lower_clamp(low, node)
    elif node.op == "Clip":
        lower_elementwise.lower_clip_any(low, node)
    else:
        lower_elementwise.lower_relu_any(low, node)


def _lower_conv(low: Lowering, node: Node) -> None:
    if len(low.raw(node, 0).shape) in (3, 4):
        lower_float.lower_conv(low, node)
    else:
        lower_volume.lower_volume_conv(low, node)


def _lower_pool(low: Lowering, node: Node) -> None:
    """Lower MaxPool and AveragePool: whole numbers, volumes and rounded-up counted padding need walked windows."""
    source = low.raw(node, 0)
    floats = source.quantisation is not None or source.buffer.dtype == "float32"
    flat = len(source.shape) in (3, 4)
    counted = node.op == "AveragePool" and node.attributes.get("count_include_pad", 0)
    spans = spans_of(node, source.shape, tuple(node.attributes["kernel_shape"]))
    ragged = any(span.reach > span.begin + span.size + span.end for span in spans)
    if floats and flat and not (counted and ragged):
        lower_float.lower_pool(low, node)
    else:
        lower_volume.lower_volume_pool(low, node)


def _lower_global_average(low: Lowering, node: Node) -> None:
    if len(low.raw(node, 0).shape) in (3, 4):
        lower_float.lower_pool(low, node)
    else:
        lower_general.lower_global_pool(low, node)


def _lower_transpose(low: Lowering, node: Node) -> None:
    if not shapes.lower_block_transpose(low, node):
        lower_moves.lower_transpose(low, node)


OPERATORS: dict[str, Lower] = {
    **dict.fromkeys(lower_elementwise.FUNCTIONS, lower_elementwise.lower_unary),
    **dict.fromkeys(lower_elementwise.BINARY, lower_elementwise.lower_binary),
    **dict.fromkeys(lower_general.REDUCTIONS, lower_general.lower_reduce),
    "Add": _lower_add,
    "ArgMax": lower_general.lower_places,
    "ArgMin": lower_general.lower_places,
    "AveragePool": _lower_pool,
    "BatchNormalization": lower_general.lower_batch_normalization,
    "Cast": lower_elementwise.lower_cast,
    "CastLike": lower_elementwise.lower_cast,
    "Clip": _lower_clamp,
    "Concat": lower_moves.lower_concat,
    "Conv": _lower_conv,
    "ConvTranspose": lower_volume.lower_conv_transpose,
    "DepthToSpace": lower_moves.lower_depth_to_space,
    "DequantizeLinear": lower_integer.lower_dequantize,
    "Dropout": shapes.lower_identity,
    "Expand": lower_moves.lower_expand,
    "Flatten": shapes.lower_reshape,
    "GRU": lower_recurrent.lower_recurrent,
    "Gather": lower_moves.lower_gather,
    "Gemm": lower_general.lower_gemm,
    "GlobalAveragePool": _lower_global_average,
    "GlobalMaxPool": lower_general.lower_global_pool,
    "Identity": shapes.lower_identity,
    "InstanceNormalization": lower_general.lower_instance_normalization,
    "LRN": lower_general.lower_lrn,
    "LSTM": lower_recurrent.lower_recurrent,
    "LogSoftmax": lower_general.lower_log_softmax,
    "MatMul": lower_general.lower_matmul,
    "MaxPool": _lower_pool,
    "Not": lower_elementwise.lower_unary,
    "Pad": lower_moves.lower_pad,
    "QuantizeLinear": lower_integer.lower_quantize,
    "Relu": _lower_clamp,
    "Reshape": shapes.lower_reshape,
    "Resize": lower_resize.lower_resize,
    "Slice": lower_moves.lower_slice,
    "Softmax": lower_general.lower_softmax,
    "SpaceToDepth": lower_moves.lower_depth_to_space,
    "Split": lower_moves.lower_split,
    "Squeeze": shapes.lower_reshape,
    "Tile": lower_moves.lower_tile,
    "Transpose": _lower_transpose,
    "Trilu": lower_elementwise.lower_trilu,
    "Unsqueeze": shapes.lower_reshape,
    "Upsample": lower_resize.lower_resize,
    "Where": lower_elementwise.lower_where,
}
"""What each operator becomes; those that ONNX defines by others are replaced, constants are folded before."""
