"""Float steps: convolution, products, pools and element-wise operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.compiler.graph import Array, Node
from hil.compiler.lowering import Lowering
from hil.compiler.program import Buffer, Draft, Parameter, Tensor, elements, pack
from hil.compiler.window import window_of
from node.kernels.inference.limits import LARGEST_RING, LEAST_LINE, LONG_RUN, SLACK, SURE_LINE
from node.kernels.inference.tiles import LANES, TILE_ROWS
from node.model.steps import Opcode, Step, float_bits

NO_CLAMP = (float("-inf"), float("inf"))


def clamp_columns(step: Step, clamp: tuple[float, float]) -> Step:
    """Give the step with float limits."""
    return replace(step, low=float_bits(clamp[0]), high=float_bits(clamp[1]))


def group_matrices(weights: Array, groups: int) -> list[Array]:
    """Give [out][in / groups][h][w] as one matrix [h w in][out] for each group."""
    out, channels, height, width = weights.shape
    split = weights.reshape(groups, out // groups, channels, height, width).transpose(0, 3, 4, 2, 1)
    return list(split.reshape(groups, height * width * channels, out // groups))


def packed_groups(weights: Array, groups: int) -> Array:
    """Give the weights of a convolution in panels, one group after the other."""
    return np.concatenate([pack(matrix) for matrix in group_matrices(weights, groups)])


def packed_vector(values: Array, groups: int) -> Array:
    """Give one value per output channel, each group filled up to whole panels."""
    return np.concatenate([pack(part.reshape(1, -1)).reshape(-1) for part in np.split(values, groups)])


def two_dimensional(weights: Array) -> Array:
    """Give the weights of a sequence convolution with a height of 1."""
    return weights[:, :, None, :] if weights.ndim == 3 else weights


def lower_conv(low: Lowering, node: Node) -> None:
    """Lower Conv, with a following BatchNormalization and activation."""
    weights = low.constant(node, 1).astype(np.float32)
    bias = low.optional_constant(node, 2, weights.shape[0]).astype(np.float32)
    last = node
    follower = low.graph.only_consumer(node.outputs[0])
    if follower is not None and follower.op == "BatchNormalization":
        factor, shift = normalisation(low, follower)
        weights = (weights * factor.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.float32)
        bias = (bias * factor + shift).astype(np.float32)
        low.absorb(follower)
        last = follower
    convolve(low, node, (weights, bias), last)


def convolve(low: Lowering, node: Node, parameters: tuple[Array, Array], last: Node) -> None:
    """Emit a convolution with float parameters whose output takes the name of ``last`` or its activation."""
    weights, bias = parameters
    groups = int(node.attributes.get("group", 1))
    source = low.image(node, low.tensor(node, 0))
    check_channels(node, source, weights.shape, groups)
    window = window_of(node, source, weights.shape[2:])
    clamp, name = low.activation(last.outputs[0])
    weights = two_dimensional(weights)
    out_c = weights.shape[0]
    depthwise = groups == source.channels == out_c and groups > 1
    opcode = Opcode.DEPTHWISE_F32 if depthwise else Opcode.CONV_F32
    step = window.apply(clamp_columns(Step(opcode=opcode, groups=groups), clamp), source, out_c)
    if depthwise:
        weights = np.ascontiguousarray(weights.reshape(out_c, -1).T)
        packed_bias, scratch = bias, None
    else:
        scratch = scratch_of(node, step)
        weights, packed_bias = packed_groups(weights, groups), packed_vector(bias, groups)
    shape = window.shape(source, out_c)
    out = Tensor(Buffer(name, "float32", elements(shape)), shape, channels_last=True)
    given = {"weights": low.parameter(node, 1, weights), "bias": low.parameter(node, 2, packed_bias)}
    draft = Draft(node.name, step, {"in_a": source.buffer}, given, out.buffer, scratch)
    low.program.emit_samples(draft, shape[0])
    low.values[name] = out


def check_channels(node: Node, source: Tensor, shape: tuple[int, ...], groups: int) -> None:
    """Refuse a convolution whose channels do not fit its input."""
    if groups < 1 or source.channels != shape[1] * groups or shape[0] % groups:
        raise node.error(f"{groups} groups and weights {shape} do not fit an input of shape {source.shape}")


def is_dense(step: Step) -> bool:
    """Tell whether each output pixel is computed from the input pixel of the same number alone."""
    moves = (step.kernel_h, step.kernel_w, step.stride_h, step.stride_w, step.groups)
    return moves == (1, 1, 1, 1, 1) and (step.in_h, step.in_w) == (step.out_h, step.out_w)


def scratch_of(node: Node, step: Step) -> Buffer | None:
    """Give the scratch of a convolution: what its kernel gathers of the input (see ``node.kernels.inference.ring``)."""
    depth = step.kernel_h * step.kernel_w * (step.in_c // step.groups)
    rows = min(8, step.out_h * step.out_w)
    ring = None if is_dense(step) else ring_values(step)
    values = rows * depth if ring is None else ring
    if step.opcode == Opcode.CONV_INT8:
        columns = packed_vector(np.zeros(step.out_c, np.int32), step.groups).size
        # The checked form of the kernel widens eight rows to words and keeps a tile of sums beside them.
        checked = rows * (4 + (not is_dense(step))) * depth + 4 * TILE_ROWS * LANES
        size = max(4 * columns + values + SLACK, checked)
    else:
        needed = not is_dense(step) if ring is None else overhangs(step)
        size = 4 * values * needed
    return Buffer(f"{node.name}.scratch", "uint8", size) if size else None


def ring_size(step: Step) -> tuple[int, int]:
    """Give the rows and columns of input pixels that one row of windows reaches over."""
    return (step.kernel_h - 1) * step.dilation_h + 1, (step.out_w - 1) * step.stride_w + step.kernel_w


def overhangs(step: Step) -> bool:
    """Tell whether some window reaches over the edge of the input."""
    span, width = ring_size(step)
    reach = (step.out_h - 1) * step.stride_h + span
    return step.pad_top > 0 or step.pad_left > 0 or reach > step.in_h or width > step.in_w


def ring_values(step: Step) -> int | None:
    """Give the values of the ring of a convolution, or None where the inputs of each pixel are gathered instead."""
    if step.groups != 1 or step.dilation_w != 1 or step.out_w < LEAST_LINE:
        return None
    if step.out_w < SURE_LINE and step.kernel_w * step.in_c >= LONG_RUN:
        return None
    span, width = ring_size(step)
    gathered = 8 * step.kernel_h * step.kernel_w * step.in_c
    most = max(gathered, LARGEST_RING, step.in_h * step.in_w * step.in_c // 8)
    values = span * width * step.in_c
    return values if values <= most else None


def normalisation(low: Lowering, node: Node) -> tuple[Array, Array]:
    """Give factor and shift of a BatchNormalization, one per channel."""
    gamma, beta, mean, variance = (low.constant(node, i).astype(np.float64) for i in range(1, 5))
    factor = gamma / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    return factor, beta - mean * factor


def lower_batch_normalization(low: Lowering, node: Node) -> None:
    """Lower a BatchNormalization that follows no Conv as a 1 x 1 convolution of each channel by itself."""
    factor, shift = normalisation(low, node)
    shape = low.tensor(node, 0).shape
    if len(shape) not in (3, 4):
        raise node.error(f"input of shape {shape}: three or four dimensions are supported")
    weights = factor.astype(np.float32).reshape(-1, *[1] * (len(shape) - 1))
    attributes = {"group": len(factor)}
    convolve(low, replace(node, attributes=attributes), (weights, shift.astype(np.float32)), node)


def lower_gemm(low: Lowering, node: Node) -> None:
    """Lower Gemm with constant B and C."""
    weights, bias = gemm_parameters(low, node)
    multiply(low, node, weights.astype(np.float32), bias.astype(np.float32))


def gemm_parameters(low: Lowering, node: Node) -> tuple[Array, Array]:
    """Give B as [depth][columns] and C as [columns], alpha and beta multiplied in."""
    if node.attributes.get("transA", 0):
        raise node.error("transA = 1 is not supported: transpose the input before the export")
    weights = low.constant(node, 1)
    weights = weights.T if node.attributes.get("transB", 0) else weights
    bias = low.optional_constant(node, 2, weights.shape[1])
    if bias.size not in (1, weights.shape[1]):
        raise node.error(f"C has shape {bias.shape}: one value per column is supported")
    bias = np.broadcast_to(bias.reshape(-1), (weights.shape[1],))
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    return (weights if alpha == 1.0 else weights * alpha), (bias if beta == 1.0 else bias * beta)


def lower_matmul(low: Lowering, node: Node) -> None:
    """Lower MatMul with a constant second factor, with an Add of a constant vector that follows it."""
    weights = low.constant(node, 1).astype(np.float32)
    if weights.ndim != 2:
        raise node.error(f"the second factor has shape {weights.shape}: a constant matrix is supported")
    multiply(low, node, weights, np.zeros(weights.shape[1], np.float32))


def multiply(low: Lowering, node: Node, weights: Array, bias: Array) -> None:
    """Emit a product of the rows of the input with a matrix [depth][columns]."""
    source = low.program.as_plain(node.name, low.tensor(node, 0))
    depth, columns = weights.shape
    rows = matrix_rows(node, source, depth)
    clamp, name = low.activation(node.outputs[0])
    step = Step(opcode=Opcode.CONV_F32, in_w=rows, in_c=depth, out_w=rows, out_c=columns)
    shape = (*source.shape[:-1], columns)
    out = Tensor(Buffer(name, "float32", rows * columns), shape)
    given = {"weights": low.parameter(node, 1, pack(weights)), "bias": low.parameter(node, 2, packed_vector(bias, 1))}
    scratch = scratch_of(node, step)
    low.program.emit(Draft(node.name, clamp_columns(step, clamp), {"in_a": source.buffer}, given, out.buffer, scratch))
    low.values[name] = out


def matrix_rows(node: Node, source: Tensor, depth: int) -> int:
    """Give the number of rows of an input seen as [rows][depth]."""
    if not source.shape or source.shape[-1] != depth:
        raise node.error(f"an input of shape {source.shape} does not fit a matrix with {depth} rows")
    return elements(source.shape) // depth


def lower_add(low: Lowering, node: Node) -> None:
    """Lower Add of two tensors of one shape, or of a tensor and a constant that fits it."""
    if low.is_constant(node.input(0)):
        node = replace(node, inputs=(node.input(1), node.input(0)))
    source = low.tensor(node, 0)
    given: dict[str, Parameter] = {}
    reads = {"in_a": source.buffer}
    if low.is_constant(node.input(1)):
        values = in_memory_order(node, low.constant(node, 1).astype(np.float32), source)
        given = {"in_b": low.parameter(node, 1, values)}
        period = values.size
    else:
        other = low.same_order(node, low.tensor(node, 1), source)
        reads["in_b"] = other.buffer
        period = other.buffer.count
    clamp, name = low.activation(node.outputs[0])
    step = clamp_columns(Step(opcode=Opcode.ADD_F32, in_c=source.buffer.count, count=period), clamp)
    out = replace(source, buffer=Buffer(name, "float32", source.buffer.count))
    low.program.emit(Draft(node.name, step, reads, given, out.buffer))
    low.values[name] = out


def in_memory_order(node: Node, values: Array, tensor: Tensor) -> Array:
    """Give a constant as the shortest vector that, repeated, covers the memory of a tensor."""
    try:
        full = np.broadcast_to(values, tensor.shape)
    except ValueError:
        raise node.error(f"a constant of shape {values.shape} does not fit {tensor.shape}") from None
    if tensor.channels_last:
        full = np.moveaxis(full, 1, -1)
    flat = np.ascontiguousarray(full).reshape(-1)
    last = full.shape[-1] if full.ndim else 1
    for period in (1, last):
        if flat.size % period == 0 and np.array_equal(np.tile(flat[:period], flat.size // period), flat):
            return flat[:period]
    return flat


def lower_clamp(low: Lowering, node: Node) -> None:
    """Lower a Relu or Clip that no other step could take over."""
    source = low.tensor(node, 0)
    clamp = low.clamp_of(node)
    step = clamp_columns(Step(opcode=Opcode.CLAMP_F32, in_c=source.buffer.count), clamp)
    out = replace(source, buffer=Buffer(node.outputs[0], "float32", source.buffer.count))
    low.program.emit(Draft(node.name, step, {"in_a": source.buffer}, {}, out.buffer))
    low.values[node.outputs[0]] = out


def lower_pool(low: Lowering, node: Node) -> None:
    """Lower MaxPool, AveragePool and GlobalAveragePool."""
    source = low.image(node, low.tensor(node, 0))
    step, out = pool_step(node, source)
    opcode = Opcode.MAX_POOL_F32 if node.op == "MaxPool" else Opcode.AVERAGE_POOL_F32
    draft = Draft(node.name, replace(step, opcode=opcode), {"in_a": source.buffer}, {}, out.buffer)
    low.program.emit_samples(draft, out.shape[0])
    low.values[node.outputs[0]] = out


def pool_step(node: Node, source: Tensor) -> tuple[Step, Tensor]:
    """Give the window columns of a pool and its output, in the type of its input."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.error("its second output (indices) is not supported")
    whole = node.op == "GlobalAveragePool"
    window = window_of(node, source, source.shape[2:] if whole else tuple(node.attributes["kernel_shape"]))
    step = Step(opcode=0, count=int(node.attributes.get("count_include_pad", 0)))
    shape = window.shape(source, source.channels)
    buffer = Buffer(node.outputs[0], source.buffer.dtype, elements(shape))
    return window.apply(step, source, source.channels), replace(source, buffer=buffer, shape=shape)
