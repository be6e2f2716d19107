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
from node.computer import Computer
from node.model.effects import engine_of
from node.model.steps import Opcode
from tests.onnx_models import reference

ROOT = Path(hil.__file__).parent.parent
MODELS = Path(os.environ.get("FLIGHTNODE_MODELS", ROOT.parent / "shared" / "models"))
WORKLOADS = ROOT / "hil" / "workloads"

FLOAT = (
    "cnn_mnist_ir3_fp32",
    "cnn_triage_fp32",
    "conv1d_lstm_vad_fp32",
    "decoder_gpt354k_fp32",
    "decoder_llama_full_fp32",
    "decoder_llama_step_fp32",
    "dscnn_kws_fp32",
    "gru_telemetry_fp32",
    "lstm_digits_fp32",
    "mlp_ad01_fp32",
    "mobilenet_vww_fp32",
    "resnet8_ic_fp32",
    "unet_opssat_denoise_fp32",
    "unet_opssat_patch_fp32",
)
EXACT = (
    "mlp_ad01_int8",
    "dscnn_kws_int8",
    "mobilenet_vww_int8",
    "cnn_triage_int8",
    "conv1d_wakeword_int8",
)
SPREAD = ("resnet8_ic_int8", "unet_opssat_denoise_int8")


def folder(name: str) -> Path:
    if not (MODELS / name / "model.onnx").exists():
        pytest.skip(f"no {name} in {MODELS}: set FLIGHTNODE_MODELS to a folder of public models")
    return MODELS / name


def compare(name: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Outputs of the node, and the kept ones of onnxruntime without and with optimisations."""
    golden = np.load(folder(name) / "golden.npz")
    shapes = {key[3:]: golden[key].shape for key in golden if key.startswith("in/")}
    image = compile_model(folder(name) / "model.onnx", shapes)
    engine, arena = engine_of(image)
    crew, shared = engine_of(image, 2)
    for one in (engine, crew):
        for spec in image.inputs:
            one.write_input(spec.name, golden[f"in/{spec.name}"].reshape(spec.shape))
        one.run()
    crew.close()
    np.testing.assert_array_equal(shared.u8, arena.u8, "two threads leave the memory as one does")
    kept = [
        [golden[f"{kind}/{spec.name}"].reshape(spec.shape) for kind in ("out", "out_opt")] for spec in image.outputs
    ]
    return [(engine.read_output(spec.name), *both) for spec, both in zip(image.outputs, kept, strict=True)]


@pytest.mark.parametrize("name", FLOAT)
def test_float_models_agree_with_their_golden_outputs(name: str) -> None:
    for got, want, optimised in compare(name):
        spread = 2 * np.abs(want - optimised).max()
        assert (np.abs(got - want) <= np.maximum(spread, 1e-4 * np.abs(want) + 1e-5)).all()


@pytest.mark.parametrize("name", EXACT)
def test_integer_models_agree_with_their_golden_outputs_exactly(name: str) -> None:
    for got, want, _ in compare(name):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", SPREAD)
def test_other_integer_models_differ_no_more_than_the_reference_from_itself(name: str) -> None:
    for got, want, optimised in compare(name):
        np.testing.assert_allclose(got, want, rtol=0, atol=1.001 * np.abs(want - optimised).max())
        if got.ndim == 2:
            assert got.argmax() == want.argmax()


def test_the_decoder_gives_the_same_logits_token_by_token() -> None:
    """The step form keeps its keys and values as state; the full form sees the whole window."""
    full, step = (folder(f"decoder_llama_{form}_fp32") / "model.onnx" for form in ("full", "step"))
    ids = np.load(full.parent / "golden.npz")["in/ids"]
    whole, _ = engine_of(compile_model(full))
    whole.write_input("ids", ids)
    whole.run()
    want = whole.read_output("logits")[0]
    image = compile_model(step, state={"kc_out": "kc", "vc_out": "vc"})
    assert [spec.name for spec in image.inputs] == ["tok", "pos"]
    with Computer(image) as computer:
        for position, token in enumerate(ids[0]):
            got = computer.infer({"tok": np.array([token]), "pos": np.array([position])})["logits"]
            np.testing.assert_allclose(got[0], want[position], rtol=1e-4, atol=1e-4)


def test_the_voice_detector_hears_the_same_window_by_window() -> None:
    """A convolutional network with an LSTM: state from call to call gives what the whole sequence gives."""
    path = folder("conv1d_lstm_vad_fp32") / "model.onnx"
    golden = np.load(path.parent / "golden.npz")
    given = golden["in/input"]
    image = compile_model(path, {"input": (1, 576)}, state={"hn": "h", "cn": "c"})
    with Computer(image) as computer:
        got = [computer.infer({"input": window[None]})["speech_probs"].item() for window in given]
    np.testing.assert_allclose(got, golden["out/speech_probs"], rtol=1e-4, atol=1e-5)


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
