"""What `hil init` writes runs as it is, and nothing is written over or after an error."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError, DataError, ModelError, UsageError
from hil.boards.bench_file import load_bench, resolve_target
from hil.campaign.configuration import load_campaign
from hil.campaign.workload import load_workload
from hil.scaffold import CAMPAIGN_FILE, OwnModel, write_example, write_for_model
from hil.workloads import digits
from tests.onnx_models import Builder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a model, eight samples and their labels."""
    folder = tmp_path / "source"
    folder.mkdir()
    files = digits("f32")
    held = np.load(files.inputs_path)
    shutil.copyfile(files.model_path, folder / "m.onnx")
    np.savez(folder / "x.npz", image=held["image"][:8])
    np.save(folder / "y.npy", held["labels"][:8])
    return folder


def own(source: Path, **changes: object) -> OwnModel:
    values = {"model": source / "m.onnx", "inputs": source / "x.npz", "module_folder": source}
    return OwnModel(**(values | changes))  # type: ignore[arg-type]


def test_the_example_holds_what_it_promises(tmp_path: Path) -> None:
    written = write_example(tmp_path / "new/folder")
    assert [path.name for path in written] == ["campaign.toml", "bench.toml"]
    campaign = load_campaign(written[0])
    listed = [entry for entry in campaign.protections if entry.control in ("", "none")]
    codes = {entry.protection.code for entry in listed}
    assert len(listed) >= 6
    assert codes == {"none", "parity", "hsiao_72_64", "tmr"}
    assert any(entry.protection.checkpoint_period and entry.temperature_c for entry in listed)
    assert {entry.control for entry in campaign.protections} == {"", "none", "null", "oracle", "restore"}
    assert campaign.campaign.trials >= 1000
    assert campaign.heat is not None
    bench = load_bench(written[1])
    assert resolve_target("bench:pty", [written[1].parent]) == "pty"
    assert set(bench) >= {"sim", "pty"}


def test_the_commented_parts_of_the_examples_are_valid_too(tmp_path: Path) -> None:
    campaign, bench = write_example(tmp_path)
    text = campaign.read_text().replace("# [rate]", "[rate]")
    for key in ("low", "best", "high"):
        text = text.replace(f"# {key} =", f"{key} =")
    campaign.write_text(text)
    assert load_campaign(campaign).rate is not None
    lines = bench.read_text().split("\n")
    bench.write_text("\n".join(line.removeprefix("# ") if " = " in line or "[[" in line else line for line in lines))
    assert set(load_bench(bench)) == {"sim", "pty", "pi4", "nervous", "pi5", "rack", "guest"}


@pytest.mark.parametrize("name", ["campaign.toml", "bench.toml"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match=rf"{name}: exists and is not overwritten"):
        write_example(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file; give the name of a directory"):
        write_example(tmp_path / "file")


def test_a_campaign_for_a_model_of_ones_own(source: Path, tmp_path: Path) -> None:
    directory = tmp_path / 'my "model"'
    written = write_for_model(directory, own(source, labels=source / "y.npy", critical="labels"))
    assert [path.name for path in written] == ["campaign.toml", "bench.toml", "model.onnx", "inputs.npz", "labels.npy"]
    shutil.rmtree(source)
    campaign = load_campaign(directory / CAMPAIGN_FILE)
    assert campaign.campaign.name == 'my "model"'
    assert campaign.workload.critical == "labels"
    assert len({entry.protection.code for entry in campaign.protections}) >= 5
    workload = load_workload(campaign)
    assert workload.n_inputs == 8
    assert workload.labels is not None
    assert "#" in (directory / CAMPAIGN_FILE).read_text()


def test_a_tolerance_and_a_predicate_arrive(source: Path, tmp_path: Path) -> None:
    write_for_model(tmp_path / "a", own(source, critical="tolerance", tolerance=0.25))
    assert load_campaign(tmp_path / "a" / CAMPAIGN_FILE).workload.tolerance == 0.25
    (source / "rule.py").write_text("def harm(golden, delivered, index):\n    return True\n")
    write_for_model(tmp_path / "b", own(source, critical="rule:harm"))
    assert (tmp_path / "b/rule.py").exists()
    assert tomllib.loads((tmp_path / "b" / CAMPAIGN_FILE).read_text())["workload"]["critical"] == "rule:harm"


def truncated(source: Path) -> OwnModel:
    (source / "cut.onnx").write_bytes((source / "m.onnx").read_bytes()[:2000])
    return own(source, model=source / "cut.onnx")


def inputs_of(change: Callable[[np.ndarray], dict[str, np.ndarray]]) -> Callable[[Path], OwnModel]:
    def make(source: Path) -> OwnModel:
        np.savez(source / "bad.npz", **change(np.load(source / "x.npz")["image"]))
        return own(source, inputs=source / "bad.npz")

    return make


def labels_of(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], OwnModel]:
    def make(source: Path) -> OwnModel:
        np.save(source / "bad.npy", change(np.load(source / "y.npy")))
        return own(source, labels=source / "bad.npy", critical="labels")

    return make


def junk(source: Path) -> OwnModel:
    (source / "junk.npz").write_bytes(b"hello")
    return own(source, inputs=source / "junk.npz")


MISTAKES: dict[str, tuple[Callable[[Path], OwnModel], type[UsageError], str]] = {
    "truncated model": (truncated, ModelError, r"cut\.onnx"),
    "missing model": (lambda source: own(source, model=source / "no.onnx"), ConfigError, r"no\.onnx: no such file"),
    "model of another kind": (lambda source: own(source, model=source / "x.npz"), ConfigError, r"\.onnx"),
    "missing inputs": (lambda source: own(source, inputs=source / "no.npz"), ConfigError, r"no\.npz: no such file"),
    "inputs that are no archive": (junk, DataError, r"junk\.npz: not an \.npz archive"),
    "inputs of another name": (inputs_of(lambda image: {"picture": image}), DataError, r"bad\.npz.*'image'.*picture"),
    "inputs of another dtype": (
        inputs_of(lambda image: {"image": image.astype(np.float64)}),
        DataError,
        r"bad\.npz.*float64, the model takes float32",
    ),
    "inputs of another shape": (
        inputs_of(lambda image: {"image": image[..., :4]}),
        DataError,
        r"bad\.npz.*8, 1, 8, 4",
    ),
    "no samples": (inputs_of(lambda image: {"image": image[:0]}), DataError, r"bad\.npz.*at least 1"),
    "too few labels": (labels_of(lambda labels: labels[:-1]), DataError, "7 for 8 samples"),
    "labels that are no integers": (labels_of(lambda labels: labels * 0.5), DataError, r"bad\.npy.*integers"),
    "missing labels": (lambda source: own(source, labels=source / "no.npy"), ConfigError, r"no\.npy: no such file"),
    "labels needed": (lambda source: own(source, critical="labels"), ConfigError, "needs labels"),
    "unknown rule": (lambda source: own(source, critical="top2"), ConfigError, "did you mean 'top1'"),
    "unknown module": (lambda source: own(source, critical="absent_z:f"), ConfigError, "cannot import absent_z"),
    "tolerance without number": (lambda source: own(source, critical="tolerance"), ConfigError, "tolerance = 0"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_and_nothing_is_written(source: Path, tmp_path: Path, mistake: str) -> None:
    make, kind, pattern = MISTAKES[mistake]
    with pytest.raises(kind, match=pattern):
        write_for_model(tmp_path / "out", make(source))
    assert not (tmp_path / "out").exists()


def test_a_campaign_of_ones_own_overwrites_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/model.onnx").write_text("mine")
    with pytest.raises(ConfigError, match=r"model\.onnx: exists"):
        write_for_model(tmp_path / "out", own(source))
    assert (tmp_path / "out/model.onnx").read_text() == "mine"


@pytest.mark.parametrize("stored", [(5, 1, 9, 7), (5, 1, 1, 9, 7)], ids=["samples", "samples of batch 1"])
def test_a_model_with_open_shapes_takes_those_of_its_samples(tmp_path: Path, stored: tuple[int, ...]) -> None:
    build = Builder()
    output = build.add("GlobalAveragePool", build.add("Conv", "x", build.weights(3, 1, 3, 3)))
    model = build.save(tmp_path / "m.onnx", ("N", 1, "H", "W"), output)
    np.savez(tmp_path / "x.npz", x=np.ones(stored, np.float32))
    write_for_model(tmp_path / "made", OwnModel(model=model, inputs=tmp_path / "x.npz"))
    workload = load_workload(load_campaign(tmp_path / "made" / CAMPAIGN_FILE))
    assert [tuple(spec.shape) for spec in workload.image.inputs] == [(1, 1, 9, 7)]
    assert workload.n_inputs == 5


def test_samples_that_do_not_fit_an_open_shape_are_refused(tmp_path: Path) -> None:
    build = Builder()
    model = build.save(tmp_path / "m.onnx", ("N", 1, "H", "W"), build.add("Relu", "x"))
    np.savez(tmp_path / "x.npz", x=np.ones((5, 2, 9, 7), np.float32))
    with pytest.raises(ModelError, match="input 'x'"):
        write_for_model(tmp_path / "made", OwnModel(model=model, inputs=tmp_path / "x.npz"))
