"""Operators that ONNX itself defines by others, and functions of the model, replaced by their definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx.inliner

from firmware_bridge.errors import ModelError

LARGEST_PASSES = 4

LOOPS = {"Range"}
"""Operators that are defined by a loop, which no node runs: they are constant, or refused."""


def expand_functions(model: Any, supported: frozenset[str], path: Path) -> Any:
    """Give the model with every operator outside ``supported`` that has a definition replaced by it.

    Parameters
    ----------
    model : onnx.ModelProto
        With fixed input shapes.
    supported : frozenset of str
        What stays as it is.
    path : Path
        For errors.
    """
    try:
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        for _ in range(LARGEST_PASSES):
            wanted = _defined(model, supported)
            if not wanted:
                break
            _spell_out_defaults(model, {name for _, name in wanted})
            inferred = onnx.shape_inference.infer_shapes(_with_constant_types(model), data_prop=True)
            model = onnx.inliner.inline_selected_functions(inferred, wanted, inline_schema_functions=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise ModelError(f"{path}: a function in it cannot be replaced by its definition ({error})") from error
    return model


def _spell_out_defaults(model: Any, names: set[str]) -> None:
    """Write down the default attributes of operators, which their definitions refer to."""
    version = _version(model)
    for node in model.graph.node:
        if node.op_type in names and node.domain in ("", "ai.onnx"):
            given = {attribute.name for attribute in node.attribute}
            for name, attribute in onnx.defs.get_schema(node.op_type, version, "").attributes.items():
                if name not in given and attribute.default_value.name:
                    node.attribute.append(attribute.default_value)


def _version(model: Any) -> int:
    return max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=1)


def _with_constant_types(model: Any) -> Any:
    """Give a copy that names the type of every constant, which the definitions are chosen by."""
    typed = onnx.ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in (*typed.graph.input, *typed.graph.value_info)}
    for tensor in typed.graph.initializer:
        if tensor.name not in known:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            typed.graph.value_info.append(info)
    if any("" in node.input for node in typed.graph.node):
        # An input that is left out has no type, yet the definitions are asked for one.
        typed.graph.value_info.append(onnx.helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, None))
    return typed


def _defined(model: Any, supported: frozenset[str]) -> list[tuple[str, str]]:
    """Give the operators to replace, as domain and name."""
    version = _version(model)
    names = {node.op_type for node in model.graph.node if node.domain in ("", "ai.onnx")} - supported - LOOPS
    return sorted(("", name) for name in names if _has_definition(name, version))


def _has_definition(name: str, version: int) -> bool:
    if not onnx.defs.has(name, version, ""):
        return False
    schema: Any = onnx.defs.get_schema(name, version, "")
    return bool(schema.has_function or schema.has_context_dependent_function)
