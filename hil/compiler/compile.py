"""From an ONNX file to an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from firmware_bridge.errors import ModelError
from hil.compiler import lower_float, lower_integer, shapes
from hil.compiler.graph import Graph, Node
from hil.compiler.load import load_graph
from hil.compiler.lowering import Lowering
from hil.compiler.plan import plan_image
from hil.compiler.program import Buffer, Program, Tensor, elements
from node.model.image import Image

OPERATORS: dict[str, Callable[[Lowering, Node], None]] = {
    "Add": lower_float.lower_add,
    "AveragePool": lower_float.lower_pool,
    "BatchNormalization": lower_float.lower_batch_normalization,
    "Clip": lower_float.lower_clamp,
    "Conv": lower_float.lower_conv,
    "DequantizeLinear": lower_integer.lower_dequantize,
    "Dropout": shapes.lower_identity,
    "Flatten": shapes.lower_reshape,
    "Gemm": lower_float.lower_gemm,
    "GlobalAveragePool": lower_float.lower_pool,
    "Identity": shapes.lower_identity,
    "MatMul": lower_float.lower_matmul,
    "MaxPool": lower_float.lower_pool,
    "QuantizeLinear": lower_integer.lower_quantize,
    "Relu": lower_float.lower_clamp,
    "Reshape": shapes.lower_reshape,
    "Softmax": lower_float.lower_softmax,
    "Squeeze": shapes.lower_reshape,
    "Transpose": shapes.lower_transpose,
    "Unsqueeze": shapes.lower_reshape,
}
"""What each operator becomes; Constant and everything computed from constants is folded before."""


def compile_model(path: str | PathLike[str], input_shapes: Mapping[str, Sequence[int]] | None = None) -> Image:
    """Compile an ONNX model for the node.

    Parameters
    ----------
    path : str or Path
        The ONNX file.
    input_shapes : mapping, optional
        Shapes for inputs with open dimensions; the batch is 1.

    Returns
    -------
    Image

    Raises
    ------
    ModelError
        When the file cannot be read, or an operator or a shape of it is not supported.
    """
    graph = load_graph(Path(path), input_shapes)
    refuse_unsupported(graph)
    program = Program(graph.name)
    low = Lowering(graph, program)
    for port in graph.inputs:
        tensor = Tensor(Buffer(port.name, port.dtype, elements(port.shape)), port.shape)
        low.values[port.name] = tensor
        program.inputs.append((port.name, tensor))
    for node in graph.nodes:
        if not low.is_absorbed(node):
            _lower(low, node)
    for name in graph.outputs:
        if name not in low.values:
            raise ModelError(f"{graph.source}: output {name!r} is constant: there is nothing to compute")
        tensor = low.values[name]
        if tensor.quantisation is not None:
            tensor = low.dequantise(name, tensor, tensor.quantisation)
        program.outputs.append((name, program.as_plain(name, tensor)))
    if not program.drafts:
        raise ModelError(f"{graph.source}: the model computes nothing: its outputs are its inputs, reshaped")
    return plan_image(program)


def _lower(low: Lowering, node: Node) -> None:
    """Lower one node; attributes and constants that contradict each other are the model's fault."""
    try:
        if not lower_integer.lower_integer(low, node):
            OPERATORS[node.op](low, node)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise node.error(f"its attributes and constants do not fit together ({error!r}): check the model") from error


def refuse_unsupported(graph: Graph) -> None:
    """Raise for the first operator that the node cannot run."""
    for node in graph.nodes:
        if node.op not in OPERATORS:
            supported = ", ".join(sorted(OPERATORS))
            raise node.error(f"operator {node.op} is not supported; the node runs {supported}")
