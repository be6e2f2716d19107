"""Small models whose outputs feed their inputs, simple enough to compute by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

W = np.arange(1, 5, dtype=np.float32)
DEPTH = 3
"""Inputs that :func:`register` remembers."""


def save(path: Path, nodes: list, ports: dict[str, list[int]], results: dict[str, list[int]], **constants) -> Path:
    """Write a float32 model and give its path."""

    def infos(shapes: dict[str, list[int]]) -> list:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "state", infos(ports), infos(results), values)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def accumulator(path: Path) -> Path:
    """Sum of all x so far, and that sum plus :data:`W`; a struck bit of the sum stays in it for ever."""
    nodes = [
        helper.make_node("Add", ["x", "past_sum"], ["present_sum"], name="sum"),
        helper.make_node("Add", ["present_sum", "w"], ["y"], name="shift"),
    ]
    return save(path, nodes, {"x": [1, 4], "past_sum": [1, 4]}, {"y": [1, 4], "present_sum": [1, 4]}, w=W.reshape(1, 4))


def register(path: Path) -> Path:
    """Sum of the last :data:`DEPTH` + 1 values; a struck bit is pushed out with its value."""
    nodes = [
        helper.make_node("Slice", ["past", "one", "end", "zero"], ["kept"], name="kept"),
        helper.make_node("Concat", ["kept", "x"], ["present"], name="push", axis=0),
        helper.make_node("ReduceSum", ["past", "zero"], ["older"], name="older", keepdims=1),
        helper.make_node("Add", ["older", "x"], ["y"], name="add"),
    ]
    ports, results = {"x": [1, 4], "past": [DEPTH, 4]}, {"y": [1, 4], "present": [DEPTH, 4]}
    return save(path, nodes, ports, results, zero=np.array([0]), one=np.array([1]), end=np.array([DEPTH]))


def samples(count: int) -> list[dict[str, np.ndarray]]:
    """Give inputs of which no two sums are alike."""
    return [{"x": np.full((1, 4), 2.0**number, np.float32)} for number in range(count)]


def sums(count: int) -> list[np.ndarray]:
    """Give what :func:`accumulator` answers to :func:`samples` in a row, by hand."""
    return [(2.0 ** (number + 1) - 1 + W).reshape(1, 4).astype(np.float32) for number in range(count)]
