"""Operators that move elements: Concat, Slice, Split, Gather, Pad, Expand, Tile, Transpose, Resize."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.compiler.graph import Array, Node
from hil.compiler.lowering import Lowering
from hil.compiler.program import Buffer, Draft, Quantisation, Tensor, elements, memory_order
from hil.compiler.views import View, constant_view, copied, copy_into, dense, gathered, operand, view_of
from node.model.steps import Opcode, Step


def moved_operand(low: Lowering, node: Node, index: int) -> View:
    """Give an input whose elements are only moved: integers that stand for real values stay integers."""
    return operand(low, node, index) if low.is_constant(node.input(index)) else view_of(low.raw(node, index))


def integers_of(low: Lowering, node: Node, index: int) -> list[int]:
    """Give a constant list of whole numbers."""
    return [int(value) for value in low.constant(node, index).reshape(-1)]


def option(low: Lowering, node: Node, index: int, attribute: str) -> list[int] | None:
    """Give a list that newer operators take as an input and older ones as an attribute; None where it is absent."""
    if node.input(index):
        return integers_of(low, node, index)
    given = node.attributes.get(attribute)
    return None if given is None else [int(value) for value in np.atleast_1d(given)]


def lower_transpose(low: Lowering, node: Node) -> None:
    """Lower a Transpose of any axes."""
    source = moved_operand(low, node, 0)
    rank = len(source.shape)
    order = tuple(int(axis) for axis in node.attributes.get("perm", range(rank)[::-1]))
    low.values[node.outputs[0]] = copied(low, node.outputs[0], source.permuted(order))


def lower_slice(low: Lowering, node: Node) -> None:
    """Lower Slice with constant bounds."""
    source = moved_operand(low, node, 0)
    starts, ends = option(low, node, 1, "starts") or [], option(low, node, 2, "ends") or []
    axes = option(low, node, 3, "axes") or list(range(len(starts)))
    steps = option(low, node, 4, "steps") or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        source = _sliced(source, axis % len(source.shape), slice(start, end, step))
    if 0 in source.shape:
        raise node.error(f"gives the empty shape {source.shape}: at least one element is needed")
    low.values[node.outputs[0]] = copied(low, node.outputs[0], source, source.channels_last)


def _sliced(view: View, axis: int, bounds: slice) -> View:
    size = view.shape[axis]
    start, step = int(bounds.start), int(bounds.step)
    # Beyond the far end in either direction ONNX clamps; None is how Python says "to the very first".
    stop = None if step < 0 and int(bounds.stop) < -size else int(bounds.stop)
    chosen = range(size)[slice(start, stop, step)]
    shape = (*view.shape[:axis], len(chosen), *view.shape[axis + 1 :])
    strides = (*view.strides[:axis], view.strides[axis] * step, *view.strides[axis + 1 :])
    offset = view.offset + (chosen[0] if len(chosen) else 0) * view.strides[axis]
    return replace(view, shape=shape, strides=strides, offset=offset)


def lower_depth_to_space(low: Lowering, node: Node) -> None:
    """Lower DepthToSpace and SpaceToDepth: channels become pixels of a block, or the other way round."""
    source = moved_operand(low, node, 0)
    if len(source.shape) != 4:
        raise node.error(f"input of shape {source.shape}: four dimensions are expected")
    block = int(node.attributes["blocksize"])
    rows_first = node.attributes.get("mode", "DCR") == "DCR"
    n, c, h, w = source.shape
    if node.op == "SpaceToDepth":
        parts = [(n,), (c,), (h // block, block), (w // block, block)]
        order = (0, 3, 5, 1, 2, 4) if rows_first else (0, 1, 3, 5, 2, 4)
        shape = (n, c * block * block, h // block, w // block)
    else:
        depth = c // (block * block)
        parts = [(n,), (block, block, depth) if rows_first else (depth, block, block), (h,), (w,)]
        order = (0, 3, 4, 1, 5, 2) if rows_first else (0, 1, 4, 2, 5, 3)
        shape = (n, depth, h * block, w * block)
    if min(shape) < 1 or elements(shape) != elements(source.shape):
        raise node.error(f"input of shape {source.shape} cannot be cut into blocks of {block}")
    steps = [stride * np.cumprod((1, *part[:0:-1]))[::-1] for part, stride in zip(parts, source.strides, strict=True)]
    sizes, strides = (tuple(int(v) for each in values for v in each) for values in (parts, steps))
    view = replace(source, shape=sizes, strides=strides, channels_last=False).permuted(order)
    low.values[node.outputs[0]] = replace(copied(low, node.outputs[0], view), shape=shape)


def lower_split(low: Lowering, node: Node) -> None:
    """Lower Split into given or equal parts."""
    source = moved_operand(low, node, 0)
    axis = int(node.attributes.get("axis", 0)) % len(source.shape)
    size, count = source.shape[axis], len(node.outputs)
    parts = option(low, node, 1, "split")
    if parts is None:
        part = -(-size // count)
        parts = [max(0, min(part, size - i * part)) for i in range(count)]
    if sum(parts) != size or len(parts) != count:
        raise node.error(f"splits {size} into {parts}: {count} parts that add up are needed")
    start = 0
    for name, part in zip(node.outputs, parts, strict=True):
        if name:
            piece = _sliced(source, axis, slice(start, start + part, 1))
            low.values[name] = copied(low, name, piece, source.channels_last)
        start += part


def lower_concat(low: Lowering, node: Node) -> None:
    """Lower Concat; quantised inputs take the quantisation of the result first."""
    views = [moved_operand(low, node, i) for i in range(len(node.inputs))]
    views, kind = _one_quantisation(low, node, views)
    axis = int(node.attributes.get("axis", 1)) % len(views[0].shape)
    last = all(v.channels_last for v in views)
    shape = list(views[0].shape)
    shape[axis] = sum(v.shape[axis] for v in views)
    order = memory_order(len(shape), last)
    strides = dense(tuple(shape), last)
    out = Buffer(node.outputs[0], views[0].dtype, elements(tuple(shape)))
    start = 0
    for view in views:
        target = tuple(strides[a] for a in order)
        copy_into(low, node.name, view.permuted(order), out, (target, start * strides[axis]))
        start += view.shape[axis]
    low.values[node.outputs[0]] = Tensor(out, tuple(shape), last, kind)


def _one_quantisation(low: Lowering, node: Node, views: list[View]) -> tuple[list[View], Quantisation | None]:
    known = [v.quantisation for v in views]
    if not any(known):
        return views, None
    if not all(known):
        return [operand(low, node, i) for i in range(len(views))], None
    target = low.quantised_result(node.outputs[0]) or known[0]
    assert target is not None
    return [requantised(low, node, v, target) for v in views], target


def requantised(low: Lowering, node: Node, view: View, target: Quantisation) -> View:
    """Give a quantised view with another scale and zero point."""
    given = view.quantisation
    if given is None or given == target or not isinstance(view.source, Buffer):
        return view
    lowest, highest = target.limits
    step = Step(
        opcode=Opcode.REQUANTIZE,
        in_c=view.source.count,
        zero_a=given.zero,
        zero_out=target.zero,
        low=lowest,
        high=highest,
        signed=int(given.signed) | 4 * int(target.signed),
    )
    out = Buffer(f"{view.source.name}.rescaled", target.dtype, view.source.count)
    scales = {"scales": low.scales(node, [given.scale, target.scale])}
    low.program.emit(Draft(f"{node.name}.rescale", step, {"in_a": view.source}, scales, out))
    return replace(view, source=out, dtype=target.dtype, quantisation=target)


def lower_gather(low: Lowering, node: Node) -> None:
    """Lower Gather; a single constant index is a copy."""
    source = moved_operand(low, node, 0)
    axis = int(node.attributes.get("axis", 0)) % len(source.shape)
    name = node.outputs[0]
    if low.is_constant(node.input(1)):
        chosen = low.constant(node, 1)
        if ((chosen < -source.shape[axis]) | (chosen >= source.shape[axis])).any():
            raise node.error(f"an index is out of range for shape {source.shape}, axis {axis}")
        if chosen.ndim == 0:
            index = int(chosen) % source.shape[axis]
            piece = _sliced(source, axis, slice(index, index + 1, 1))
            shape, strides = (v[:axis] + v[axis + 1 :] for v in (piece.shape, piece.strides))
            low.values[name] = copied(low, name, replace(piece, shape=shape, strides=strides, channels_last=False))
            return
    indices = operand(low, node, 1)
    if source.channels_last and len(indices.shape) != 1:
        source = view_of(low.program.as_plain(node.name, low.raw(node, 0)))
    low.values[name] = gathered(low, name, source, axis, indices)


def lower_expand(low: Lowering, node: Node) -> None:
    """Lower Expand to a constant shape."""
    source = moved_operand(low, node, 0)
    shape = tuple(np.broadcast_shapes(source.shape, tuple(integers_of(low, node, 1))))
    low.values[node.outputs[0]] = copied(low, node.outputs[0], source.broadcast(shape))


def lower_tile(low: Lowering, node: Node) -> None:
    """Lower Tile with constant repeats: each axis becomes a repeated and a walked one."""
    source = moved_operand(low, node, 0)
    repeats = integers_of(low, node, 1)
    shape = tuple(v for pair in zip(repeats, source.shape, strict=True) for v in pair)
    strides = tuple(v for stride in source.strides for v in (0, stride))
    wide = replace(source, shape=shape, strides=strides, channels_last=False)
    result = tuple(r * size for r, size in zip(repeats, source.shape, strict=True))
    low.values[node.outputs[0]] = replace(copied(low, node.outputs[0], wide), shape=result)


def spread(
    low: Lowering, name: str, source: View, bounds: tuple[list[int], list[int], list[int]], value: Array
) -> Tensor:
    """Emit a copy into a larger tensor filled with a value.

    ``bounds`` are, for each axis, the elements before and after (negative ones are cut off) and those between.
    """
    before, after, between = bounds
    shape, strides_in, offset = [], [], 0
    out_shape, strides_out_steps, start = [], [], []
    for axis, size in enumerate(source.shape):
        step = between[axis] + 1
        length = (size - 1) * step + 1 + before[axis] + after[axis]
        positions = [before[axis] + i * step for i in range(size)]
        inside = [i for i, p in enumerate(positions) if 0 <= p < length]
        if length < 1 or not inside:
            raise ValueError(f"padding {bounds} leaves nothing of shape {source.shape}")
        first = inside[0]
        shape.append(len(inside))
        offset += first * source.strides[axis]
        start.append(positions[first])
        strides_in.append(source.strides[axis])
        out_shape.append(length)
        strides_out_steps.append(step)
    last = source.channels_last
    target = dense(tuple(out_shape), last)
    filler = constant_view(low, f"{name}.filler", np.asarray(value, source.dtype).reshape(()))
    result = copied(low, name, filler.broadcast(tuple(out_shape)))
    inner = replace(source, shape=tuple(shape), strides=tuple(strides_in), offset=source.offset + offset)
    order = memory_order(len(shape), last)
    steps = tuple(target[a] * strides_out_steps[a] for a in order)
    place = sum(p * s for p, s in zip(start, target, strict=True))
    copy_into(low, name, inner.permuted(order), result.buffer, (steps, place))
    return replace(result, channels_last=last, quantisation=source.quantisation)


def lower_pad(low: Lowering, node: Node) -> None:
    """Lower Pad; all modes but constant choose elements along each padded axis."""
    source = moved_operand(low, node, 0)
    rank = len(source.shape)
    pads = option(low, node, 1, "pads") or [0] * 2 * rank
    axes = integers_of(low, node, 3) if node.input(3) else list(range(rank))
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    name = node.outputs[0]
    mode = node.attributes.get("mode", "constant")
    if mode == "constant":
        value = low.constant(node, 2) if node.input(2) else np.float32(node.attributes.get("value", 0.0))
        real = float(np.asarray(value).reshape(-1)[0])
        kind = source.quantisation
        filler = np.asarray(value).reshape(-1)[0] if kind is None else kind.quantise(real)
        low.values[name] = spread(low, name, source, (before, after, [0] * rank), np.asarray(filler))
        return
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    result = copied(low, name, source, source.channels_last) if not any(before + after) else None
    for axis in range(rank):
        if before[axis] or after[axis]:
            size = source.shape[axis]
            wide = np.pad(np.arange(size), (max(0, before[axis]), max(0, after[axis])), mode=modes[mode])  # type: ignore[call-overload]
            wide = wide[max(0, -before[axis]) : len(wide) - max(0, -after[axis])]
            chosen = constant_view(low, f"{node.name}.indices", wide.astype(np.int64))
            result = gathered(low, name, source, axis, chosen)
            source = view_of(result)
    assert result is not None
    low.values[name] = result
