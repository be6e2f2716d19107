"""Every bit of a region: the outcomes of whole runs, the same from one process and two, and a page that shows them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from firmware_bridge.errors import ConfigError, DataError, ShortcutFailed
from hil.campaign.block_log import BlockLog
from hil.campaign.configuration import load_campaign
from hil.campaign.exhaustive import OUTCOMES, Block, Classifier, Verified, blocks_of
from hil.campaign.exhaustive_run import (
    ExhaustiveOptions,
    _identity,
    load_exhaustive,
    resume_exhaustive,
    run_exhaustive,
)
from hil.campaign.outcome import Outcome
from hil.campaign.workload import Workload, critical_predicate, load_workload, make_workload
from hil.cli import main
from hil.report.bit_map import layer_maps, picture_url
from hil.report.exhaustive_page import write_exhaustive_page
from node.model.effects import WholeRuns
from node.service import split_samples
from tests import proof
from tests.onnx_models import Builder

# One process compiles the kernels of the exact engine.
pytestmark = pytest.mark.xdist_group("exact engine")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign on a net so small that every bit can be struck in whole runs."""
    folder = tmp_path_factory.mktemp("small")
    b = Builder(3)
    h = b.add("Relu", b.add("Conv", "x", b.weights(3, 1, 2, 2), b.weights(3)))
    b.save(folder / "net.onnx", (1, 1, 4, 4), b.add("Gemm", b.add("Flatten", h), b.weights(27, 3), b.weights(3)))
    rng = np.random.default_rng(0)
    np.savez(folder / "inputs.npz", x=rng.normal(size=(6, 1, 4, 4)).astype(np.float32))
    np.save(folder / "labels.npy", np.array([0, 1, 2, 0, 1, 2]))
    text = '[campaign]\nname = "small"\n[workload]\nmodel = "net.onnx"\ninputs = "inputs.npz"\n'
    protection = '[[protection]]\nname = "none"\ncode = "none"\n'
    (folder / "campaign.toml").write_text(text + protection)
    return folder


@pytest.fixture(scope="module")
def workload(folder: Path) -> Workload:
    return load_workload(load_campaign(folder / "campaign.toml"))


def judged(workload: Workload, name: str) -> Workload:
    labels = np.array([0, 1, 2, 0, 1, 2])
    critical = critical_predicate(name, tolerance=0.1, labels=labels, directory=Path())
    return make_workload(workload.image, workload.inputs, labels, critical)


def by_whole_runs(workload: Workload, block: Block, region: str) -> np.ndarray:
    """The outcome of each delivered output, judged one by one as a campaign does."""
    samples = split_samples(workload.image, dict(workload.inputs))
    effects = WholeRuns(workload.image, samples).effects(block.faults(region), keep_outputs=True)
    codes = np.where(effects.codes == 3, OUTCOMES.index(Outcome.CRASH), 0)
    for (fault, number), output in zip(effects.index, effects.outputs, strict=True):
        critical = workload.is_critical(int(number), output.tobytes())
        codes[fault, number] = OUTCOMES.index(Outcome.SDC_CRITICAL if critical else Outcome.SDC_TOLERABLE)
    return codes


# With labels the kernel is compiled once more, which takes most of half a minute.
LABELS = pytest.param(
    "labels", marks=[pytest.mark.proof, pytest.mark.skipif(not proof.PROVING, reason="compiles once more: make prove")]
)


@pytest.mark.parametrize("name", ["top1", LABELS, "tolerance"])
@pytest.mark.parametrize(("region", "step"), [("weights", 0), ("activations", 1), ("accumulators", 0), ("steps", 0)])
def test_outcomes_are_those_of_whole_runs(workload: Workload, name: str, region: str, step: int) -> None:
    workload = judged(workload, name)
    block = Block(step=step, first=64, last=950)
    codes = Classifier(workload, region, tuple(range(6))).classify(block)
    np.testing.assert_array_equal(codes, by_whole_runs(workload, block, region))
    assert len(np.unique(codes)) > 1


def test_blocks_cover_every_fault_once(workload: Workload) -> None:
    image = workload.image
    covered = [bit for block in blocks_of(workload, "weights") for bit in range(block.first, block.last)]
    assert covered == list(range(8 * len(image.weights)))
    moments = {block.step for block in blocks_of(workload, "activations")}
    assert moments == set(range(len(image.steps) + 1))


def test_a_result_is_the_same_from_two_processes_and_from_its_file(folder: Path, tmp_path: Path) -> None:
    campaign = load_campaign(folder / "campaign.toml")
    options = {"region": "weights", "inputs": 4, "verify": 0.05}
    one = run_exhaustive(campaign, out=tmp_path / "1", options=ExhaustiveOptions(**options))
    two = run_exhaustive(campaign, out=tmp_path / "2", options=ExhaustiveOptions(**options, workers=2))
    np.testing.assert_array_equal(one.codes, two.codes)
    assert one.about["verified_evaluations"] == two.about["verified_evaluations"] > 0
    held = load_exhaustive(tmp_path / "2")
    np.testing.assert_array_equal(held.codes, two.codes)
    assert (held.about, held.inputs) == (two.about, (0, 1, 2, 3))
    assert sum(held.shares().values()) == pytest.approx(1.0)
    with pytest.raises(DataError, match="no results"):
        load_exhaustive(tmp_path)


def test_verification_finds_a_wrong_outcome_and_a_wrong_byte(workload: Workload) -> None:
    block = Block(step=0, first=64, last=400)
    classifier = Classifier(workload, "weights", (0, 1))
    codes = classifier.classify(block)
    assert classifier.verify(block, codes, 1.0, 0) == Verified(evaluations=codes.size)
    wrong = codes.copy()
    wrong[5, 1] ^= 1
    with pytest.raises(ShortcutFailed, match="bit 69 of weights flipped before step 0, input 1"):
        classifier.verify(block, wrong, 1.0, 0)
    classifier._engine._memory.memory[0][11] ^= 64
    with pytest.raises(ShortcutFailed, match="the exact engine and a whole run give outputs"):
        classifier.verify(block, codes, 1.0, 0)


def test_the_map_has_a_cell_for_each_bit_and_channel(folder: Path, workload: Workload, tmp_path: Path) -> None:
    campaign = load_campaign(folder / "campaign.toml")
    result = run_exhaustive(campaign, out=tmp_path, options=ExhaustiveOptions(inputs=6))
    maps = layer_maps(workload.image, result)
    assert [layer.critical.shape for layer in maps] == [(32, 3)] * 4
    assert all(layer.live for layer in maps)
    spec = workload.image.tensors[0]
    bits = [8 * (spec.offset + 4 * (16 * k + 2)) + 30 for k in range(4)]
    assert maps[0].wrong[30, 2] == pytest.approx((result.codes[0, bits] != 0).mean())
    assert picture_url(maps[0].critical).startswith("data:image/png;base64,")
    page = write_exhaustive_page(tmp_path, workload.image, result).read_text()
    assert page.count("<img") == 4
    assert "No bit of it changes any output" not in page


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["exhaustive", str(folder / "campaign.toml"), "--inputs", "2", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["region"] == "weights"
    assert printed["shares"]["SDC_CRITICAL"] > 0
    assert main(arguments) == 0
    assert "evaluations/s" in capsys.readouterr().out
    assert (tmp_path / "out" / "exhaustive.html").is_file()
    assert main([*arguments, "--verify", "2"]) == 2


def logged(folder: Path, out: Path, **changed: object) -> BlockLog:
    workload = load_workload(load_campaign(folder / "campaign.toml"))
    options = ExhaustiveOptions(inputs=2)
    blocks = list(blocks_of(workload, "weights"))
    identity = _identity(workload, options, (0, 1)) | changed
    return BlockLog(out, identity, [(block.last - block.first, 2) for block in blocks])


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.campaign.exhaustive.BLOCK_BITS", 600)


def test_a_run_cut_short_at_any_byte_goes_on(
    folder: Path, tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    campaign = load_campaign(folder / "campaign.toml")
    options = ExhaustiveOptions(inputs=2, verify=0.05)
    whole = run_exhaustive(campaign, out=tmp_path / "whole", options=options)
    kept_log = tmp_path / "kept"
    monkeypatch.setattr(BlockLog, "remove", lambda self: shutil.copy(self.path, kept_log))
    run_exhaustive(campaign, out=tmp_path / "cut", options=options)
    data = kept_log.read_bytes()
    monkeypatch.undo()
    monkeypatch.setattr("hil.campaign.exhaustive.BLOCK_BITS", 600)
    for cut in (0, 20, data.index(b"\n") + 1, len(data) // 2, len(data) - 1):
        (tmp_path / "cut" / "exhaustive.part").write_bytes(data[:cut])
        (tmp_path / "cut" / "exhaustive.npz").unlink(missing_ok=True)
        if cut > data.index(b"\n"):
            again = resume_exhaustive(tmp_path / "cut")
        else:
            again = run_exhaustive(campaign, out=tmp_path / "cut", options=options)
        np.testing.assert_array_equal(again.codes, whole.codes)
        assert again.about["verified_evaluations"] == whole.about["verified_evaluations"]
        assert (again.about["evaluations_kept"] > 0) == (cut >= len(data) // 2)
        assert not (tmp_path / "cut" / "exhaustive.part").exists()


def test_a_log_of_something_else_or_damaged_is_refused(folder: Path, tmp_path: Path, small_blocks: None) -> None:
    codes = np.ones((600, 2), np.uint8)
    with logged(folder, tmp_path) as log:
        log.append(1, codes, 7)
        log.append(0, codes, 0)
    with logged(folder, tmp_path) as log:
        assert list(log.finished) == [1, 0]
        assert log.finished[1][1] == 7
    with pytest.raises(ConfigError, match=r"begun with verify = 0.0, not 0.5"):
        logged(folder, tmp_path, verify=0.5)
    path = tmp_path / "exhaustive.part"
    data = bytearray(path.read_bytes())
    data[data.index(b"\n") + 30] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged at byte"):
        logged(folder, tmp_path)
    with pytest.raises(DataError, match="no unfinished"):
        resume_exhaustive(folder)


def test_ctrl_c_keeps_what_was_measured(
    folder: Path, tmp_path: Path, small_blocks: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def stop_at_third(self: Classifier, block: Block) -> np.ndarray:
        if block.first >= 1200:
            raise KeyboardInterrupt
        return classify(self, block)

    classify = Classifier.classify
    out = tmp_path / "out"
    arguments = ["run", str(folder / "campaign.toml"), "--exhaustive", "--out", str(out)]
    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "classify", stop_at_third)
        assert main(arguments) == 4
    assert f"hil resume {out}" in capsys.readouterr().err
    assert main(["resume", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["evaluations_kept"] == 1200 * 6


def test_the_map_as_parquet(folder: Path, workload: Workload, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    campaign = load_campaign(folder / "campaign.toml")
    result = run_exhaustive(campaign, out=tmp_path, options=ExhaustiveOptions(inputs=3))
    assert main(["export", "parquet", str(tmp_path)]) == 0
    assert "384 rows" in capsys.readouterr().out
    table = pyarrow.parquet.read_table(tmp_path / "map.parquet")
    assert table.column_names == ["layer", "tensor", "channel", "bit", "wrong", "critical"]
    assert table.schema.metadata[b"model"] == result.about["model"].encode()
    maps = layer_maps(workload.image, result)
    for row in table.to_pylist()[::50]:
        (layer,) = [layer for layer in maps if layer.name == row["tensor"]]
        assert row["wrong"] == layer.wrong[row["bit"], row["channel"]]
        assert row["critical"] == layer.critical[row["bit"], row["channel"]]
    assert main(["export", "parquet", str(folder)]) == 2
