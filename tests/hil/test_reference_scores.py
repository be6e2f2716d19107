"""The reference scores of the public models, where they are at hand: the node is as good at each task as the oracle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

import hil
from hil.demos.denoise import psnr
from node.computer import Computer
from tests.hil.test_public_models import MODELS, folder
from tests.proof import count

Scores = list[float]

UNSCORED = {
    "resnet8_ic_fp32": "no labelled inputs may be given away",
    "resnet8_ic_int8": "no labelled inputs may be given away",
    "unet_opssat_patch_fp32": "no pictures of its size",
    "decoder_llama_step_fp32": "its score is that it equals the full model: see test_public_models",
    "gru_telemetry_fp32": "the score needs windows with and without anomalies; the kept inputs are all of one kind",
}
"""Models of the manifest without a score that can be repeated, and why."""


@cache
def manifest() -> dict[str, str]:
    """The score of each model, in words."""
    if not (MODELS / "manifest.json").exists():
        pytest.skip(f"no manifest.json in {MODELS}: set FLIGHTNODE_MODELS to a folder of public models")
    return {
        entry["name"]: entry.get("reference_score", "") for entry in json.loads((MODELS / "manifest.json").read_text())
    }


def inputs_of(name: str) -> dict[str, np.ndarray]:
    with np.load(folder(name) / "inputs.npz") as arrays:
        return dict(arrays)


def outputs(name: str, samples: np.ndarray, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """What the node answers first to each sample; ``shape`` is that of an input that is left open."""
    image = hil.compile_model(folder(name) / "model.onnx", {"input": shape} if shape else None)
    with Computer(image) as computer:
        answers = []
        for sample in samples:
            computer.engine.write_input(image.inputs[0].name, sample.reshape(image.inputs[0].shape))
            computer.engine.run()
            answers.append(computer.engine.read_output(image.outputs[0].name))
    return np.stack(answers)


def reconstruction(name: str) -> Scores:
    x = inputs_of(name)["x"]
    return [float(((outputs(name, x)[:, 0] - x) ** 2).mean()), len(x)]


def winners(name: str) -> Scores:
    return outputs(name, inputs_of(name)["x"]).reshape(4, -1).argmax(1).astype(float).tolist()


def right(name: str) -> tuple[int, int]:
    held = inputs_of(name)
    x = held["x"] if "x" in held else (held["x_u8_nhwc"].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    found = outputs(name, x).reshape(len(x), -1).argmax(1)
    return int((found == held["y"]).sum()), len(x)


def ratio(name: str) -> Scores:
    return [float(value) for value in right(name)]


def accuracy(name: str) -> Scores:
    good, of = right(name)
    return [good / of, of]


def wakeword(name: str) -> Scores:
    good, of = right(name)
    return [good / of, good, of]


def voices(name: str) -> Scores:
    x = inputs_of(name)["x"]
    return [float(value) for value in outputs(name, x, x.shape[1:]).max(axis=1)]


def language(name: str) -> Scores:
    held = inputs_of(name)
    logits = outputs(name, held["ids"])[:, 0].astype(np.float64)
    logits -= logits.max(-1, keepdims=True)
    shares = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(shares, held["targets"][..., None], -1)
    return [float(-picked.mean()), float((logits.argmax(-1) == held["targets"]).mean()), len(logits)]


def denoised(name: str) -> Scores:
    """Means over the pictures of the ratios to the original and to what came down, rounded as a picture is."""
    held = inputs_of("unet_opssat_denoise_fp32")
    x = (held["noised"].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    levels = np.rint(255.0 * outputs(name, x)[:, 0].transpose(0, 2, 3, 1))
    return [
        float(np.mean([psnr(each, other) for each, other in zip(levels, held[kind], strict=True)]))
        for kind in ("original", "orbit_denoised")
    ]


SCORED: dict[str, tuple[Callable[[str], Scores], tuple[int, ...]]] = {
    "mlp_ad01_fp32": (reconstruction, (0, 1)),
    "mlp_ad01_int8": (reconstruction, (0, 1)),
    "dscnn_kws_fp32": (winners, (0, 1, 2, 3)),
    "dscnn_kws_int8": (winners, (0, 1, 2, 3)),
    "mobilenet_vww_fp32": (ratio, (0, 1)),
    "mobilenet_vww_int8": (ratio, (0, 1)),
    "conv1d_wakeword_int8": (wakeword, (0, 1, 2)),
    "cnn_triage_fp32": (accuracy, (0, 1)),
    "cnn_triage_int8": (accuracy, (0, 1)),
    "lstm_digits_fp32": (accuracy, (0, 1)),
    "cnn_mnist_ir3_fp32": (ratio, (0, 1)),
    "conv1d_lstm_vad_fp32": (voices, (0, 1, 2, 3)),
    "decoder_llama_full_fp32": (language, (0, 1, 2)),
    "decoder_gpt354k_fp32": (language, (0, 1, 2)),
    "unet_opssat_denoise_fp32": (denoised, (0, 3)),
    "unet_opssat_denoise_int8": (denoised, (0, 3)),
}
"""How each score is measured, and which numbers of its words that gives."""
LONG = {"unet_opssat_denoise_fp32", "unet_opssat_denoise_int8"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.proof) if name in LONG else name for name in SCORED]
)
def test_the_score_is_that_of_the_manifest(name: str) -> None:
    if name in LONG and not count(0, 1):
        pytest.skip("18 pictures of 10 billion products: make prove")
    measure, places = SCORED[name]
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", manifest()[name])]
    wanted = [numbers[place] for place in places]
    np.testing.assert_allclose(measure(name), wanted, rtol=1e-3, atol=2e-3)


def test_every_model_of_the_manifest_is_scored_or_has_a_reason() -> None:
    assert set(manifest()) == set(SCORED) | set(UNSCORED)
