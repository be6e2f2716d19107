"""Resize and Upsample: along each axis every output is a weighted sum of a few inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hil.compiler.graph import Array, Node
from hil.compiler.lower_elementwise import binary
from hil.compiler.lower_moves import moved_operand
from hil.compiler.lowering import Lowering
from hil.compiler.program import Tensor
from hil.compiler.views import View, constant_view, copied, gathered, operand, view_of


@dataclass(frozen=True, kw_only=True)
class Axis:
    """How one axis is resized: ``size`` to ``out``, with the scale that positions are computed with."""

    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0


def lower_resize(low: Lowering, node: Node) -> None:
    """Lower Resize (nearest, linear, cubic; every way of coordinates) and the older Upsample."""
    mode = node.attributes.get("mode", "nearest")
    nearest = mode == "nearest"
    source = moved_operand(low, node, 0) if nearest else operand(low, node, 0)
    axes = _axes(low, node, source)
    name = node.outputs[0]
    result: Tensor | None = None
    for number, axis in enumerate(axes):
        if axis.size == axis.out and axis.scale == 1.0 and (axis.start, axis.end) == (0.0, 1.0):
            continue
        positions = _positions(node, axis)
        if nearest:
            chosen = _nearest(node, positions, axis.size)
            indices = constant_view(low, f"{node.name}.indices", chosen)
            result = gathered(low, name, source, number, indices)
        else:
            result = _weighted(low, node, source, number, _taps(node, axis, positions, mode))
        source = view_of(result)
    low.values[name] = result or copied(low, name, source, source.channels_last)


def _axes(low: Lowering, node: Node, source: View) -> list[Axis]:
    rank = len(source.shape)
    old = node.op == "Upsample" or low.graph.opset < 11
    scales = _numbers(low, node, 1 if old else 2) or [float(v) for v in node.attributes.get("scales", [])]
    sizes = None if old else _numbers(low, node, 3)
    region = None if old else _numbers(low, node, 1)
    chosen = [int(a) % rank for a in node.attributes.get("axes", range(rank))]
    crop = node.attributes.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if not scales and not sizes:
        raise node.error("gives neither scales nor sizes: export it again")
    factors = _factors(node, [source.shape[a] for a in chosen], scales, sizes)
    result = [Axis(size=size, out=size, scale=1.0) for size in source.shape]
    for i, axis in enumerate(chosen):
        size = source.shape[axis]
        factor, out = factors[i]
        start, end = (region[i], region[i + len(chosen)]) if crop and region else (0.0, 1.0)
        if crop and region and not sizes:
            out = math.floor(size * (end - start) * factor)
        result[axis] = Axis(size=size, out=out, scale=factor, start=start, end=end)
    return result


def _factors(node: Node, old: list[int], scales: list[float], sizes: list[float] | None) -> list[tuple[float, int]]:
    """Give scale and new size of each resized axis."""
    if not sizes:
        return [(scale, math.floor(size * scale)) for size, scale in zip(old, scales, strict=True)]
    ratios = [new / size for new, size in zip(sizes, old, strict=True)]
    policy = node.attributes.get("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return [(ratio, int(new)) for ratio, new in zip(ratios, sizes, strict=True)]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [(ratio, math.floor(ratio * size + 0.5)) for size in old]


def _numbers(low: Lowering, node: Node, index: int) -> list[float]:
    return [float(v) for v in low.constant(node, index).reshape(-1)] if node.input(index) else []


def _positions(node: Node, axis: Axis) -> Array:
    """Give the place in the input that each output is taken from."""
    plain = "asymmetric" if node.op == "Upsample" else "half_pixel"
    how = node.attributes.get("coordinate_transformation_mode", plain)
    x = np.arange(axis.out, dtype=np.float64)
    length = axis.scale * axis.size
    if how == "half_pixel":
        return (x + 0.5) / axis.scale - 0.5
    if how == "half_pixel_symmetric":
        centre = axis.size / 2 * (1 - axis.out / length)
        return centre + (x + 0.5) / axis.scale - 0.5
    if how == "pytorch_half_pixel":
        return (x + 0.5) / axis.scale - 0.5 if axis.out > 1 else np.zeros(1)
    if how == "align_corners":
        return x * (axis.size - 1) / (length - 1) if length > 1 else np.zeros(axis.out)
    if how == "asymmetric":
        return x / axis.scale
    if how == "tf_crop_and_resize":
        span = (axis.end - axis.start) * (axis.size - 1)
        if axis.out > 1:
            return axis.start * (axis.size - 1) + x * span / (axis.out - 1)
        return np.array([0.5 * (axis.start + axis.end) * (axis.size - 1)])
    raise node.error(f"coordinate_transformation_mode {how!r} is not supported")


def _nearest(node: Node, positions: Array, size: int) -> Array:
    """Give the index that each output copies."""
    how = node.attributes.get("nearest_mode", "floor" if node.op == "Upsample" else "round_prefer_floor")
    rounders: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if node.attributes.get("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        outside = (positions < 0) | (positions > size - 1)
        if outside.any():
            raise node.error("nearest tf_crop_and_resize beyond the picture is not supported")
    rounded = np.clip(rounders[how](positions), 0, size - 1)
    return np.asarray(rounded, np.int64)


def _taps(node: Node, axis: Axis, positions: Array, mode: str) -> tuple[Array, Array, Array]:
    """Give indices and weights, [taps][out], and what stands where the input has ended (NaN: nothing)."""
    stretch = min(1.0, axis.scale) if node.attributes.get("antialias", 0) else 1.0
    reach = 1.0 if mode == "linear" else 2.0
    first = math.floor(-reach / stretch) + 1
    indices = np.floor(positions).astype(np.int64) + np.arange(first, 2 - first)[:, None]
    weights = _kernel(node, mode, (indices - positions) * stretch)
    if node.attributes.get("exclude_outside", 0):
        weights = np.where((indices >= 0) & (indices < axis.size), weights, 0.0)
    weights = weights / weights.sum(axis=0)
    outside = np.zeros(positions.shape, bool)
    if node.attributes.get("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        outside = (positions < 0) | (positions > axis.size - 1)
    return np.clip(indices, 0, axis.size - 1), np.where(outside, 0.0, weights), outside


def _kernel(node: Node, mode: str, distance: Array) -> Array:
    """Give the weight of an input at a distance: a triangle, or Keys' cubic convolution."""
    x = np.abs(distance)
    if mode == "linear":
        return np.maximum(0.0, 1.0 - x)
    a = float(node.attributes.get("cubic_coeff_a", -0.75))
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _weighted(low: Lowering, node: Node, source: View, axis: int, taps: tuple[Array, Array, Array]) -> Tensor:
    """Emit the weighted sum of chosen inputs along an axis; taps without weight are left out."""
    indices, weights, outside = taps
    name = node.outputs[0]
    shape = [1] * len(source.shape)
    shape[axis] = indices.shape[1]
    total: Tensor | None = None
    for chosen, weight in zip(indices, weights, strict=True):
        if not weight.any() and total is not None:
            continue
        part = gathered(low, f"{name}.tap", source, axis, constant_view(low, f"{node.name}.indices", chosen))
        factor = constant_view(low, f"{node.name}.weights", weight.astype(np.float32).reshape(shape))
        scaled = binary(low, f"{name}.part", "Mul", view_of(part), factor)
        total = scaled if total is None else binary(low, name, "Add", view_of(total), view_of(scaled))
    assert total is not None
    if outside.any():
        value = float(node.attributes.get("extrapolation_value", 0.0))
        shift = constant_view(low, f"{node.name}.outside", (outside * value).astype(np.float32).reshape(shape))
        total = binary(low, name, "Add", view_of(total), shift)
    return total
