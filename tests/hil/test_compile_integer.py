"""Quantised models: integers all the way, and the answers of onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from hil.compiler import compile_model
from hil.compiler.lowering import QuantisedConstant
from hil.compiler.wide_weights import integer_weights
from hil.workloads import digits
from node.model.steps import Opcode
from tests.onnx_models import Builder, engine_of, reference, run_image, small_cnn

INTEGER = {
    Opcode.CONV_INT8, Opcode.DEPTHWISE_INT8, Opcode.ADD_INT8, Opcode.MAX_POOL_INT8, Opcode.AVERAGE_POOL_INT8,
    Opcode.REQUANTIZE, Opcode.QUANTIZE, Opcode.DEQUANTIZE, Opcode.TRANSPOSE,
}  # fmt: skip


class Samples(CalibrationDataReader):
    def __init__(self, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(5)
        self.left = [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(8)]

    def get_next(self):
        return self.left.pop() if self.left else None


def quantise(source: Path, shape: tuple[int, ...], kinds: tuple[QuantType, QuantType], per_channel: bool) -> Path:
    target = source.with_suffix(".int8.onnx")
    quantize_static(
        str(source), str(target), Samples(shape), quant_format=QuantFormat.QDQ, per_channel=per_channel,
        activation_type=kinds[0], weight_type=kinds[1],
    )  # fmt: skip
    return target


def quantum(path: Path) -> float:
    """Size of one step of the quantised output."""
    import onnx

    model = onnx.load(str(path))
    scales = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    final = next(node for node in model.graph.node if model.graph.output[0].name in node.output)
    return float(scales[final.input[1]]) if final.op_type == "DequantizeLinear" else 0.0


def check(path: Path, shape: tuple[int, ...]) -> list[int]:
    """At most one quantum apart and the same winner; give the opcodes."""
    image = compile_model(path)
    rng = np.random.default_rng(1)
    step = quantum(path)
    assert step > 0
    for _ in range(5):
        inputs = {"x": rng.normal(size=shape).astype(np.float32)}
        want = reference(path, inputs)
        for name, got in run_image(image, inputs).items():
            assert np.abs(got - want[name]).max() <= step * 1.001
            assert got.argmax() == want[name].argmax()
    return [int(row[0]) for row in image.steps]


SIGNED = (QuantType.QInt8, QuantType.QInt8)
MIXED = (QuantType.QUInt8, QuantType.QInt8)


@pytest.mark.parametrize("kinds", [SIGNED, MIXED], ids=["int8", "uint8 activations"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_small_cnn_computes_in_integers(kinds: tuple, per_channel: bool, tmp_path: Path) -> None:
    path = quantise(small_cnn(tmp_path / "m.onnx"), (1, 1, 8, 8), kinds, per_channel)
    opcodes = check(path, (1, 1, 8, 8))
    assert set(opcodes) <= INTEGER
    assert opcodes.count(Opcode.QUANTIZE) == 1
    assert opcodes.count(Opcode.DEQUANTIZE) == 1


def depthwise_residual(path: Path) -> Path:
    b = Builder(3)
    h = b.add("Relu", b.add("Conv", "x", b.weights(6, 3, 3, 3), b.weights(6), pads=[1, 1, 1, 1], strides=[2, 2]))
    d = b.add("Conv", h, b.weights(6, 1, 3, 3), b.weights(6), group=6, pads=[1, 1, 1, 1])
    h = b.add("Clip", b.add("Add", d, h), b.constant(np.float32(0)), b.constant(np.float32(6)))
    h = b.add("AveragePool", h, kernel_shape=[2, 2], strides=[2, 2])
    h = b.add("Flatten", b.add("Conv", h, b.weights(8, 3, 1, 1), group=2))
    return b.save(path, (1, 3, 12, 12), b.add("Gemm", h, b.weights(5, 72), b.weights(5), transB=1))


def test_depthwise_residual_net_computes_in_integers(tmp_path: Path) -> None:
    path = quantise(depthwise_residual(tmp_path / "m.onnx"), (1, 3, 12, 12), SIGNED, True)
    opcodes = check(path, (1, 3, 12, 12))
    assert set(opcodes) <= INTEGER
    for opcode in (Opcode.DEPTHWISE_INT8, Opcode.ADD_INT8, Opcode.AVERAGE_POOL_INT8):
        assert opcode in opcodes


WIDE = (QuantType.QUInt8, QuantType.QUInt8)


@pytest.mark.parametrize("network", [small_cnn, depthwise_residual])
def test_weights_around_any_zero_point_are_computed_in_integers(network, tmp_path: Path) -> None:
    """Several int8 weights stand for one of nine bits; the answers are those of the reference."""
    source = network(tmp_path / "m.onnx")
    shape = (1, 1, 8, 8) if network is small_cnn else (1, 3, 12, 12)
    path = quantise(source, shape, WIDE, per_channel=False)
    assert set(check(path, shape)) <= {*INTEGER, Opcode.COPY}
    assert any(name.endswith(".repeated") for name in compile_model(path).step_names)


def test_a_wide_weight_is_the_sum_of_some_that_are_not() -> None:
    integers = np.arange(256, dtype=np.uint8).reshape(1, 256)
    for zero in range(256):
        weights = QuantisedConstant("w", integers, np.ones(1, np.float32), np.array([zero], np.uint8), 0)
        values, parts = integer_weights(weights, axis=1)
        assert parts == {0: 3, 128: 1}.get(zero, 2)
        total = values.astype(np.int32).reshape(parts, 256).sum(0)
        np.testing.assert_array_equal(total, integers[0].astype(np.int32) - zero)


def behind_moves(path: Path) -> Path:
    """A normalisation whose parameters are quantised as well, and a matrix that is turned before the product."""
    b = Builder(6)
    h = b.add("LayerNormalization", "x", b.weights(12), b.weights(12), axis=-1)
    h = b.add("MatMul", h, b.add("Transpose", b.weights(7, 12), perm=[1, 0]))
    return b.save(path, (1, 12), h)


@pytest.mark.parametrize("per_channel", [True, False])
def test_constants_behind_their_scales_are_moved_as_integers(per_channel: bool, tmp_path: Path) -> None:
    path = quantise(behind_moves(tmp_path / "m.onnx"), (1, 12), SIGNED, per_channel)
    check(path, (1, 12))
    assert any(spec.dtype == "int8" and spec.shape[-1] >= 7 for spec in compile_model(path).tensors)


def test_volumes_between_scales_are_computed_in_floats(tmp_path: Path) -> None:
    b = Builder(7)
    h = b.add("GlobalAveragePool", b.add("Relu", b.add("Conv", "x", b.weights(4, 2, 3, 3, 3))))
    path = quantise(b.save(tmp_path / "m.onnx", (1, 2, 5, 5, 5), h), (1, 2, 5, 5, 5), SIGNED, False)
    check(path, (1, 2, 5, 5, 5))


def test_mlp_with_separate_biases_computes_in_integers(tmp_path: Path) -> None:
    b = Builder(4)
    h = "x"
    for inputs, outputs in ((12, 20), (20, 20), (20, 6)):
        h = b.add("Add", b.weights(outputs), b.add("MatMul", h, b.weights(inputs, outputs)))
        h = b.add("Relu", h) if outputs == 20 else h
    source = b.save(tmp_path / "m.onnx", (1, 12), h)
    opcodes = check(quantise(source, (1, 12), SIGNED, False), (1, 12))
    assert set(opcodes) <= INTEGER
    assert opcodes.count(Opcode.ADD_INT8) == 3


def test_weights_lie_in_memory_as_int8_and_biases_as_int32(tmp_path: Path) -> None:
    path = quantise(small_cnn(tmp_path / "m.onnx"), (1, 1, 8, 8), SIGNED, True)
    image = compile_model(path)
    kinds = {spec.name: spec.dtype for spec in image.tensors}
    assert sorted(kind for name, kind in kinds.items() if "multiplier" in name) == 3 * ["float32"]
    assert sum(kind == "int8" for kind in kinds.values()) == 3
    assert sum(kind == "int32" for kind in kinds.values()) == 3
    large = max(image.tensors, key=lambda spec: spec.size_bytes)
    assert large.dtype == "int8"


def test_a_flip_in_an_int8_weight_moves_one_channel_by_whole_products(tmp_path: Path) -> None:
    image = compile_model(quantise(small_cnn(tmp_path / "m.onnx"), (1, 1, 8, 8), SIGNED, True))
    engine, arena = engine_of(image)
    x = np.random.default_rng(1).normal(size=(1, 1, 8, 8)).astype(np.float32)
    engine.write_input("x", x)
    engine.run()
    (golden,) = engine.read_outputs().values()
    last = [spec for spec in image.tensors if spec.dtype == "int8"][-1]
    channel = 4
    for k in range(last.shape[1]):
        arena.u8[last.offset + 16 * k + channel] ^= 0x40
    engine.write_input("x", x)
    engine.run()
    (struck,) = engine.read_outputs().values()
    assert np.flatnonzero(struck[0] != golden[0]).tolist() == [channel]


def quantised_by_hand(middle: str, path: Path) -> Path:
    """x, quantised, through one operator, quantised with other numbers."""
    b = Builder(1)
    scale, zero = b.constant(np.float32(0.02)), b.constant(np.int8(3))
    other, other_zero = b.constant(np.float32(0.03)), b.constant(np.uint8(100))
    h = b.add("DequantizeLinear", b.add("QuantizeLinear", "x", scale, zero), scale, zero)
    h = {
        "relu": lambda: b.add("Relu", h),
        "max": lambda: b.add("MaxPool", h, kernel_shape=[2, 2]),
        "softmax": lambda: b.add("Softmax", h, axis=-1),
        "reshape": lambda: b.add("Flatten", h),
        "twice": lambda: b.add("Add", h, h),
        "nothing": lambda: h,
    }[middle]()
    h = b.add("DequantizeLinear", b.add("QuantizeLinear", h, other, other_zero), other, other_zero)
    return b.save(path, (1, 2, 6, 6), h)


@pytest.mark.parametrize("middle", ["relu", "max", "softmax", "reshape", "twice", "nothing"])
def test_single_operators_between_scales(middle: str, tmp_path: Path) -> None:
    path = quantised_by_hand(middle, tmp_path / "m.onnx")
    image = compile_model(path)
    opcodes = {int(row[0]) for row in image.steps}
    assert (opcodes <= INTEGER) == (middle != "softmax")
    inputs = {"x": np.random.default_rng(2).normal(size=(1, 2, 6, 6)).astype(np.float32)}
    for name, want in reference(path, inputs).items():
        assert np.abs(run_image(image, inputs)[name] - want).max() <= 0.03001


def test_quantised_output_can_be_read_as_integers(tmp_path: Path) -> None:
    import onnx

    path = quantised_by_hand("relu", tmp_path / "m.onnx")
    model = onnx.load(str(path))
    integers = model.graph.node[-1].input[0]
    del model.graph.node[-1]
    model.graph.output[0].name = integers
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    onnx.save(model, str(path))
    inputs = {"x": np.random.default_rng(2).normal(size=(1, 2, 6, 6)).astype(np.float32)}
    got = run_image(compile_model(path), inputs)[integers]
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, reference(path, inputs)[integers])


def test_activations_may_be_quantised_per_channel(tmp_path: Path) -> None:
    b = Builder()
    scale = b.constant(np.array([0.1, 0.5], np.float32))
    zero = b.constant(np.array([3, -4], np.int8))
    h = b.add("QuantizeLinear", "x", scale, zero, axis=1)
    path = b.save(tmp_path / "m.onnx", (1, 2, 3, 3), b.add("DequantizeLinear", h, scale, zero, axis=1))
    x = np.random.default_rng(0).normal(scale=9.0, size=(1, 2, 3, 3)).astype(np.float32)
    (got,) = run_image(compile_model(path), {"x": x}).values()
    (want,) = reference(path, {"x": x}).values()
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_parameters_have_the_names_of_the_model() -> None:
    """A report names the tensor that was struck; what stands between it and its operator is no name for it."""
    path = digits("int8").model_path
    held = {tensor.name for tensor in onnx.load(path).graph.initializer}
    names = {spec.name for spec in compile_model(path).tensors}
    assert {"conv1.weight_quantized", "dense.weight_quantized"} <= held & names
    assert not any("DequantizeLinear" in name for name in names)
