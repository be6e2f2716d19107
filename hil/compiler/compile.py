"""From an ONNX file to an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from firmware_bridge.errors import ModelError
from hil.compiler import lower_integer
from hil.compiler.graph import Array, Graph, Node
from hil.compiler.load import load_graph
from hil.compiler.lower_elementwise import constant_output
from hil.compiler.lowering import Lowering
from hil.compiler.operators import OPERATORS
from hil.compiler.plan import plan_image
from hil.compiler.program import Buffer, Program, Tensor, elements
from hil.compiler.state import keep_state, state_pairs
from hil.compiler.views import copied, view_of
from node.model.image import Image


def compile_model(
    path: str | PathLike[str],
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    state: Mapping[str, str] | None = None,
    initial_state: Mapping[str, Array] | None = None,
) -> Image:
    """Compile an ONNX model for the node.

    Parameters
    ----------
    path : str or Path
        The ONNX file.
    input_shapes : mapping, optional
        Shapes for inputs with open dimensions; an open batch is 1 without it.
    state : mapping of str to str, optional
        Which output (key) feeds which input in the next inference; see :func:`hil.compiler.state.state_pairs`. Such an
        input is kept by the node and is none of the image; such an output is delivered only if there is no other.
        Without it the names decide; an empty mapping stands for no state.
    initial_state : mapping of str to ndarray, optional
        What such an input holds in the first inference; zeros without it.

    Returns
    -------
    Image

    Raises
    ------
    ModelError
        When the file cannot be read, an operator or a shape of it is not supported, or a weight is no number.
    """
    graph = load_graph(Path(path), input_shapes, frozenset(OPERATORS))
    refuse_unsupported(graph)
    refuse_nan(graph)
    program = Program(graph.name, graph.source)
    low = Lowering(graph, program)
    for port in graph.inputs:
        low.values[port.name] = Tensor(Buffer(port.name, port.dtype, elements(port.shape)), port.shape)
    for node in graph.nodes:
        if not low.is_absorbed(node):
            _lower(low, node)
    pairs = state_pairs(graph, low, state)
    program.inputs = [(port.name, low.values[port.name]) for port in graph.inputs if port.name not in pairs.values()]
    delivered = [name for name in graph.outputs if name not in pairs] or list(graph.outputs)
    program.outputs = [(name, _output(low, name)) for name in delivered]
    program.states = keep_state(low, pairs, lambda name: _output(low, name), dict(initial_state or {}))
    try:
        return plan_image(program)
    except ModelError as error:
        raise ModelError(f"{graph.source}: {error}") from error


def _output(low: Lowering, name: str) -> Tensor:
    """Give a model output with its real values in the order of its shape; an input or a constant is copied."""
    if name not in low.values:
        return constant_output(low, name)
    tensor = low.values[name]
    if tensor.quantisation is not None:
        tensor = low.dequantise(name, tensor, tensor.quantisation)
    tensor = low.program.as_plain(name, tensor)
    if any(tensor.buffer is low.values[port.name].buffer for port in low.graph.inputs):
        return copied(low, name, view_of(tensor))
    return tensor


CONTRADICTIONS = (ValueError, TypeError, LookupError, ArithmeticError, AssertionError, MemoryError)
"""What a lowering meets where attributes, shapes and constants of a damaged model do not fit together."""


def _lower(low: Lowering, node: Node) -> None:
    """Lower one node; attributes and constants that contradict each other are the model's fault."""
    try:
        if not lower_integer.lower_integer(low, node):
            OPERATORS[node.op](low, node)
    except CONTRADICTIONS as error:
        raise node.error(f"its attributes and constants do not fit together ({error!r}): check the model") from error


def refuse_unsupported(graph: Graph) -> None:
    """Raise for the first operator that the node cannot run."""
    for node in graph.nodes:
        if node.op not in OPERATORS:
            supported = ", ".join(sorted(OPERATORS))
            raise node.error(f"operator {node.op} is not supported; the node runs {supported}")


FILLERS = ("Pad", "Resize", "Upsample", "Where")
"""Operators with constants that only stand where nothing else does, which may be NaN on purpose."""


def refuse_nan(graph: Graph) -> None:
    """Raise for the first node with a weight that is no number: every output would be none, struck or not."""
    for node in graph.nodes:
        for name in node.inputs:
            values = graph.constants.get(name)
            if node.op in FILLERS or values is None or values.dtype.kind != "f":
                continue
            places = np.flatnonzero(np.isnan(values))
            if places.size:
                found = f"{places.size} of {values.size} values are NaN, the first at index {places[0]}"
                raise node.error(f"constant {name!r} is damaged: {found}: train or export the model again")
