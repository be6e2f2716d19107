"""The demonstrations: the protected node stays with the undisturbed one, the unprotected one does not."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import hil
from firmware_bridge.errors import DataError
from hil.cli import main
from hil.demos.denoise import Cleaned, DenoiseOptions, Frame, Gallery, denoise, load_pictures, psnr
from hil.demos.denoise_page import write_gallery
from hil.demos.story import StoryOptions, log_shares, write_story
from hil.progress import silent
from hil.report.png import SIGNATURE, png
from node.computer import Computer
from tests.hil.test_public_models import folder
from tests.proof import count
from tests.state_models import save

SIDE = 12
PAIR = ("unprotected", "protected")


# ---- the story ---------------------------------------------------------------------------------------------------


def test_the_protected_node_writes_on_while_the_other_one_raves() -> None:
    story = write_story(StoryOptions(characters=60, strikes=2.0, target="sim"), silent)
    unprotected, protected = story.texts
    assert protected.written == story.undisturbed.written
    assert protected.first_difference == len(protected.written) == 60
    assert protected.corrected > 0.7 * story.strikes > 50
    assert unprotected.first_difference < 60
    assert unprotected.surprise_nats > story.undisturbed.surprise_nats + 2


def test_without_strikes_all_write_the_same_over_a_line_too() -> None:
    story = write_story(StoryOptions(characters=12, strikes=0.0, target="memory"), silent)
    assert {text.written for text in story.texts} == {story.undisturbed.written}
    assert story.strikes == 0


def test_another_seed_is_another_story_and_the_same_seed_is_the_same() -> None:
    first, again, other = (
        write_story(StoryOptions(characters=20, seed=seed, target="sim"), silent) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.undisturbed.written != other.undisturbed.written


def test_logits_that_are_no_numbers_still_choose_something() -> None:
    assert np.exp(log_shares(np.full(5, np.nan, np.float32))).sum() == pytest.approx(1.0)
    assert np.exp(log_shares(np.array([np.inf, 0, -np.inf], np.float32)))[0] == pytest.approx(1.0)


def test_the_story_is_printed_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--workload", "story", "--target", "sim", "--characters", "30", "--strikes", "2"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in PAIR)
    assert "every character as undisturbed" in printed
    assert main(["demo", "--workload", "story", "--target", "sim", "--characters", "5", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["texts"]) == 2


# ---- the denoiser ------------------------------------------------------------------------------------------------


def blur(path: Path) -> Path:
    """Each value as the mean of its 3 x 3 neighbourhood, each colour by itself."""
    weights = np.zeros((3, 3, 3, 3), np.float32)
    weights[range(3), range(3)] = 1 / 9
    node = helper.make_node("Conv", ["noised", "w"], ["clean"], pads=[1, 1, 1, 1])
    return save(path, [node], {"noised": [1, 3, SIDE, SIDE]}, {"clean": [1, 3, SIDE, SIDE]}, w=weights)


def camera(path: Path, **changes: np.ndarray) -> Path:
    rng = np.random.default_rng(3)
    original = np.full((2, SIDE, SIDE, 3), 100, np.uint8)
    noised = np.clip(original + rng.normal(0, 25, original.shape), 0, 255).astype(np.uint8)
    arrays = {"original": original, "noised": noised, "orbit_denoised": original} | changes
    np.savez(path, **{name: values for name, values in arrays.items() if values is not None})
    return path


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    place = tmp_path_factory.mktemp("denoise")
    files = {"model": blur(place / "m.onnx"), "pictures": camera(place / "p.npz")}
    return denoise(DenoiseOptions(**files, strikes=8, seed=7, target="sim"), silent)


def test_pictures_are_what_the_model_makes_of_them(gallery: Gallery) -> None:
    for frame in gallery.frames:
        undisturbed, unprotected, protected = frame.results
        padded = np.pad(frame.noised.astype(float), ((1, 1), (1, 1), (0, 0)))
        mean = sum(padded[i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)) / 9
        np.testing.assert_array_equal(undisturbed.picture, np.rint(mean))
        assert undisturbed.to_original == pytest.approx(psnr(mean, frame.original), abs=1e-3)
        np.testing.assert_array_equal(protected.picture, undisturbed.picture)
        assert protected.corrected > 0
        assert unprotected.corrected == 0
    assert gallery.mean("unprotected", "to_original") < gallery.mean("protected", "to_original")


def test_the_mean_is_that_of_all_pictures_as_one() -> None:
    blank = np.zeros((1, 1, 3), np.uint8)
    frames = [
        Frame(
            original=blank, noised=blank, orbit_denoised=blank,
            results=(Cleaned(name="a", picture=blank, to_original=ratio, to_orbit=ratio),),
        )
        for ratio in (psnr(np.full(3, 3.0), blank), psnr(np.full(3, 4.0), blank))
    ]  # fmt: skip
    both = Gallery(model="m", strikes=0, seed=1, frames=tuple(frames))
    assert both.mean("a", "to_orbit") == pytest.approx(psnr(np.array([3.0, 4.0]), np.zeros(2, np.uint8)))


def test_the_page_holds_all_pictures_and_asks_for_nothing(gallery: Gallery, tmp_path: Path) -> None:
    markup = write_gallery(gallery, tmp_path / "new").read_text()
    assert markup.count("data:image/png;base64,") == 6 * len(gallery.frames)
    assert "http" not in markup
    lost = Cleaned(name="unprotected", picture=None, to_original=0.0, to_orbit=0.0, why="CRASH: <step>")
    first = gallery.frames[0]
    frame = Frame(
        original=first.original, noised=first.noised, orbit_denoised=first.orbit_denoised,
        results=(first.results[0], lost, first.results[2]),
    )  # fmt: skip
    markup = write_gallery(Gallery(model="m", strikes=1, seed=1, frames=(frame,)), tmp_path).read_text()
    assert "no picture: CRASH: &lt;step&gt;" in markup


def test_a_png_holds_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    data = png(picture)
    assert data.startswith(SIGNATURE)
    at, chunks = len(SIGNATURE), {}
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        at += 12 + size
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (7, 5, 8, 2, 0, 0, 0)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(5, 1 + 21)
    assert not lines[:, 0].any()
    np.testing.assert_array_equal(lines[:, 1:].reshape(5, 7, 3), picture)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"noised": None}, "no array 'noised'"),
        ({"original": np.zeros((2, SIDE, SIDE, 3), np.float32)}, "'original' is float32"),
        ({"noised": np.zeros((1, SIDE, SIDE, 3), np.uint8)}, "the arrays differ in shape"),
    ],
)
def test_pictures_of_another_form_are_refused(change: dict, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=complaint):
        load_pictures(camera(tmp_path / "p.npz", **change))


def test_a_model_that_is_none_for_these_pictures_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = np.zeros((2, SIDE // 2, SIDE, 3), np.uint8)
    held = camera(tmp_path / "p.npz", original=small, noised=small, orbit_denoised=small)
    words = ["--model", str(blur(tmp_path / "m.onnx")), "--pictures", str(held), "--target", "sim"]
    assert main(["demo", "--workload", "denoise", *words, "--out", str(tmp_path / "out")]) == 2
    assert "needs one input and one output" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--workload", "denoise"],
        ["--workload", "denoise", "--model", "m.onnx"],
        ["--workload", "denoise", "--model", "m.onnx", "--pictures", "p.npz", "--strikes", "1.5"],
        ["--workload", "denoise", "--trials", "3"],
        ["--workload", "story", "--out", "x"],
        ["--workload", "story", "--characters", "0"],
        ["--workload", "story", "--strikes", "-1"],
        ["--strikes", "3"],
        ["--workload", "denoise", "--model", "gone.onnx", "--pictures", "gone.npz"],
    ],
)
def test_wrong_options_are_refused_before_anything_runs(words: list[str]) -> None:
    assert main(["demo", *words]) == 2


def test_a_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--model", str(blur(tmp_path / "m.onnx")), "--pictures", str(camera(tmp_path / "p.npz"))]
    words = ["demo", "--workload", "denoise", "--target", "sim", *files, "--out", str(tmp_path / "out")]
    assert main([*words, "--strikes", "4", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert Path(said["page"]).exists()
    assert said["psnr_db"]["protected"] == said["psnr_db"]["undisturbed"]


# ---- what was flown ----------------------------------------------------------------------------------------------


def flown(model: Path) -> list[tuple[float, float]]:
    """Ratios to the original and to what came down, for some of the pictures."""
    held = load_pictures(folder("unet_opssat_denoise_fp32") / "inputs.npz")
    ratios = []
    with Computer(hil.compile_model(model)) as computer:
        for number in range(count(1, len(held["noised"]))):
            given = (held["noised"][number].transpose(2, 0, 1)[None] / 255).astype(np.float32)
            (values,) = computer.infer({"input": given}).values()
            levels = 255.0 * values[0].transpose(1, 2, 0).astype(np.float64)
            ratios.append((psnr(levels, held["original"][number]), psnr(levels, held["orbit_denoised"][number])))
    return ratios


FLOWN, FLOWN_INT8 = (f"unet_opssat_denoise_{kind}" for kind in ("fp32", "int8"))


@pytest.mark.proof
def test_the_picture_computed_in_orbit_is_reproduced() -> None:
    """Each is 50 dB or nearer to what the satellite computed; int8 costs less than 0.2 dB on average.

    The one picture of a test run loses 0.05 dB. Of all nine, one loses 0.37 dB with the kept int8 model, in
    onnxruntime too: it has the logits before the last sigmoid in eight bits.
    """
    whole, quantised = (np.array(flown(folder(name) / "model.onnx")) for name in (FLOWN, FLOWN_INT8))
    assert whole[:, 1].min() >= 50.0
    assert whole[:, 0].mean() - quantised[:, 0].mean() < 0.2


@pytest.mark.proof
def test_with_a_float_head_int8_costs_less_than_a_fifth_of_a_decibel_on_every_picture(tmp_path: Path) -> None:
    if not count(0, 1):
        pytest.skip("quantises a model and computes 18 pictures: make prove")
    quantiser = pytest.importorskip("hil.workloads.quantise")
    source, twin = folder(FLOWN) / "model.onnx", tmp_path / "int8.onnx"
    noised = load_pictures(source.parent / "inputs.npz")["noised"][:3]
    samples = {"input": (noised.transpose(0, 3, 1, 2) / 255).astype(np.float32)}
    quantiser.quantise(source, twin, samples, float_head=True)
    whole, quantised = (np.array(flown(model))[:, 0] for model in (source, twin))
    assert len(whole) == 9
    assert (whole - quantised).max() < 0.2
