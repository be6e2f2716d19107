"""Windows beyond two dimensions or the plain kernels' reach, and transposed convolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.compiler import lower_float
from hil.compiler.graph import Array, Node
from hil.compiler.lower_elementwise import binary
from hil.compiler.lower_moves import spread
from hil.compiler.lowering import Lowering
from hil.compiler.program import Buffer, Draft, Tensor, elements, pack
from hil.compiler.views import View, constant_view, copied, copy_into, dense, operand, reduced, view_of
from hil.compiler.window import Span, spans_of
from node.kernels.inference.general import codes
from node.model.steps import Opcode, Step


def windows(low: Lowering, name: str, source: View, spans: list[Span], filler: Array) -> View:
    """Give [batch][channel][out ...][kernel ...] of a padded copy of an input, as a view that is walked."""
    lead = [0, 0]
    before = lead + [span.begin for span in spans]
    after = lead + [max(0, span.reach - span.size - span.begin) for span in spans]
    wide = view_of(spread(low, f"{name}.padded", source, (before, after, [0] * len(source.shape)), filler))
    shape = (*source.shape[:2], *(s.out for s in spans), *(s.kernel for s in spans))
    steps = wide.strides[2:]
    moves = tuple(stride * s.stride for stride, s in zip(steps, spans, strict=True))
    taps = tuple(stride * s.dilation for stride, s in zip(steps, spans, strict=True))
    return replace(wide, shape=shape, strides=(*wide.strides[:2], *moves, *taps), channels_last=False)


def lower_volume_conv(low: Lowering, node: Node) -> None:
    """Lower Conv of any number of spatial dimensions: windows side by side, then a packed product."""
    source = operand(low, node, 0)
    weights = low.constant(node, 1).astype(np.float32)
    bias = low.optional_constant(node, 2, weights.shape[0]).astype(np.float32)
    groups = int(node.attributes.get("group", 1))
    if source.shape[1] != weights.shape[1] * groups or weights.shape[0] % groups:
        raise node.error(f"{groups} groups and weights {weights.shape} do not fit an input of shape {source.shape}")
    spans = spans_of(node, source.shape, weights.shape[2:])
    view = windows(low, node.outputs[0], source, spans, np.zeros((), np.float32))
    rank, per_group, out_group = len(spans), weights.shape[1], weights.shape[0] // groups
    parts = []
    for group in range(groups):
        channels = replace(
            view,
            shape=(view.shape[0], per_group, *view.shape[2:]),
            offset=view.offset + group * per_group * view.strides[1],
        )
        order = (0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank))
        columns = copied(low, f"{node.outputs[0]}.windows", channels.permuted(order))
        chosen = slice(group * out_group, (group + 1) * out_group)
        parts.append(_product(low, node, columns, (weights[chosen], bias[chosen])))
    positions = tuple(s.out for s in spans)
    shape = (source.shape[0], *positions, out_group)
    views = [view_of(replace(part, shape=shape)) for part in parts]
    low.values[node.outputs[0]] = _joined(low, node.outputs[0], views)


def _product(low: Lowering, node: Node, columns: Tensor, parameters: tuple[Array, Array]) -> Tensor:
    """Emit the product of windows [...][depth] with the filters of one group."""
    weights, bias = parameters
    out_c = weights.shape[0]
    matrix = np.ascontiguousarray(weights.reshape(out_c, -1).T)
    depth = matrix.shape[0]
    rows = columns.buffer.count // depth
    step = Step(opcode=Opcode.CONV_F32, in_w=rows, in_c=depth, out_w=rows, out_c=out_c)
    step = lower_float.clamp_columns(step, lower_float.NO_CLAMP)
    given = {
        "weights": low.parameter(node, 1, pack(matrix)),
        "bias": low.parameter(node, 2, lower_float.packed_vector(bias, 1)),
    }
    out = Buffer(f"{node.outputs[0]}.sums", "float32", rows * out_c)
    scratch = lower_float.scratch_of(node, step)
    low.program.emit(Draft(node.name, step, {"in_a": columns.buffer}, given, out, scratch))
    return Tensor(out, (rows, out_c))


def _joined(low: Lowering, name: str, views: list[View]) -> Tensor:
    """Emit [batch][...][channel] parts as one tensor [batch][channel][...]."""
    rank = len(views[0].shape)
    moved = [view.permuted((0, rank - 1, *range(1, rank - 1))) for view in views]
    shape = (moved[0].shape[0], sum(v.shape[1] for v in moved), *moved[0].shape[2:])
    out = Buffer(name, "float32", elements(shape))
    start = 0
    for view in moved:
        copy_into(low, name, view, out, (dense(shape), start * dense(shape)[1]))
        start += view.shape[1]
    return Tensor(out, shape)


def lower_volume_pool(low: Lowering, node: Node) -> None:
    """Lower MaxPool and AveragePool of any window: windows are walked and reduced."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.error("its second output (indices) is not supported")
    source = operand(low, node, 0)
    spans = spans_of(node, source.shape, tuple(node.attributes["kernel_shape"]))
    rank, name = len(spans), node.outputs[0]
    largest = node.op == "MaxPool"
    lowest = -np.inf if source.dtype == "float32" else np.iinfo(source.dtype).min
    filler = np.asarray(lowest if largest else 0, source.dtype)
    view = windows(low, name, source, spans, filler)
    dense_view = view_of(copied(low, f"{name}.windows", view))
    axes = tuple(range(2 + rank, 2 + 2 * rank))
    function = codes.LARGEST if largest else codes.SUM
    total = reduced(low, f"{name}.total", (function, source.dtype), dense_view, axes)
    result = replace(total, shape=total.shape[: 2 + rank])
    if not largest:
        counts = _counts(node, spans)
        divisor = constant_view(low, f"{node.name}.counts", counts.astype(np.float32))
        result = binary(low, name, "Div", view_of(result), divisor)
    low.values[name] = result


def _counts(node: Node, spans: list[Span]) -> Array:
    """Give the number of elements that each mean is taken over, [out ...]."""
    counts = np.ones((), np.float64)
    for span in spans:
        starts = np.arange(span.out) * span.stride - span.begin
        taps = starts[:, None] + np.arange(span.kernel) * span.dilation
        if node.attributes.get("count_include_pad", 0):
            inside = taps < span.size + span.end
        else:
            inside = (taps >= 0) & (taps < span.size)
        counts = np.multiply.outer(counts, inside.sum(axis=1))
    return counts


def lower_conv_transpose(low: Lowering, node: Node) -> None:
    """Lower ConvTranspose: the input is spread by the strides, then convolved with the turned filters."""
    source = operand(low, node, 0)
    weights = low.constant(node, 1).astype(np.float32)
    groups, rank = int(node.attributes.get("group", 1)), len(source.shape) - 2
    channels, out_group = weights.shape[:2]
    if channels != source.shape[1] or channels % groups:
        raise node.error(f"{groups} groups and weights {weights.shape} do not fit an input of shape {source.shape}")
    begins, ends = _transposed_padding(node, source.shape[2:], weights.shape[2:])
    strides = list(node.attributes.get("strides", [1] * rank))
    dilations = list(node.attributes.get("dilations", [1] * rank))
    reach = [d * (k - 1) for d, k in zip(dilations, weights.shape[2:], strict=True)]
    before = [0, 0] + [r - b for r, b in zip(reach, begins, strict=True)]
    after = [0, 0] + [r - e for r, e in zip(reach, ends, strict=True)]
    between = [0, 0] + [s - 1 for s in strides]
    wide = spread(low, f"{node.outputs[0]}.spread", source, (before, after, between), np.zeros((), np.float32))
    split = weights.reshape(groups, channels // groups, out_group, *weights.shape[2:])
    turned = np.flip(split.swapaxes(1, 2), axis=tuple(range(3, 3 + rank)))
    turned = np.ascontiguousarray(turned.reshape(groups * out_group, channels // groups, *weights.shape[2:]))
    inner = f"{node.outputs[0]}.spread"
    low.values[inner] = wide
    low.graph.constants[f"{node.name}.turned"] = turned
    conv = replace(
        node,
        op="Conv",
        inputs=(inner, f"{node.name}.turned", node.input(2)),
        attributes={"group": groups, "dilations": dilations},
    )
    if rank <= 2:
        bias = low.optional_constant(node, 2, groups * out_group).astype(np.float32)
        lower_float.convolve(low, conv, (turned, bias), node)
    else:
        lower_volume_conv(low, conv)


def _transposed_padding(node: Node, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Give what a ConvTranspose cuts off its full output at both ends; the end may be negative."""
    rank = len(sizes)
    strides = node.attributes.get("strides", [1] * rank)
    dilations = node.attributes.get("dilations", [1] * rank)
    extra = list(node.attributes.get("output_padding", [0] * rank))
    pads = list(node.attributes.get("pads", [0] * 2 * rank))
    auto, wanted = node.attributes.get("auto_pad", "NOTSET"), node.attributes.get("output_shape")
    full = [strides[i] * (sizes[i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(rank)]
    if auto in ("SAME_UPPER", "SAME_LOWER") and wanted is None:
        wanted = [sizes[i] * strides[i] for i in range(rank)]
    if wanted is not None:
        totals = [full[i] - list(wanted)[-rank:][i] for i in range(rank)]
        small, large = [int(t / 2) for t in totals], [t - int(t / 2) for t in totals]
        begins, ends = (large, small) if auto == "SAME_LOWER" else (small, large)
    else:
        begins, ends = pads[:rank], pads[rank:]
    return begins, [ends[i] - extra[i] for i in range(rank)]
