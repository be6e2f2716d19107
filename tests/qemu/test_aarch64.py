"""Integers come out the same on the processors of the boards: `make test-aarch64` sets up what runs their programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hil
from firmware_bridge.errors import ConfigError
from hil.boards.qemu.kernels import FEATURES, GuestPython
from hil.boards.qemu.userland import find_userland
from hil.workloads import cloud_mask, digits
from node.ecc import CODES
from node.model.image import Image
from tests.random_networks import Network

BOARD_SIDE = Path(__file__).with_name("board_side.py")
ROOT = Path(__file__).parents[2]
MODELS = Path(os.environ.get("FLIGHTNODE_MODELS", ROOT.parent / "shared" / "models"))
PUBLIC = ("dscnn_kws_int8", "resnet8_ic_int8", "conv1d_wakeword_int8")
SAMPLES = 3
A72, A76 = FEATURES

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def interpreters() -> dict[str, GuestPython]:
    if os.environ.get("FLIGHTNODE_QEMU") != "1":
        pytest.skip("takes minutes: `make test-aarch64` runs it")
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("qemu-aarch64-static is not here: apt-get install qemu-user-static")
    try:
        userland = find_userland()
    except ConfigError as missing:
        pytest.skip(str(missing))
    return {processor: userland.interpreter(processor) for processor in FEATURES}


def put(folder: Path, name: str, image: Image, arrays: dict[str, np.ndarray] | None = None) -> None:
    """Lay an image and a few inputs into a folder; random ones where none are given."""
    rng = np.random.default_rng(11)
    shaped = {}
    for spec in image.inputs:
        if arrays is not None:
            values = arrays[spec.name][:SAMPLES]
        elif spec.dtype == "float32":
            values = rng.standard_normal((SAMPLES, *spec.shape))
        else:
            limits = np.iinfo(spec.dtype)
            values = rng.integers(limits.min, limits.max, (SAMPLES, *spec.shape), endpoint=True)
        shaped[spec.name] = np.ascontiguousarray(values, spec.dtype).reshape(SAMPLES, *spec.shape)
    image.save(folder / f"{name}.img")
    np.savez(folder / f"{name}.npz", **shaped)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Integer models with real inputs, and those of MLPerf Tiny where they are at hand."""
    folder = tmp_path_factory.mktemp("models")
    for name, files in (("digits", digits("int8")), ("cloud_mask", cloud_mask("int8"))):
        with np.load(files.inputs_path) as held:
            put(folder, name, hil.compile_model(files.model_path), dict(held))
    for name in PUBLIC:
        if (path := MODELS / name / "model.onnx").exists():
            put(folder, name, hil.compile_model(path))
    return folder


@pytest.fixture(scope="module")
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models whose every operator faults are brought through."""
    folder = tmp_path_factory.mktemp("small")
    with np.load(digits("int8").inputs_path) as held:
        put(folder, "digits", hil.compile_model(digits("int8").model_path), dict(held))
    for seed in range(6):
        put(folder, f"random_{seed}", Network(seed, quantised=True).image(folder))
    return folder


def here(*arguments: str | Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, BOARD_SIDE, *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("processor", [A72, A76])
def test_integer_models_give_the_same_bytes(interpreters, models: Path, processor: str) -> None:
    wanted = here("outputs", models)
    assert len(set(wanted.splitlines())) >= 2 * SAMPLES
    assert interpreters[processor].run([BOARD_SIDE, "outputs", models], "running models") == wanted


def test_codes_give_the_same_check_bytes(interpreters) -> None:
    wanted = here("codes", *CODES)
    assert "corrected=" in wanted
    assert interpreters[A72].run([BOARD_SIDE, "codes", *CODES], "encoding") == wanted


def test_the_exact_engine_finds_the_same_effects(interpreters, small_models: Path) -> None:
    wanted = here("effects", small_models)
    assert "01" in wanted
    assert interpreters[A72].run([BOARD_SIDE, "effects", small_models], "judging faults") == wanted
