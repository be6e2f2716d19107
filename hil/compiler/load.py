"""From a file to a graph: everything that can be wrong with a model file is said here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from firmware_bridge.errors import ModelError
from hil.compiler.expand import expand_functions
from hil.compiler.fold import constant_arrays, fold_constants
from hil.compiler.graph import Graph, Node, Port
from hil.compiler.limits import LARGEST_ARENA_BYTES

INPUT_DTYPES = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.INT8: "int8",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.BOOL: "bool",
}


def load_graph(
    path: Path, input_shapes: Mapping[str, Sequence[int]] | None = None, supported: frozenset[str] = frozenset()
) -> Graph:
    """Read an ONNX file, fix its input shapes and fold what is constant.

    Parameters
    ----------
    path : Path
        The model, with its external data beside it.
    input_shapes : mapping, optional
        Shapes for inputs; without it an open first dimension becomes 1 and any other must be known. An input without
        elements (a cache that is empty) is a constant.
    supported : frozenset of str
        Operators that are kept although ONNX defines them by others.

    Raises
    ------
    ModelError
        When the file is missing, cut short, inconsistent or has an input that cannot be used.
    """
    model = _read(path)
    ports = _fix_inputs(model, path, dict(input_shapes or {}))
    _sort_nodes(model, path)
    _check(model, path)
    model = expand_functions(model, supported, path)
    fold_constants(model, path)
    constants = constant_arrays(model, path)
    nodes = tuple(_node(proto, index, path) for index, proto in enumerate(model.graph.node))
    outputs = tuple(value.name for value in model.graph.output)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    return Graph(path.stem, str(path), nodes, constants, ports, outputs, opset)


def open_inputs(path: Path) -> dict[str, int]:
    """Give the number of dimensions of each input whose shape is open beyond its first one."""
    graph = _read(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    dims = {value.name: value.type.tensor_type.shape.dim for value in graph.input if value.name not in constants}
    return {name: len(sizes) for name, sizes in dims.items() if any(size.dim_value <= 0 for size in sizes[1:])}


def _read(path: Path) -> Any:
    try:
        model = onnx.load(str(path), load_external_data=False)
        _refuse_large(model, path)
        onnx.load_external_data_for_model(model, str(path.parent))
    except FileNotFoundError as error:
        missing = path if not path.exists() else f"{path}: external data {error.filename or error}"
        raise ModelError(f"{missing}: no such file: give the path of an ONNX model with its data beside it") from error
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError) as error:
        advice = "the file is cut short, damaged or no ONNX model, or its external data is missing"
        raise ModelError(f"{path}: cannot be read: {advice} ({_first_line(error)})") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path}: holds no ONNX graph: the file is cut short, empty or of another kind")
    names = [name for node in model.graph.node for name in (node.name, node.op_type, *node.input, *node.output)]
    if any(not isinstance(name, str) for name in names):
        raise ModelError(f"{path}: a name in it is no text: the file is damaged, export it again")
    return model


def _refuse_large(model: Any, path: Path) -> None:
    """Refuse constants that no node has room for, before they are read from files beside the model."""
    total = 0
    for tensor in model.graph.initializer:
        total += math.prod(tensor.dims) * _element_bytes(tensor.data_type)
        if total > LARGEST_ARENA_BYTES:
            reader = next((node for node in model.graph.node if tensor.name in node.input), None)
            where = f"{path}: {reader.op_type} node {reader.name!r}" if reader else str(path)
            what = f"constant {tensor.name!r} of shape {list(tensor.dims)} makes the constants {total} bytes"
            raise ModelError(f"{where}: {what} (at most {LARGEST_ARENA_BYTES}): make the model smaller")


def _element_bytes(data_type: int) -> int:
    """Give the size of an element; 1 for a type that is not known, which is refused where it is used."""
    known = data_type in onnx.TensorProto.DataType.values() and data_type != onnx.TensorProto.UNDEFINED
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize) if known else 1


def _check(model: Any, path: Path) -> None:
    """Compare nodes and attributes with the operators of the ONNX standard, and decode every constant."""
    for value in model.graph.output:
        value.type.tensor_type.shape.SetInParent()  # Some exporters leave the shape of an output out.
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: breaks the ONNX standard ({_first_line(error)}): export it again") from error
    constant_arrays(model, path)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _fix_inputs(model: Any, path: Path, shapes: dict[str, Sequence[int]]) -> tuple[Port, ...]:
    constants = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in constants]
    unknown = set(shapes) - {value.name for value in given}
    if unknown:
        names = ", ".join(value.name for value in given)
        raise ModelError(f"{path}: input_shapes names {sorted(unknown)}: the model's inputs are {names}")
    ports = []
    for value in given:
        kind = value.type.tensor_type
        if kind.elem_type not in INPUT_DTYPES:
            known = kind.elem_type in onnx.TensorProto.DataType.values()
            found = onnx.TensorProto.DataType.Name(kind.elem_type) if known else f"of the unknown type {kind.elem_type}"
            raise ModelError(f"{path}: input {value.name!r} is {found}: give one of {', '.join(INPUT_DTYPES.values())}")
        shape = _shape(value, path, shapes.get(value.name))
        kind.shape.ClearField("dim")
        for size in shape:
            kind.shape.dim.add().dim_value = size
        if 0 in shape:
            empty = np.empty(shape, INPUT_DTYPES[kind.elem_type])
            model.graph.initializer.append(numpy_helper.from_array(empty, value.name))
        else:
            ports.append(Port(value.name, INPUT_DTYPES[kind.elem_type], shape))
    return tuple(ports)


def _shape(value: Any, path: Path, given: Sequence[int] | None) -> tuple[int, ...]:
    kind = value.type.tensor_type
    declared = [d.dim_value if d.HasField("dim_value") else 0 for d in kind.shape.dim]
    if given is not None:
        shape = tuple(int(size) for size in given)
        fits = len(shape) == len(declared) or not declared
        if not fits or any(d > 0 and d != s for d, s in zip(declared, shape, strict=False)):
            raise ModelError(f"{path}: input {value.name!r} declares {declared}, which {shape} does not fit")
    else:
        shape = tuple(1 if i == 0 and size == 0 else size for i, size in enumerate(declared))
    if any(size < (given is None) for size in shape):
        names = [d.dim_param or d.dim_value for d in kind.shape.dim]
        raise ModelError(f"{path}: input {value.name!r} has the open shape {names}: give input_shapes for it")
    size_bytes = math.prod(shape) * _element_bytes(kind.elem_type)
    if size_bytes > LARGEST_ARENA_BYTES:
        raise ModelError(
            f"{path}: input {value.name!r} of shape {shape} takes {size_bytes} bytes of memory (at most "
            f"{LARGEST_ARENA_BYTES}): give a smaller one"
        )
    return shape


def _sort_nodes(model: Any, path: Path) -> None:
    """Order the nodes so that each follows those it reads; many exporters do, the format demands it."""
    known = {t.name for t in model.graph.initializer} | {v.name for v in model.graph.input} | {""}
    waiting = list(model.graph.node)
    made = known | {name for node in waiting for name in node.output}
    ordered: list[Any] = []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        if not ready:
            stuck = waiting[0]
            missing = sorted(set(stuck.input) - made)
            reason = f"reads {missing}, which nothing gives" if missing else "depends on its own output (a cycle)"
            raise ModelError(f"{path}: {stuck.op_type} node {stuck.name!r} {reason}: export the model again")
        ordered += ready
        known.update(name for node in ready for name in node.output)
        done = {id(node) for node in ready}
        waiting = [node for node in waiting if id(node) not in done]
    lost = [value.name for value in model.graph.output if value.name not in known]
    if lost:
        raise ModelError(f"{path}: output {lost[0]!r} is given by no node: export the model again")
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in ordered]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _node(proto: Any, index: int, path: Path) -> Node:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
    texts = {
        key: value.decode(errors="replace") if isinstance(value, bytes) else value for key, value in attributes.items()
    }
    domain = f"{proto.domain}::" if proto.domain not in ("", "ai.onnx") else ""
    return Node(
        op=domain + proto.op_type,
        name=proto.name or (proto.output[0] if proto.output else f"node {index}"),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={k: numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for k, v in texts.items()},
        source=str(path),
    )
