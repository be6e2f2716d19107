"""Public models, where they are at hand: real networks with real or random inputs and kept reference outputs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import hil
from hil.compiler import compile_model
from node.model.steps import Opcode
from tests.onnx_models import engine_of, reference, relative_error

ROOT = Path(hil.__file__).parent.parent
MODELS = Path(os.environ.get("FLIGHTNODE_MODELS", ROOT.parent / "shared" / "models"))
WORKLOADS = ROOT / "hil" / "workloads"

FLOAT = (
    "mlp_ad01_fp32",
    "dscnn_kws_fp32",
    "resnet8_ic_fp32",
    "mobilenet_vww_fp32",
    "cnn_triage_fp32",
    "cnn_mnist_ir3_fp32",
)
EXACT = (
    "mlp_ad01_int8",
    "dscnn_kws_int8",
    "mobilenet_vww_int8",
    "cnn_triage_int8",
    "conv1d_wakeword_int8",
)


def folder(name: str) -> Path:
    if not (MODELS / name / "model.onnx").exists():
        pytest.skip(f"no {name} in {MODELS}: set FLIGHTNODE_MODELS to a folder of public models")
    return MODELS / name


def compare(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs of the node and the kept ones of onnxruntime without optimisations."""
    image = compile_model(folder(name) / "model.onnx")
    golden = np.load(folder(name) / "golden.npz")
    engine, _ = engine_of(image)
    for spec in image.inputs:
        engine.write_input(spec.name, golden[f"in/{spec.name}"].reshape(spec.shape))
    engine.run()
    return [(engine.read_output(spec.name), golden[f"out/{spec.name}"].reshape(spec.shape)) for spec in image.outputs]


@pytest.mark.parametrize("name", FLOAT)
def test_float_models_agree_with_their_golden_outputs(name: str) -> None:
    for got, want in compare(name):
        assert relative_error(got, want) < 1e-4
        assert got.argmax() == want.argmax()


@pytest.mark.parametrize("name", EXACT)
def test_integer_models_agree_with_their_golden_outputs_exactly(name: str) -> None:
    for got, want in compare(name):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=0)


def test_the_residual_integer_model_is_at_most_one_step_away() -> None:
    for got, want in compare("resnet8_ic_int8"):
        np.testing.assert_allclose(got, want, rtol=0, atol=1 / 256)
        assert got.argmax() == want.argmax()


def quantum(name: str) -> float:
    """One step of the logits, or what float sums in another order may differ by."""
    model = onnx.load(str(WORKLOADS / f"{name}.onnx"))
    scales = [numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "logits_scale"]
    return float(scales[0]) if scales else 1e-4


@pytest.mark.parametrize("name", ["digits_f32", "digits_int8"])
def test_the_digits_models_answer_as_the_reference_does(name: str) -> None:
    path = WORKLOADS / f"{name}.onnx"
    engine, _ = engine_of(compile_model(path))
    images = next(iter(np.load(WORKLOADS / "digits_test.npz").values()))[:40].reshape(40, 1, 1, 8, 8)
    for picture in images.astype(np.float32):
        want = reference(path, {"image": picture})["logits"]
        engine.write_input("image", picture)
        engine.run()
        got = engine.read_output("logits")
        np.testing.assert_allclose(got, want, rtol=0, atol=1.001 * quantum(name))
        assert got.argmax() == want.argmax()


def test_the_digits_model_computes_in_integers_between_its_ends() -> None:
    opcodes = [int(row[0]) for row in compile_model(WORKLOADS / "digits_int8.onnx").steps]
    assert opcodes[0] == Opcode.QUANTIZE
    assert opcodes[-1] == Opcode.DEQUANTIZE
    assert all(opcode >= Opcode.CONV_INT8 for opcode in opcodes[1:-1])
