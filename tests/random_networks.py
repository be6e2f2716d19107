"""Small random networks, in floats and quantised by hand, with every operator that images had from the start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hil.compiler import compile_model
from node.model.image import Image
from tests.onnx_models import Builder, model_of


class Network:
    """A chain of random layers with now and then a branch, written as ONNX nodes.

    Parameters
    ----------
    seed : int
        Decides everything.
    quantised : bool
        Put every value through int8 or uint8, so that the compiler computes in integers.
    """

    def __init__(self, seed: int, *, quantised: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.quantised = quantised
        self.b = Builder(seed + 1)
        self.kind = np.int8 if self.rng.random() < 0.5 else np.uint8
        self.scale = np.float32(0.05)
        self.channels = int(self.rng.integers(1, 4))
        self.size = int(self.rng.integers(5, 9))
        self.shape = (1, self.channels, self.size, self.size)
        self.h = self.rounded("x")
        if not quantised and self.rng.random() < 0.3:
            self.h = self.b.add("Clip", "x", self.b.constant(np.float32(-2)), self.b.constant(np.float32(2)))
        for _ in range(int(self.rng.integers(1, 4))):
            self.layer()
        self.head()

    def rounded(self, name: str) -> str:
        """A value as its bytes and back."""
        if not self.quantised:
            return name
        scale = self.b.constant(self.scale)
        zero = self.b.constant(self.kind(self.rng.integers(0, 9)))
        q = self.b.add("QuantizeLinear", name, scale, zero)
        return self.b.add("DequantizeLinear", q, scale, zero)

    def parameter(self, *shape: int) -> str:
        if not self.quantised:
            return self.b.weights(*shape)
        values = self.b.constant(self.rng.integers(-127, 128, shape).astype(np.int8))
        scales = self.b.constant(self.rng.uniform(0.002, 0.01, shape[0]).astype(np.float32))
        self.last_scales = self.b.constants[-1]
        zeros = self.b.constant(np.zeros(shape[0], np.int8))
        return self.b.add("DequantizeLinear", values, scales, zeros, axis=0)

    def bias(self, count: int) -> str:
        if not self.quantised:
            return self.b.weights(count)
        scales = np.frombuffer(self.last_scales.raw_data, np.float32) * self.scale
        values = self.b.constant(self.rng.integers(-900, 900, count).astype(np.int32))
        zeros = self.b.constant(np.zeros(count, np.int32))
        return self.b.add("DequantizeLinear", values, self.b.constant(scales), zeros, axis=0)

    def activated(self, name: str) -> str:
        choice = self.rng.integers(3)
        if choice == 0:
            name = self.b.add("Relu", name)
        elif choice == 1 and not self.quantised:
            name = self.b.add("Clip", name, self.b.constant(np.float32(-1)), self.b.constant(np.float32(1.5)))
        return self.rounded(name)

    def layer(self) -> None:
        pick = self.rng.choice(["conv", "groups", "depthwise", "max", "mean", "residual"])
        if pick in ("max", "mean") and self.size >= 4:
            op = "MaxPool" if pick == "max" else "AveragePool"
            self.h = self.rounded(self.b.add(op, self.h, kernel_shape=[2, 2], strides=[2, 2]))
            self.size //= 2
        elif pick == "depthwise":
            kernel = self.parameter(self.channels, 1, 3, 3)
            bias = self.bias(self.channels)
            self.h = self.activated(
                self.b.add("Conv", self.h, kernel, bias, group=self.channels, pads=[1, 1, 1, 1], kernel_shape=[3, 3])
            )
        elif pick == "residual":
            other = self.conv(self.h, self.channels, 3, 1, 1)
            self.h = self.rounded(self.b.add("Add", self.h, self.rounded(other)))
        else:
            self.strided(pick == "groups")

    def strided(self, grouped: bool) -> None:
        groups = self.channels if grouped and self.channels in (2, 3) else 1
        width = groups * int(self.rng.choice([1, 5, 16, 20]))
        stride = int(self.rng.integers(1, 3)) if self.size >= 4 else 1
        self.h = self.activated(self.conv(self.h, width, 3, stride, groups))
        self.size = (self.size + 2 - 3) // stride + 1
        self.channels = width

    def conv(self, name: str, width: int, kernel: int, stride: int, groups: int) -> str:
        weights = self.parameter(width, self.channels // groups, kernel, kernel)
        bias = self.bias(width)
        return self.b.add(
            "Conv", name, weights, bias, group=groups, strides=[stride, stride], pads=[1, 1, 1, 1],
            kernel_shape=[kernel, kernel],
        )  # fmt: skip

    def head(self) -> None:
        flat = self.b.add("Flatten", self.h)
        weights = self.parameter(int(self.rng.integers(2, 7)), self.channels * self.size * self.size)
        shape = self.b.nodes[-1] if self.quantised else None
        count = self.b.constants[-3 if shape is not None else -1].dims[0]
        self.h = self.rounded(self.b.add("Gemm", flat, weights, self.bias(count), transB=1))
        if self.rng.random() < 0.4:
            self.h = self.rounded(self.b.add("Softmax", self.h))

    def image(self, folder: Path) -> Image:
        """Compile it."""
        path = folder / "random.onnx"
        path.write_bytes(model_of(self.b.nodes, self.b.constants, self.shape, self.h).SerializeToString())
        return compile_model(path)

    def inputs(self, count: int, largest: float) -> list[dict[str, np.ndarray]]:
        return [{"x": self.rng.normal(scale=largest, size=self.shape).astype(np.float32)} for _ in range(count)]
