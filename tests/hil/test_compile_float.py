"""Float models, compiled and run, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hil.compiler import compile_model
from hil.compiler.lower_recurrent import MOMENTS
from node.model.steps import Opcode
from tests.onnx_models import Builder, engine_of, reference, relative_error, run_image, small_cnn

Build = Callable[[Builder], str]


def check(path: Path, shape: tuple[int, ...], tolerance: float = 1e-5) -> list[int]:
    """Compare three random inputs; give the opcodes of the image."""
    image = compile_model(path)
    rng = np.random.default_rng(1)
    for _ in range(3):
        inputs = {"x": rng.normal(size=shape).astype(np.float32)}
        want = reference(path, inputs)
        for name, got in run_image(image, inputs).items():
            assert relative_error(got, want[name]) < tolerance
    return [int(row[0]) for row in image.steps]


def test_small_cnn_needs_one_step_an_operator(tmp_path: Path) -> None:
    opcodes = check(small_cnn(tmp_path / "m.onnx"), (1, 1, 8, 8))
    conv, pool, average = Opcode.CONV_F32, Opcode.MAX_POOL_F32, Opcode.AVERAGE_POOL_F32
    assert opcodes == [conv, pool, conv, average, conv]


CONVOLUTIONS = {
    "strided, uneven padding": ((1, 3, 9, 7), (5, 3, 3, 2), {"strides": [2, 1], "pads": [1, 0, 2, 1]}),
    "dilated": ((1, 2, 9, 9), (4, 2, 3, 3), {"dilations": [2, 3], "pads": [2, 3, 2, 3]}),
    "same upper": ((1, 2, 8, 7), (4, 2, 4, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ((1, 2, 8, 7), (4, 2, 4, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "valid": ((1, 2, 8, 7), (4, 2, 3, 3), {"auto_pad": "VALID"}),
    "grouped": ((1, 6, 5, 5), (9, 2, 3, 3), {"group": 3}),
    "depthwise": ((1, 6, 5, 5), (6, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "depthwise, two filters a channel": ((1, 4, 5, 5), (8, 1, 3, 3), {"group": 4}),
    "1 x 1": ((1, 20, 5, 5), (18, 20, 1, 1), {}),
    "1 x 1 strided": ((1, 5, 6, 6), (18, 5, 1, 1), {"strides": [2, 2]}),
    "sequence": ((1, 4, 30), (6, 4, 5), {"strides": [2], "pads": [2, 1]}),
    "sequence, depthwise": ((1, 4, 30), (4, 1, 5), {"group": 4, "dilations": [3]}),
    "whole picture": ((1, 3, 4, 4), (7, 3, 4, 4), {}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_convolutions(case: str, bias: bool, tmp_path: Path) -> None:
    shape, weights, attributes = CONVOLUTIONS[case]
    b = Builder()
    operands = ["x", b.weights(*weights)] + ([b.weights(weights[0])] if bias else [])
    check(b.save(tmp_path / "m.onnx", shape, b.add("Conv", *operands, **attributes)), shape)


POOLS = {
    "max": ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}),
    "max, rounded up": ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
    "max, dilated": ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}),
    "average": ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 2], "pads": [1, 1, 0, 1]}),
    "average with padding": (
        "AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}
    ),
    "average, same": ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "global": ("GlobalAveragePool", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", POOLS)
def test_pools(case: str, tmp_path: Path) -> None:
    op, attributes = POOLS[case]
    b = Builder()
    check(b.save(tmp_path / "m.onnx", (1, 3, 8, 7), b.add(op, "x", **attributes), 19), (1, 3, 8, 7))


def residual(b: Builder) -> str:
    h = b.add("Relu", b.add("Conv", "x", b.weights(4, 3, 3, 3), pads=[1, 1, 1, 1]))
    return b.add("Relu", b.add("Add", b.add("Conv", h, b.weights(4, 4, 3, 3), pads=[1, 1, 1, 1]), h))


def normalised(b: Builder) -> str:
    h = b.add("Conv", "x", b.weights(5, 3, 3, 3), b.weights(5))
    return b.add("Relu", batch_norm(b, h, 5))


def batch_norm(b: Builder, x: str, channels: int) -> str:
    variance = b.constant(np.abs(b.rng.normal(size=channels)).astype(np.float32) + 0.5)
    return b.add("BatchNormalization", x, b.weights(channels), b.weights(channels), b.weights(channels), variance)


def through_flatten(b: Builder) -> str:
    h = b.add("Flatten", b.add("Conv", "x", b.weights(4, 3, 3, 3)))
    return b.add("Gemm", h, b.weights(144, 7), b.weights(7), alpha=0.5, beta=2.0)


def channel_constants(b: Builder) -> str:
    h = b.add("Add", b.add("Conv", "x", b.weights(4, 3, 1, 1)), b.weights(1, 4, 1, 1))
    h = b.add("Add", b.constant(np.float32(0.25)), h)
    return b.add("Add", h, b.weights(4, 8, 8))


def order_changes(b: Builder) -> str:
    h = b.add("Transpose", b.add("Conv", "x", b.weights(4, 3, 1, 1)), perm=[0, 2, 3, 1])
    h = b.add("Reshape", h, b.constant(np.array([0, -1, 4], np.int64)))
    h = b.add("Transpose", b.add("MatMul", h, b.weights(4, 6)), perm=[0, 2, 1])
    return b.add("Softmax", b.add("Squeeze", h, b.constant(np.array([0], np.int64))), axis=-1)


def clips(b: Builder) -> str:
    h = b.add(
        "Clip", b.add("Conv", "x", b.weights(4, 3, 1, 1)), b.constant(np.float32(-0.1)), b.constant(np.float32(0.3))
    )
    return b.add("Clip", b.add("Relu", b.add("MaxPool", h, kernel_shape=[2, 2])), "", b.constant(np.float32(0.2)))


def odds_and_ends(b: Builder) -> str:
    h = b.add("Identity", b.add("Dropout", b.add("Relu", "x")))
    shape = b.add("Concat", b.add("Shape", h), b.constant(np.array([1], np.int64)), axis=0)
    h = b.add("Unsqueeze", b.add("Reshape", h, shape), b.constant(np.array([0], np.int64)))
    return b.add("Identity", b.add("Squeeze", h, b.constant(np.array([0, 5], np.int64))))


GRAPHS: dict[str, Build] = {
    "residual": residual,
    "normalised": normalised,
    "normalised input": lambda b: batch_norm(b, "x", 3),
    "flatten after channels": through_flatten,
    "constants": channel_constants,
    "order": order_changes,
    "clips": clips,
    "odds and ends": odds_and_ends,
}


@pytest.mark.parametrize("case", GRAPHS)
def test_graphs(case: str, tmp_path: Path) -> None:
    b = Builder()
    output = GRAPHS[case](b)
    check(b.save(tmp_path / "m.onnx", (1, 3, 8, 8), output), (1, 3, 8, 8))


def test_batch_normalization_costs_no_step_after_a_convolution(tmp_path: Path) -> None:
    b = Builder()
    image = compile_model(b.save(tmp_path / "m.onnx", (1, 3, 8, 8), normalised(b)))
    assert [row[0] for row in image.steps] == [Opcode.TRANSPOSE, Opcode.CONV_F32, Opcode.TRANSPOSE]


def test_open_batch_becomes_one_and_other_open_sizes_are_asked_for(tmp_path: Path) -> None:
    b = Builder()
    h = b.add("Relu", b.add("Conv", "x", b.weights(4, 1, 3, 3)))
    path = b.save(tmp_path / "m.onnx", ("N", 1, "H", 9), h)
    image = compile_model(path, {"x": (1, 1, 7, 9)})
    assert image.inputs[0].shape == (1, 1, 7, 9)
    assert image.outputs[0].shape == (1, 4, 5, 7)


def test_values_that_faults_make_flow_through(tmp_path: Path) -> None:
    image = compile_model(small_cnn(tmp_path / "m.onnx"))
    x = np.zeros((1, 1, 8, 8), np.float32)
    x[0, 0, 3, 3] = np.nan
    (output,) = run_image(image, {"x": x}).values()
    assert np.isnan(output).all()


def test_same_input_gives_the_same_bits_step_by_step_and_at_once(tmp_path: Path) -> None:
    image = compile_model(small_cnn(tmp_path / "m.onnx"))
    x = np.random.default_rng(2).normal(size=(1, 1, 8, 8)).astype(np.float32)
    first, _ = engine_of(image)
    first.write_input("x", x)
    first.run()
    second, _ = engine_of(image)
    second.write_input("x", x[0])
    for step in range(second.n_steps):
        second.run_step(step)
    for name, values in first.read_outputs().items():
        assert values.tobytes() == second.read_output(name).tobytes()


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize("way", ["forward", "reverse", "bidirectional"])
def test_recurrent_sequences_go_on_from_step_to_step(op: str, way: str, tmp_path: Path) -> None:
    """Three steps of moments, the last one shorter, for two samples at once."""
    length, gates, directions = 2 * MOMENTS + 3, {"LSTM": 4, "GRU": 3}[op], 2 if way == "bidirectional" else 1
    b = Builder(4)
    parameters = [b.weights(directions, gates * 5, size) for size in (3, 5)] + [b.weights(directions, gates * 10)]
    more = {"linear_before_reset": int(way == "reverse")} if op == "GRU" else {}
    path = b.save(
        tmp_path / "m.onnx", (length, 2, 3), b.add(op, "x", *parameters, hidden_size=5, direction=way, **more)
    )
    image = compile_model(path)
    assert sum(int(row[0]) == Opcode[op] for row in image.steps) == 3 * directions
    check(path, (length, 2, 3))
