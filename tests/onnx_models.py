"""Small ONNX models made on the spot, the reference that judges them, and an engine that runs their images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from node.arena import Arena
from node.layout import layout_of
from node.model.engine import Engine
from node.model.image import Image
from node.protection import Protection


class Builder:
    """Nodes and constants of a model in the order of the calls."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values, name: str = "") -> str:
        name = name or f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weights(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:])) or 1
        return self.constant(self.rng.normal(scale=fan**-0.5, size=shape).astype(np.float32))

    def add(self, op: str, *inputs: str, **attributes) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{op}_{len(self.nodes)}", **attributes))
        return output

    def model(self, shape: tuple, output: str, opset: int = 17) -> onnx.ModelProto:
        return model_of(self.nodes, self.constants, shape, output, opset)

    def save(self, path: Path, shape: tuple, output: str, opset: int = 17) -> Path:
        onnx.save(self.model(shape, output, opset), str(path))
        return path


def model_of(nodes, constants, shape: tuple, output: str, opset: int = 17) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "model", [given], [result], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def engine_of(image: Image) -> tuple[Engine, Arena]:
    arena = Arena(layout_of(image, Protection()))
    arena.view("weights")[:] = np.frombuffer(image.weights, np.uint8)
    arena.view("steps")[:] = np.frombuffer(image.steps.tobytes(), np.uint8)
    return Engine(image, arena), arena


def run_image(image: Image, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    engine, _ = engine_of(image)
    for name, values in inputs.items():
        engine.write_input(name, values)
    engine.run()
    return engine.read_outputs()


def reference(path: Path | str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of onnxruntime without graph optimisations: each node as the ONNX text says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """Largest difference relative to the largest output."""
    assert got.shape == want.shape
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-12))


def small_cnn(path: Path, seed: int = 0) -> Path:
    """Convolutions, pools, a product: what a digits classifier is made of."""
    b = Builder(seed)
    h = b.add("Relu", b.add("Conv", "x", b.weights(8, 1, 3, 3), b.weights(8), pads=[1, 1, 1, 1]))
    h = b.add("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
    h = b.add("Relu", b.add("Conv", h, b.weights(20, 8, 3, 3), b.weights(20), pads=[1, 1, 1, 1]))
    h = b.add("Flatten", b.add("GlobalAveragePool", h))
    return b.save(path, (1, 1, 8, 8), b.add("Gemm", h, b.weights(10, 20), b.weights(10), transB=1))
