"""Two networks that every injector can run, written as ONNX nodes with fixed seeds, and inputs for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True, kw_only=True, eq=False)
class Net:
    """A network of Conv, Gemm, Relu, Add, GlobalAveragePool and Flatten, and inputs float32 [n, ...]."""

    name: str
    model: onnx.ModelProto
    inputs: NDArray[np.float32]

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Give copies of the weights of every Conv and Gemm, by name; biases are struck by no injector here."""
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.model.graph.initializer}
        return {name: np.array(array) for name, array in arrays.items() if array.ndim > 1}

    def of_batch(self, batch: int) -> onnx.ModelProto:
        """Give the model for inputs of so many at once."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
        return model

    def neurons(self) -> list[str]:
        """Give the names of the values that are struck: the outputs of every Relu, which all injectors can reach."""
        return [node.output[0] for node in self.model.graph.node if node.op_type == "Relu"]


class _Graph:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"n{len(self.nodes)}", **attributes))
        return output

    def parameters(self, *shape: int, inputs: int) -> tuple[str, str]:
        """Add weights that keep the size of values, and biases."""
        names = []
        for kind, size, scale in (("w", shape, (2 / inputs) ** 0.5), ("b", (shape[0],), 0.1)):
            names.append(f"{kind}{len(self.constants)}")
            values = self.rng.normal(scale=scale, size=size).astype(np.float32)
            self.constants.append(numpy_helper.from_array(values, names[-1]))
        return names[0], names[1]

    def dense(self, name: str, inputs: int, outputs: int) -> str:
        return self.add("Gemm", name, *self.parameters(outputs, inputs, inputs=inputs), transB=1)

    def conv(self, name: str, channels: tuple[int, int], kernel: int, stride: int) -> str:
        parameters = self.parameters(channels[1], channels[0], kernel, kernel, inputs=channels[0] * kernel**2)
        pads = [kernel // 2] * 4
        return self.add("Conv", name, *parameters, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)

    def net(self, name: str, shape: tuple[int, ...], output: str, inputs: int) -> Net:
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape])
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, name, [given], [result], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        values = np.random.default_rng(7).standard_normal((inputs, *shape)).astype(np.float32)
        return Net(name=name, model=model, inputs=values)


def mlp(inputs: int) -> Net:
    """Give 64-128-64-10 with ReLU: 17 thousand products an inference."""
    g = _Graph(1)
    h = g.add("Relu", g.dense("x", 64, 128))
    h = g.add("Relu", g.dense(h, 128, 64))
    return g.net("mlp", (64,), g.dense(h, 64, 10), inputs)


def resnet8(inputs: int) -> Net:
    """Give the residual network of MLPerf Tiny with random weights: 32 x 32 x 3, 12.5 million products."""
    g = _Graph(2)
    h = g.add("Relu", g.conv("x", (3, 16), 3, 1))
    for before, after, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        inner = g.add("Relu", g.conv(h, (before, after), 3, stride))
        inner = g.conv(inner, (after, after), 3, 1)
        straight = h if stride == 1 else g.conv(h, (before, after), 1, stride)
        h = g.add("Relu", g.add("Add", inner, straight))
    h = g.add("Flatten", g.add("GlobalAveragePool", h))
    return g.net("resnet8", (3, 32, 32), g.dense(h, 64, 10), inputs)
