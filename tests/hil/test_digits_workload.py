"""The committed digits files are the ones that were measured, and onnxruntime agrees that they are good."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest

from firmware_bridge.errors import ConfigError
from hil.workloads import digits

KINDS = ("f32", "int8")
IMAGE_SHA256 = "8262571fd0424599c38800ec25f195e1b569e733dac6a863ef859753e34c13f7"
LABEL_SHA256 = "099efa2395740061acef12e60e83d6bf8ad9b16e2aed63355ada76d02534ae06"


@cache
def answers(kind: str) -> np.ndarray:
    """Give the digits that onnxruntime reads in the test pictures."""
    model_path, inputs_path, _ = digits(kind)
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    with np.load(inputs_path) as arrays:
        images = arrays["image"]
    return np.array([session.run(["logits"], {"image": image[None]})[0].argmax() for image in images])


@cache
def labels() -> np.ndarray:
    with np.load(digits().inputs_path) as arrays:
        return arrays["labels"]


def test_the_test_set_is_the_committed_one():
    with np.load(digits().inputs_path) as arrays:
        assert sorted(arrays) == ["image", "labels"]
        image, label = arrays["image"], arrays["labels"]
    assert (image.shape, image.dtype) == ((450, 1, 8, 8), np.float32)
    assert (label.shape, label.dtype) == ((450,), np.int64)
    assert hashlib.sha256(image.tobytes()).hexdigest() == IMAGE_SHA256
    assert hashlib.sha256(label.tobytes()).hexdigest() == LABEL_SHA256


def test_the_test_pictures_are_sixteenths_from_zero_to_one_of_all_classes():
    with np.load(digits().inputs_path) as arrays:
        levels, classes = arrays["image"] * 16, arrays["labels"]
    assert np.array_equal(levels, np.round(levels))
    assert (levels.min(), levels.max()) == (0, 16)
    assert np.bincount(classes, minlength=10).min() >= 40


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_97_percent_are_read_rightly(kind):
    assert np.mean(answers(kind) == labels()) > 0.97


def test_int8_is_within_one_point_of_float():
    shares = [np.mean(answers(kind) == labels()) for kind in KINDS]
    assert abs(shares[0] - shares[1]) <= 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_small_valid_and_has_the_promised_ends(kind):
    path = digits(kind).model_path
    assert path.stat().st_size <= 100_000
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [o.version for o in model.opset_import if not o.domain] == [17]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", [1, 1, 8, 8])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", [1, 10])


def test_the_int8_model_holds_its_weights_as_int8_with_a_scale_per_channel():
    model = onnx.load(digits("int8").model_path)
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for layer, channels in (("conv1", 16), ("conv2", 32), ("conv3", 32), ("dense", 10)):
        assert held[f"{layer}.weight_quantized"].dtype == np.int8
        assert held[f"{layer}.weight_scale"].shape == (channels,)
    assert not [name for name, value in held.items() if value.dtype == np.float32 and value.ndim > 1]


def test_the_models_hold_the_same_weights():
    """Dequantised, the int8 weights are the float ones to half a quantisation step."""
    values = {
        kind: {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(digits(kind).model_path).graph.initializer}
        for kind in KINDS
    }
    for layer in ("conv1", "conv2", "conv3", "dense"):
        wanted = values["f32"][f"{layer}.weight"]
        scale = values["int8"][f"{layer}.weight_scale"].reshape(-1, *[1] * (wanted.ndim - 1))
        error = np.abs(values["int8"][f"{layer}.weight_quantized"] * scale - wanted)
        assert np.all(error <= 0.5001 * scale)


def test_an_unknown_kind_names_the_choices():
    with pytest.raises(ConfigError, match="f32, int8"):
        digits("int4")
