"""Image: one value, one file, and a plain word when the file is not what it was."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import ModelError
from node.model.image import Image, TensorSpec
from node.model.steps import STEP_WORDS, Opcode, Step


def make_image(**changes) -> Image:
    """x [1, 4] through two Relus; the weights region holds two tensors and a gap."""
    spec = TensorSpec(name="x", dtype="float32", shape=(1, 4), offset=128, step=-1, last_step=0)
    out = TensorSpec(name="y", dtype="float32", shape=(1, 4), offset=192, step=1, last_step=2)
    middle = TensorSpec(name="h", dtype="float32", shape=(4,), offset=256, step=0, last_step=1)
    values = {
        "name": "two relus",
        "inputs": (spec,),
        "outputs": (out,),
        "steps": np.stack(
            [
                Step(opcode=Opcode.CLAMP_F32, in_a=128, out=256, in_c=4).row(),
                Step(opcode=Opcode.CLAMP_F32, in_a=256, out=192, in_c=4).row(),
            ]
        ),
        "step_names": ("first", "second"),
        "weights": bytes(range(72)),
        "tensors": (
            TensorSpec(name="w", dtype="int8", shape=(2, 5), offset=0, step=0),
            TensorSpec(name="b", dtype="float32", shape=(2,), offset=64, step=1),
        ),
        "activations": (spec, middle, out),
        "activation_bytes": 192,
    }
    return Image(**(values | changes))


def test_file_gives_the_same_image_back(tmp_path: Path) -> None:
    image = make_image()
    image.save(tmp_path / "m.image")
    again = Image.load(tmp_path / "m.image")
    assert again == image
    assert again.digest == image.digest
    assert hash(again) == hash(image)
    np.testing.assert_array_equal(again.steps, image.steps)
    for name in ("name", "inputs", "outputs", "tensors", "activations", "weights", "step_names", "activation_bytes"):
        assert getattr(again, name) == getattr(image, name)


CHANGES = [
    {"name": "other"},
    {"weights": bytes(72)},
    {"step_names": ("first", "third")},
    {"activation_bytes": 256},
    {"steps": np.zeros((2, STEP_WORDS), np.int64)},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_digest_covers_everything(change: dict) -> None:
    assert make_image(**change).digest != make_image().digest
    assert make_image(**change) != make_image()


def test_an_image_equals_only_images() -> None:
    assert make_image() != "image"


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_damage_to_the_file_is_noticed(data: st.DataObject) -> None:
    whole = make_image().to_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    for damaged in (bytes(flipped), whole[:position], whole + b"x"):
        with pytest.raises(ModelError, match=r"damaged|no flightnode image"):
            Image.from_bytes(damaged)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.image"):
        Image.load(tmp_path / "gone.image")


def test_an_onnx_file_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x08\x12\x04")
    with pytest.raises(ModelError, match="hil compile"):
        Image.load(path)


def test_steps_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_image().steps[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_image().name = "x"  # type: ignore[misc]


def test_a_byte_of_the_weights_belongs_to_a_tensor_or_a_gap() -> None:
    image = make_image()
    found = [image.locate_weight(byte) for byte in (0, 9, 10, 63, 64, 71, 72)]
    assert [spec.name if spec else None for spec in found] == ["w", "w", None, None, "b", "b", None]


def test_a_byte_of_the_activations_belongs_to_what_is_alive_then() -> None:
    image = make_image()

    def names(byte: int) -> list[str | None]:
        specs = (image.locate_activation(byte, step) for step in range(3))
        return [spec.name if spec else None for spec in specs]

    assert names(0) == ["x", None, None]
    assert names(15) == ["x", None, None]
    assert names(16) == [None, None, None]
    assert names(128) == [None, "h", None]
    assert names(64) == [None, None, "y"]


def test_activations_begin_at_the_next_aligned_place() -> None:
    assert make_image().activation_offset == 128
    assert make_image(weights=bytes(64), tensors=(), activation_bytes=256).activation_offset == 64


@pytest.mark.parametrize(
    "change",
    [{"step_names": ("one",)}, {"weights": bytes(64)}, {"activation_bytes": 128}],
    ids=["names", "weights", "activations"],
)
def test_an_image_that_contradicts_itself_is_refused(change: dict) -> None:
    with pytest.raises(ModelError):
        make_image(**change)


@pytest.mark.parametrize("change", [{"dtype": "float64"}, {"shape": (0,)}, {"offset": -4}])
def test_impossible_tensors_are_refused(change: dict) -> None:
    with pytest.raises(ModelError):
        TensorSpec(**({"name": "t", "dtype": "float32", "shape": (1,), "offset": 0} | change))


def test_loading_an_image_needs_neither_onnx_nor_numba(tmp_path: Path) -> None:
    make_image().save(tmp_path / "m.image")
    code = (
        "import sys; from node.model.image import Image; Image.load(sys.argv[1]);"
        "print([name for name in ('onnx', 'numba') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.image")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_image_of_another_version_is_refused_as_that() -> None:
    body = b"FNIMAGE3" + make_image().to_bytes()[8:-32]
    with pytest.raises(ModelError, match="of another version: compile the model again"):
        Image.from_bytes(body + hashlib.sha256(body).digest())


def with_state(initial: bytes) -> Image:
    plain = make_image()
    spec = TensorSpec(name="past", dtype="uint8", shape=(8,), offset=plain.state_offset)
    return make_image(states=(spec,), initial_state=initial)


@pytest.mark.parametrize("initial", [bytes(64), bytes(range(64))])
def test_first_values_of_the_state_come_back(initial: bytes) -> None:
    image = with_state(initial)
    assert Image.from_bytes(image.to_bytes()).initial_state == initial
    assert Image.from_bytes(image.to_bytes()) == image != make_image()


def test_a_model_without_state_has_the_file_that_every_node_reads() -> None:
    assert make_image().to_bytes().startswith(b"FNIMAGE1")
    assert with_state(bytes(64)).to_bytes().startswith(b"FNIMAGE2")


def test_zeros_take_no_room_in_the_file() -> None:
    assert len(with_state(bytes(64)).to_bytes()) + 64 == len(with_state(bytes(63) + b"x").to_bytes())


def test_state_outside_its_region_is_refused() -> None:
    with pytest.raises(ModelError, match="a state lies outside"):
        with_state(bytes(7))
