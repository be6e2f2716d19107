"""Constant folding: with the input shapes fixed, much of what exporters write around a network is constant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from firmware_bridge.errors import ModelError
from hil.compiler.fold_quantised import moved_before
from hil.compiler.limits import LARGEST_FOLDED_ELEMENTS

PASS_THROUGH = ("Identity", "Dropout")
LARGEST_PASSES = 8


def fold_constants(model: Any, path: Path) -> None:
    """Evaluate every node whose inputs are constant and drop those that only pass a value on, in place.

    DequantizeLinear stays: the integers before it are what the node computes with and what can be struck. What reads it
    and is constant itself is evaluated none the less.

    Parameters
    ----------
    model : onnx.ModelProto
        With fixed input shapes and sorted nodes.
    path : Path
        For errors.
    """
    for _ in range(LARGEST_PASSES):
        if not _Pass(model, path).run():
            break
    _drop_pass_through(model)


def constant_arrays(model: Any, path: Path) -> dict[str, Any]:
    """Give the constants of a model as arrays, by name."""
    arrays = {}
    for tensor in model.graph.initializer:
        try:
            arrays[tensor.name] = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise ModelError(f"{path}: constant {tensor.name!r} is damaged ({error}): export it again") from error
    return arrays


def _known_values(model: Any, path: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Give shape and type of every value of which both are known."""
    stripped = onnx.ModelProto.FromString(model.SerializeToString())
    del stripped.graph.value_info[:]
    for value in stripped.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(stripped, data_prop=True, strict_mode=False)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path}: its shapes do not fit together ({error}): check the export") from error
    known = {}
    for value in (*inferred.graph.value_info, *inferred.graph.output, *inferred.graph.input):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            known[value.name] = (tuple(d.dim_value for d in kind.shape.dim), kind.elem_type)
    return known


class _Pass:
    """One walk over the nodes of a model."""

    def __init__(self, model: Any, path: Path) -> None:
        self.model = model
        self.path = path
        self.values = _known_values(model, path)
        self.known = constant_arrays(model, path)
        self.found: dict[str, Any] = {}
        self.dequantised: dict[str, Any] = {}
        """The DequantizeLinear nodes of constants, by output."""

    def run(self) -> bool:
        """Replace what is constant by its value; False when there was nothing."""
        kept = [left for node in self.model.graph.node for left in self._visit(node)]
        if not self.found:
            return False
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)
        tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in self.found.items()]
        self.model.graph.initializer.extend(tensors)
        return True

    def _visit(self, node: Any) -> list[Any]:
        """Give what is left of a node."""
        standard = node.domain in ("", "ai.onnx")
        if node.op_type in ("Shape", "Size") and node.input[0] in self.values:
            self._take({node.output[0]: _shape(node, self.values[node.input[0]][0])})
            return []
        if not standard or not _is_constant(node, self.known | self.dequantised):
            self._take(_take_empty(node, self.known, self.values))
            return [node] if any(node.output) else []
        if not _is_constant(node, self.known):
            return self._behind(node)
        if node.op_type == "DequantizeLinear":
            self.dequantised[node.output[0]] = node
            return [node]
        self._take(_evaluate(self.model, node, self.known, self.path))
        return []

    def _behind(self, node: Any) -> list[Any]:
        """Fold a node behind a DequantizeLinear: it moves the integers, or is evaluated."""
        moved = moved_before(node, self.dequantised.get(node.input[0]), self.known)
        if moved is not None:
            self._take(_evaluate(self.model, moved.move, self.known, self.path))
            self.dequantised[node.output[0]] = moved.node
            return [moved.node]
        known = dict(self.known)
        for name in set(node.input) & set(self.dequantised):
            known |= _evaluate(self.model, self.dequantised[name], self.known, self.path)
        self._take(_evaluate(self.model, node, known, self.path))
        return []

    def _take(self, constants: dict[str, Any]) -> None:
        self.found |= constants
        self.known |= constants


def _take_empty(node: Any, known: dict[str, Any], values: dict[str, tuple[tuple[int, ...], int]]) -> dict[str, Any]:
    """Take results without elements from a node, which are constants, and what a Concat has nothing of."""
    empty = {}
    for index, name in enumerate(node.output):
        shape, kind = values.get(name, ((), 0))
        if 0 in shape and kind:
            empty[name] = np.empty(shape, onnx.helper.tensor_dtype_to_np_dtype(kind))
            node.output[index] = ""
    if node.op_type == "Concat":
        some = [name for name in node.input if name not in known or np.asarray(known[name]).size]
        if some:
            del node.input[:]
            node.input.extend(some)
    return empty


def _shape(node: Any, shape: tuple[int, ...]) -> Any:
    """Give what a Shape or Size node of a known shape gives."""
    if node.op_type == "Size":
        return np.array(np.prod(shape, dtype=np.int64), np.int64)
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return np.array(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], np.int64)


def _is_constant(node: Any, known: dict[str, Any]) -> bool:
    has_graph = any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)
    return not has_graph and all(name in known for name in node.input if name)


def _made_elements(node: Any, known: dict[str, Any]) -> float:
    """Give the elements of the result of an operator that can make much out of little; 0 for all others."""
    values = [np.asarray(known[name], np.float64).reshape(-1) for name in node.input[:3] if name]
    if node.op_type == "ConstantOfShape":
        return float(np.prod(values[0]))
    if node.op_type in ("Expand", "Tile"):
        return float(values[0].size * np.prod(values[1]))
    if node.op_type == "Range" and values[2][0]:
        return float((values[1][0] - values[0][0]) / values[2][0])
    return 0.0


def _evaluate(model: Any, node: Any, known: dict[str, Any], path: Path) -> dict[str, Any]:
    names = sorted({name for name in node.input if name})
    if _made_elements(node, known) > LARGEST_FOLDED_ELEMENTS:
        where = f"{path}: {node.op_type} node {node.name!r} (output {node.output[0]!r})"
        raise ModelError(f"{where}: is a constant of more than {LARGEST_FOLDED_ELEMENTS} elements: check its shape")
    inputs = [onnx.helper.make_tensor_value_info(n, _kind(known[n]), known[n].shape) for n in names]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "constant", inputs, outputs)
    single = onnx.helper.make_model(graph, opset_imports=model.opset_import)
    try:
        values = ReferenceEvaluator(single).run(None, {name: known[name] for name in names})
    except Exception as error:
        where = f"{path}: {node.op_type} node {node.name!r} (output {node.output[0]!r})"
        raise ModelError(f"{where}: is constant but cannot be computed ({error})") from error
    return dict(zip([name for name in node.output if name], values, strict=True))


def _kind(array: Any) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.asarray(array).dtype))


def _drop_pass_through(model: Any) -> None:
    outputs = {value.name for value in model.graph.output}
    replaced: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = replaced.get(name, name)
        if node.op_type in PASS_THROUGH and len(node.output) == 1 and node.output[0] not in outputs:
            replaced[node.output[0]] = node.input[0]
        else:
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del model.graph.node[:]
    model.graph.node.extend(kept)
