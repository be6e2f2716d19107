"""What a run keeps of its campaign is enough to run it again, anywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from firmware_bridge.errors import ConfigError
from hil.boards.bench_file import find_board
from hil.campaign.bundle import load_bundle, write_bundle
from hil.campaign.configuration import CampaignFile, load_campaign
from hil.campaign.predicate import load_predicate
from hil.scaffold import CAMPAIGN_FILE, EXAMPLES
from hil.workloads import digits
from tests.campaigns import write_campaign


def same(left: CampaignFile, right: CampaignFile) -> bool:
    """Equal but for where they lie and how paths and fault model are spelt."""
    return (
        left.campaign == right.campaign
        and left.protections == right.protections
        and left.fault_model == right.fault_model
        and left.strikes.regions == right.strikes.regions
        and (left.rate, left.heat) == (right.rate, right.heat)
        and left.workload.label == right.workload.label
        and left.model_path.read_bytes() == right.model_path.read_bytes()
        and left.inputs_path.read_bytes() == right.inputs_path.read_bytes()
    )


def own_campaign(folder: Path, extra: str = "", rule: str = "harm:always") -> Path:
    (folder / "files").mkdir(parents=True)
    shutil.copyfile(digits("f32").model_path, folder / "files/m.onnx")
    np.savez(folder / "files/x.npz", image=np.zeros((2, 1, 8, 8), np.float32))
    np.save(folder / "files/y.npy", np.arange(2))
    (folder / "harm.py").write_text("def always(golden, delivered, index):\n    return True\n")
    path = folder / "campaign.toml"
    path.write_text(
        f'[campaign]\nname = "own \\"x\\""\ntrials = 5\n[workload]\nmodel = "files/m.onnx"\ninputs = "files/x.npz"\n'
        f'labels = "files/y.npy"\ncritical = "{rule}"\n[[protection]]\nname = "tmr, hot"\ncode = "tmr"\n'
        f"temperature_c = 83\n{extra}"
    )
    return path


def test_the_example_comes_back_equal(tmp_path: Path) -> None:
    campaign = load_campaign(EXAMPLES / CAMPAIGN_FILE).changed(target="pty", trials=3)
    write_bundle(campaign, tmp_path / "run")
    again = load_bundle(tmp_path / "run")
    assert same(campaign, again)
    assert (again.campaign.target, again.campaign.trials) == ("pty", 3)
    assert again.workload.is_builtin


def test_a_bundle_stands_alone(tmp_path: Path) -> None:
    campaign = load_campaign(own_campaign(tmp_path / "here"))
    write_bundle(campaign, tmp_path / "run")
    labels = np.load(tmp_path / "here/files/y.npy")
    kept = tmp_path / "kept"
    shutil.move(tmp_path / "run", kept)
    held = msgspec.structs.replace(campaign, directory=tmp_path / "copy")
    shutil.copytree(tmp_path / "here", tmp_path / "copy")
    shutil.rmtree(tmp_path / "here")
    again = load_bundle(kept)
    assert same(held, again)
    assert again.directory == kept / "campaign"
    assert again.labels_path is not None
    assert np.array_equal(np.load(again.labels_path), labels)
    assert load_predicate(again.workload.critical, again.directory, "x")({}, {}, 0) is True


def written(folder: Path) -> dict[Path, int]:
    """Give when each file was written; bytecode of the user's module is Python's own affair."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in files}


def test_writing_the_same_bundle_twice_changes_nothing(tmp_path: Path) -> None:
    campaign = load_campaign(own_campaign(tmp_path / "here"))
    write_bundle(campaign, tmp_path / "run")
    before = written(tmp_path / "run")
    write_bundle(campaign, tmp_path / "run")
    write_bundle(load_bundle(tmp_path / "run"), tmp_path / "run")
    assert written(tmp_path / "run") == before


@pytest.mark.parametrize("what", ["text", "inputs", "predicate"])
def test_another_campaign_is_refused(tmp_path: Path, what: str) -> None:
    path = own_campaign(tmp_path / "here")
    write_bundle(load_campaign(path), tmp_path / "run")
    if what == "text":
        path.write_text(path.read_text().replace("trials = 5", "trials = 6"))
    elif what == "inputs":
        np.savez(tmp_path / "here/files/x.npz", image=np.ones((2, 1, 8, 8), np.float32))
    else:
        (tmp_path / "here/harm.py").write_text("def always(golden, delivered, index):\n    return False\n")
    with pytest.raises(ConfigError, match="holds another campaign; choose another --out"):
        write_bundle(load_campaign(path), tmp_path / "run")


def test_a_copy_that_was_cut_short_is_completed(tmp_path: Path) -> None:
    campaign = load_campaign(own_campaign(tmp_path / "here"))
    folder = tmp_path / "run/campaign"
    folder.mkdir(parents=True)
    (folder / "m.onnx").write_bytes(b"half")
    write_bundle(campaign, tmp_path / "run")
    assert same(campaign, load_bundle(tmp_path / "run"))


def test_a_predicate_in_a_package_folder_is_kept_whole(tmp_path: Path) -> None:
    path = own_campaign(tmp_path / "here", rule="rules.harm:always")
    package = tmp_path / "here/rules"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "limit.py").write_text("LIMIT = 3\n")
    (package / "harm.py").write_text(
        "from rules.limit import LIMIT\ndef always(golden, delivered, index):\n    return index < LIMIT\n"
    )
    write_bundle(load_campaign(path), tmp_path / "run")
    shutil.rmtree(tmp_path / "here")
    again = load_bundle(tmp_path / "run")
    predicate = load_predicate(again.workload.critical, again.directory, "x")
    assert [predicate({}, {}, index) for index in (2, 3)] == [True, False]


def test_other_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        load_bundle(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"holds no campaign/campaign\.toml"):
        load_bundle(tmp_path)


def test_a_damaged_copy_is_named(tmp_path: Path) -> None:
    write_bundle(load_campaign(own_campaign(tmp_path / "here")), tmp_path / "run")
    (tmp_path / "run/campaign/x.npz").unlink()
    with pytest.raises(ConfigError, match="inputs: no file"):
        load_bundle(tmp_path / "run")


def test_the_entries_of_boards_are_kept_with_the_run(tmp_path: Path) -> None:
    path = write_campaign(tmp_path / "desk")
    (tmp_path / "desk" / "bench.toml").write_text(
        '[[board]]\nname = "a"\nurl = "tcp://h:1"\npower = { cycle = "true" }\n[[board]]\nname = "b"\nurl = "tcp://h:2"\n'
    )
    write_bundle(load_campaign(path).changed(target="bench:a"), tmp_path / "run")
    (tmp_path / "desk").rename(tmp_path / "elsewhere")
    kept = load_bundle(tmp_path / "run")
    assert kept.campaign.target == "bench:a"
    board = find_board("bench:a", kept.bench_folders)
    assert (board.url, board.power.cycle) == ("tcp://h:1", "true")
    with pytest.raises(ConfigError, match="no board 'b'"):
        find_board("bench:b", kept.bench_folders)
