"""Small random networks that keep state: a register of values and a vector, moved on by operators of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from hil.compiler import compile_model
from node.model.image import Image
from tests.onnx_models import Builder

WIDTH, ROWS = 6, 3


class Recurrent:
    """A network on x [1, WIDTH], the last ROWS of which it keeps, and a vector of WIDTH values.

    Parameters
    ----------
    seed : int
        Decides everything.
    """

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = b = Builder(seed + 1)
        kept = b.add("Slice", "past_rows", b.constant([1]), b.constant([ROWS]), b.constant([0]))
        rows = b.add("Concat", kept, "x", axis=0)
        h = b.add("Concat", b.add("Reshape", rows, b.constant([1, ROWS * WIDTH])), "past_vector", axis=1)
        self.h, self.size = h, (ROWS + 1) * WIDTH
        for _ in range(int(self.rng.integers(1, 4))):
            layers = [self.product, self.cell, self.chosen, self.padded, self.attended, self.quantised, self.spread]
            layers[int(self.rng.integers(len(layers)))]()
        vector = b.add("Tanh", b.add("MatMul", self.h, b.weights(self.size, WIDTH)))
        result = b.add("Add", b.add("MatMul", self.h, b.weights(self.size, 5)), b.weights(5))
        for name, output in (("present_rows", rows), ("present_vector", vector), ("y", result)):
            b.nodes.append(helper.make_node("Identity", [output], [name], name=name))

    def product(self) -> None:
        self.h = self.b.add("Relu", self.b.add("Gemm", self.h, self.b.weights(self.size, 9), self.b.weights(9)))
        self.size = 9

    def cell(self) -> None:
        """An LSTM or a GRU over all values as moments, in one or two steps and directions; cells change in place."""
        op, gates = (("LSTM", 4), ("GRU", 3))[self.rng.integers(2)]
        way, count = (("forward", 1), ("reverse", 1), ("bidirectional", 2))[self.rng.integers(3)]
        source = self.b.add("Reshape", self.h, self.b.constant([self.size, 1, 1]))
        weights = self.b.weights(count, gates * 2, 1), self.b.weights(count, gates * 2, 2)
        y = self.b.add(op, source, *weights, hidden_size=2, direction=way)
        self.size *= 2 * count
        self.h = self.b.add("Reshape", y, self.b.constant([1, self.size]))

    def chosen(self) -> None:
        """Some values of one tensor, the others of another: a masked write over a copy."""
        larger = self.b.add("Greater", self.h, self.b.constant(np.float32(0.1)))
        self.h = self.b.add("Where", larger, self.h, self.b.add("Neg", self.h))

    def padded(self) -> None:
        """A border of zeros, in a row or beside a column: a buffer that is filled, and then written again within."""
        if self.rng.random() < 0.5:
            self.h, self.size = self.b.add("Pad", self.h, self.b.constant(np.array([0, 2, 0, 3]))), self.size + 5
            return
        column = self.b.add("Reshape", self.h, self.b.constant([self.size, 1]))
        self.size = 2 * (self.size + 1)
        column = self.b.add("Pad", column, self.b.constant(np.array([1, 1, 0, 0])))
        self.h = self.b.add("Reshape", column, self.b.constant([1, self.size]))

    def attended(self) -> None:
        shares = self.b.add("Softmax", self.b.add("MatMul", "past_vector", self.b.weights(WIDTH, ROWS)), axis=-1)
        mixed = self.b.add("MatMul", shares, "past_rows")
        self.h, self.size = self.b.add("Concat", self.h, mixed, axis=1), self.size + WIDTH

    def quantised(self) -> None:
        scale, zero = self.b.constant(np.float32(0.05)), self.b.constant(np.int8(3))
        self.h = self.b.add("DequantizeLinear", self.b.add("QuantizeLinear", self.h, scale, zero), scale, zero)

    def spread(self) -> None:
        """Every second value of each of two tensors: copies with gaps."""
        columns = self.b.add("Reshape", self.h, self.b.constant([self.size, 1]))
        both = self.b.add("Concat", columns, self.b.add("Abs", columns), axis=1)
        self.h, self.size = self.b.add("Reshape", both, self.b.constant([1, 2 * self.size])), 2 * self.size

    def image(self, folder: Path) -> Image:
        """Compile it."""

        def port(name: str, shape: list[int]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        kept = {"rows": [ROWS, WIDTH], "vector": [1, WIDTH]}
        inputs = [port("x", [1, WIDTH]), *(port(f"past_{name}", shape) for name, shape in kept.items())]
        outputs = [port("y", [1, 5]), *(port(f"present_{name}", shape) for name, shape in kept.items())]
        graph = helper.make_graph(self.b.nodes, "recurrent", inputs, outputs, self.b.constants)
        path = folder / "recurrent.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        return compile_model(path)

    def samples(self, count: int, largest: float) -> list[dict[str, np.ndarray]]:
        return [{"x": self.rng.normal(scale=largest, size=(1, WIDTH)).astype(np.float32)} for _ in range(count)]
