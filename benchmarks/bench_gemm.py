"""Products of matrices, as one step of a plan, against numpy's and onnxruntime's: one thread, constant weights.

Floats, and bytes with int32 sums as quantised networks have them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import hil
from benchmarks.contest import Contest
from benchmarks.public_models import bound, session
from node.model.effects import engine_of
from node.model.engine import Engine

SHAPES = (
    (64, 64, 64),
    (128, 128, 128),
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (64, 256, 256),
    (64, 1024, 1024),
    (1024, 144, 32),
    (256, 288, 64),
)
"""Rows, products of a sum, columns; the last two are convolutions of 3 x 3 with 16 and 32 channels."""

INT8_SHAPES = ((1, 64, 64), (1, 256, 256), (1, 512, 512), (64, 64, 64), *SHAPES[1:5], *SHAPES[-2:])
"""The same in integers, with products of a single row."""


def product(rows: int, weights: np.ndarray) -> onnx.ModelProto:
    """Give a model of one product with constant weights."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, weights.shape[0]])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, weights.shape[1]])
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "product", [given], [result], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def compiled(model: onnx.ModelProto) -> Engine:
    """Give an engine that runs a model."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        onnx.save(model, path)
        return engine_of(hil.compile_model(path))[0]


@contextmanager
def against(peer: str, shape: tuple[int, int, int]) -> Iterator[Contest]:
    """Hold the product against that of ``numpy`` (OpenBLAS) or ``onnxruntime``, all operands in place."""
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(size=size).astype(np.float32) for size in ((rows, depth), (depth, columns)))
    model = product(rows, weights)
    engine = compiled(model)
    engine.write_input("x", x)
    out = np.empty((rows, columns), np.float32)
    theirs: Callable[[], object] = partial(np.matmul, x, weights, out=out)
    theirs()
    engine.run()
    np.testing.assert_allclose(engine.read_output("y"), out, rtol=1e-4, atol=1e-3)
    if peer == "onnxruntime":
        theirs = bound(model.SerializeToString(), {"x": x})
    yield Contest(ours=engine.run, reference=theirs)


def int8_product(rows: int, weights: np.ndarray) -> onnx.ModelProto:
    """Give a model of one product of uint8 with constant weights in int8, quantised again to uint8."""
    given = helper.make_tensor_value_info("x", TensorProto.UINT8, [rows, weights.shape[0]])
    result = helper.make_tensor_value_info("y", TensorProto.UINT8, [rows, weights.shape[1]])
    constants = {"w": weights, "zero": np.uint8(128), "none": np.int8(0)}
    constants |= {"scale": np.float32(0.02), "out_scale": np.float32(0.02 * np.sqrt(weights.shape[0]))}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["reals"]),
        helper.make_node("DequantizeLinear", ["w", "scale", "none"], ["factors"]),
        helper.make_node("MatMul", ["reals", "factors"], ["sums"], name="product"),
        helper.make_node("QuantizeLinear", ["sums", "out_scale", "zero"], ["y"]),
    ]
    held = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "product", [given], [result], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@contextmanager
def in_integers(shape: tuple[int, int, int]) -> Iterator[Contest]:
    """Hold the product of bytes against that of onnxruntime, all operands in place."""
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (rows, depth), dtype=np.uint8)
    model = int8_product(rows, rng.integers(-128, 128, (depth, columns), dtype=np.int8))
    engine = compiled(model)
    engine.write_input("x", x)
    engine.run()
    given, wanted = engine.read_output("y"), session(model.SerializeToString()).run(None, {"x": x})[0]
    assert np.abs(given.astype(int) - wanted).max() <= 1, "half a step may be rounded either way"
    yield Contest(ours=engine.run, reference=bound(model.SerializeToString(), {"x": x}))


def contests() -> dict[str, Callable[[], AbstractContextManager[Contest]]]:
    """Give every shape against every peer, by name."""
    floats = {
        "-".join((*map(str, shape), peer)): partial(against, peer, shape)
        for shape in SHAPES
        for peer in ("numpy", "onnxruntime")
    }
    return floats | {"-".join((*map(str, shape), "int8")): partial(in_integers, shape) for shape in INT8_SHAPES}


CONTESTS = contests()


def test_gemm(benchmark, side):
    benchmark(side)
