"""Operators that move no value, or only change the order: Reshape, Flatten, Squeeze, Transpose, ..."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.compiler.graph import Node
from hil.compiler.lowering import Lowering
from hil.compiler.program import Tensor, elements


def lower_identity(low: Lowering, node: Node) -> None:
    """Lower Identity and, for inference, Dropout, whose mask is all true."""
    if node.input(2) and low.constant(node, 2).any() and (not node.input(1) or low.constant(node, 1).any()):
        raise node.error("training mode is not supported: export the model for inference")
    low.values[node.outputs[0]] = low.raw(node, 0)
    if len(node.outputs) > 1 and node.outputs[1]:
        low.graph.constants[node.outputs[1]] = np.ones(low.raw(node, 0).shape, bool)


def lower_reshape(low: Lowering, node: Node) -> None:
    """Lower Reshape, Flatten, Squeeze and Unsqueeze."""
    source = low.raw(node, 0)
    shape = _new_shape(low, node, source.shape)
    if elements(shape) != elements(source.shape):
        raise node.error(f"cannot turn shape {source.shape} into {shape}: check the export and input_shapes")
    plain = low.program.as_plain(node.name, source)
    low.values[node.outputs[0]] = replace(plain, shape=shape)


def _new_shape(low: Lowering, node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    if node.op == "Flatten":
        axis = int(node.attributes.get("axis", 1))
        axis = axis + len(old) if axis < 0 else axis
        return elements(old[:axis]), elements(old[axis:])
    if node.op == "Reshape":
        return _reshaped(low, node, old)
    axes = _axes(low, node)
    if node.op == "Squeeze":
        chosen = {a % len(old) for a in axes} if axes else {i for i, size in enumerate(old) if size == 1}
        if any(old[i] != 1 for i in chosen):
            raise node.error(f"axes {sorted(chosen)} of shape {old} are not all 1")
        return tuple(size for i, size in enumerate(old) if i not in chosen)
    rank = len(old) + len(axes)
    chosen = {a % rank for a in axes}
    rest = iter(old)
    return tuple(1 if i in chosen else next(rest) for i in range(rank))


def _axes(low: Lowering, node: Node) -> list[int]:
    given = low.constant(node, 1).reshape(-1) if node.input(1) else node.attributes.get("axes", [])
    return [int(axis) for axis in given]


def _reshaped(low: Lowering, node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    wanted = [int(size) for size in low.constant(node, 1).reshape(-1)]
    if not node.attributes.get("allowzero", 0):
        wanted = [old[i] if size == 0 and i < len(old) else size for i, size in enumerate(wanted)]
    known = elements(tuple(size for size in wanted if size != -1))
    if wanted.count(-1) == 1 and known > 0:
        wanted[wanted.index(-1)] = elements(old) // known
    if any(size < 1 for size in wanted):
        raise node.error(f"cannot reshape {old} to {wanted}: check the export")
    return tuple(wanted)


def lower_block_transpose(low: Lowering, node: Node) -> bool:
    """Lower a Transpose that, apart from axes of 1, exchanges two runs of neighbouring axes, or none; else False."""
    raw = low.raw(node, 0)
    rank = len(raw.shape)
    order = [int(axis) for axis in node.attributes.get("perm", range(rank)[::-1])]
    real = [axis for axis in order if raw.shape[axis] > 1]
    cuts = [i for i in range(1, len(real)) if real[i] < real[i - 1]]
    first, second = (real[: cuts[0]], real[cuts[0] :]) if cuts else (real, [])
    if len(cuts) > 1 or second + first != sorted(real) or np.dtype(raw.buffer.dtype).itemsize == 8:
        return False
    source = low.program.as_plain(node.name, raw)
    shape = tuple(source.shape[axis] for axis in order)
    result = replace(source, shape=shape)
    if cuts:
        sizes = np.array(source.shape)
        rows, columns = int(sizes[second].prod()), int(sizes[first].prod())
        buffer = low.program.transpose(node.name, source, rows, columns)
        result = Tensor(buffer, shape, False, source.quantisation)
    low.values[node.outputs[0]] = result
    return True
