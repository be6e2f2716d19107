"""Products of matrices, as one step of a plan, against numpy's and onnxruntime's: one thread, constant weights."""

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
from benchmarks.public_models import bound
from node.model.effects import engine_of

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


def product(rows: int, weights: np.ndarray) -> onnx.ModelProto:
    """Give a model of one product with constant weights."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, weights.shape[0]])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, weights.shape[1]])
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "product", [given], [result], [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@contextmanager
def against(peer: str, shape: tuple[int, int, int]) -> Iterator[Contest]:
    """Hold the product against that of ``numpy`` (OpenBLAS) or ``onnxruntime``, all operands in place."""
    rows, depth, columns = shape
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(size=size).astype(np.float32) for size in ((rows, depth), (depth, columns)))
    model = product(rows, weights)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        onnx.save(model, path)
        engine, _ = engine_of(hil.compile_model(path))
    engine.write_input("x", x)
    out = np.empty((rows, columns), np.float32)
    theirs: Callable[[], object] = partial(np.matmul, x, weights, out=out)
    theirs()
    engine.run()
    np.testing.assert_allclose(engine.read_output("y"), out, rtol=1e-4, atol=1e-3)
    if peer == "onnxruntime":
        theirs = bound(model.SerializeToString(), {"x": x})
    yield Contest(ours=engine.run, reference=theirs)


def contests() -> dict[str, Callable[[], AbstractContextManager[Contest]]]:
    """Give every shape against every peer, by name."""
    return {
        "-".join((*map(str, shape), peer)): partial(against, peer, shape)
        for shape in SHAPES
        for peer in ("numpy", "onnxruntime")
    }


CONTESTS = contests()


def test_gemm(benchmark, side):
    benchmark(side)
