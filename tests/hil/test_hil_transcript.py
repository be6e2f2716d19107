"""``hil transcript``: a campaign on a line, recorded, and played back against both sides."""

import os
from pathlib import Path

import pytest

from firmware_bridge.transcript import FOLDER_VARIABLE
from hil.campaign.record import TrialRow
from hil.campaign.store import read_rows
from hil.cli import main

CAMPAIGN = """
[campaign]
name = "recorded"
trials = {trials}
inferences = 1
target = "memory"
[workload]
model = "builtin:digits_int8"
[[protection]]
name = "parity"
code = "parity"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A campaign and the two transcripts of its one session."""
    folder = tmp_path_factory.mktemp("transcripts")
    for trials in (2, 3):
        (folder / f"{trials}.toml").write_text(CAMPAIGN.format(trials=trials))
    arguments = ("run", str(folder / "2.toml"), "--out", str(folder / "first"))
    assert main(["transcript", "record", str(folder / "lines"), *arguments]) == 0
    assert FOLDER_VARIABLE not in os.environ
    return folder


def of(folder: Path, role: str) -> str:
    (path,) = (folder / "lines").glob(f"*-{role}-*.fntr")
    return str(path)


def outcomes(results: Path) -> list[tuple[object, ...]]:
    return [(row.protection, row.trial, row.outcome) for row in read_rows(results) if isinstance(row, TrialRow)]


@pytest.mark.parametrize("role", ["host", "node"])
def test_a_node_that_does_the_same_answers_as_recorded(folder, capsys, role):
    assert main(["transcript", "replay", of(folder, role), "--target", "memory"]) == 0
    assert "all as recorded" in capsys.readouterr().out


def test_a_campaign_runs_against_its_transcript(folder):
    target = f"transcript:{of(folder, 'host')}"
    assert main(["run", str(folder / "2.toml"), "--target", target, "--out", str(folder / "second")]) == 0
    assert outcomes(folder / "first") == outcomes(folder / "second") != []


def test_another_campaign_is_named_by_the_frame(folder, capsys):
    target = f"transcript:{of(folder, 'node')}"
    assert main(["run", str(folder / "3.toml"), "--target", target, "--out", str(folder / "third")]) == 3
    assert "frame " in capsys.readouterr().err


def test_messages_are_shown_with_frame_and_time(folder, capsys):
    assert main(["transcript", "show", of(folder, "host")]) == 0
    lines = capsys.readouterr().out.splitlines()
    asked = [line for line in lines if " > " in line]  # a node that starts slowly may speak first
    assert "HelloRequest" in asked[0]
    assert any("RunResult" in line and " < " in line for line in lines)


def test_a_file_that_is_no_transcript(tmp_path, capsys):
    (tmp_path / "x").write_text("hello")
    assert main(["transcript", "show", str(tmp_path / "x")]) == 2
    assert "no transcript" in capsys.readouterr().err
