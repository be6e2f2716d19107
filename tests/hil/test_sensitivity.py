"""The same comparison under several fault models: who wins under each, and in what words that is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.collect import RunOptions
from hil.campaign.sensitivity import run_sensitivity, variants
from hil.campaign.store import read_header, read_rows
from hil.cli import main
from hil.progress import ProgressEvent
from hil.report.sensitivity import Sensitivity, sensitivity_of
from hil.strikes import PRESETS, preset
from tests.campaigns import campaign, essence, write_campaign
from tests.hil.synthetic_results import header, task, trial, write

TMR = '\n[[protection]]\nname = "tmr"\ncode = "tmr"\n'
CLEAR = {"none": 120, "tmr": 2}
OTHER = {"none": 2, "tmr": 120}
CLOSE = {"none": 3, "tmr": 2}


def _under(tmp_path: Path, trials: int = 200, **models: dict[str, int]) -> Sensitivity:
    folders = []
    for name, failures in models.items():
        tasks = [task(each, "none" if each == "none" else "") for each in failures]
        rows = [
            trial(each, number, "DUE" if number < count else "MASKED")
            for each, count in failures.items()
            for number in range(200)
        ]
        head = header(*tasks, trials=trials, fault_model=replace(preset("single_bit"), name=name).to_json())
        folders.append(write(tmp_path / name, head, *rows))
    return sensitivity_of(folders)


@pytest.mark.parametrize(
    ("models", "changes", "words"),
    [
        ({"a": CLEAR, "b": CLEAR}, False, "The winner does not change: tmr failed least under every fault model (2)."),
        ({"a": CLEAR, "b": CLOSE}, False, "No other winner was seen: tmr failed least under a; undecided under b."),
        (
            {"a": CLEAR, "b": OTHER, "c": CLEAR, "d": CLOSE},
            True,
            "The winner changes with the fault model: tmr under a and c and none under b; undecided under d.",
        ),
        ({"a": CLOSE, "b": CLOSE}, False, "Undecided under every fault model (2); more trials narrow the intervals."),
    ],
)
def test_the_verdict_says_whether_the_winner_changes(tmp_path, models, changes, words):
    found = _under(tmp_path, **models)
    assert (found.changes, found.verdict) == (changes, words)
    assert " ".join(found.table().split()).startswith(words)


def test_half_a_run_has_no_verdict(tmp_path):
    assert _under(tmp_path, trials=300, a=CLEAR).verdict.startswith("Not complete")


def test_the_ranking_goes_from_best_to_worst_and_into_json(tmp_path):
    found = _under(tmp_path, a={"none": 120, "parity": 60, "tmr": 2}, b=OTHER)
    assert [name for name, _ in found.rankings[0].failures] == ["tmr", "parity", "none"]
    (first, second) = json.loads(json.dumps(found.to_json()))["fault_models"]
    assert (first["fault_model"], first["winner"], second["winner"]) == ("a", "tmr", "none")
    assert first["ranking"][0]["failure"]["best"] == 0.01


def test_the_own_model_comes_first_and_every_preset_once(tmp_path):
    found = variants(campaign(tmp_path, fault_model="column"))
    names = [each.fault_model.name for each in found]
    assert names[0] == "column"
    assert sorted(names) == sorted(PRESETS)
    assert all(each.strikes.regions == ("weights", "activations") and each.heat is None for each in found)


def test_only_the_named_presets_are_tried(tmp_path):
    found = variants(campaign(tmp_path), ["byte", "row", "byte", "clusters"])
    assert [each.fault_model.name for each in found] == ["clusters", "byte", "row"]
    with pytest.raises(ConfigError, match="did you mean 'byte'"):
        variants(campaign(tmp_path), ["bite"])


def test_a_changed_preset_needs_a_name_of_its_own(tmp_path):
    custom = '[strikes.custom]\nname = "byte"\n'
    path = write_campaign(tmp_path)
    path.write_text(path.read_text().replace('fault_model = "clusters"\n', "") + custom)
    from hil.campaign.configuration import load_campaign

    with pytest.raises(ConfigError, match="'byte' is that of a preset"):
        variants(load_campaign(path))


def test_a_real_comparison_under_two_models_can_be_called_again(tmp_path):
    described = campaign(tmp_path, trials=4, protections=TMR)
    stages: list[str] = []

    def progress(event: ProgressEvent) -> None:
        stages.append(event.stage)

    wanted = variants(described, ["byte"])
    folders = run_sensitivity(wanted, out=tmp_path / "s", options=RunOptions(), progress=progress)
    assert [folder.name for folder in folders] == ["clusters", "byte"]
    keys = {read_header(folder).strike_key for folder in folders}
    assert len(keys) == 2
    assert "byte: tmr" in stages
    before = [essence(read_rows(folder)) for folder in folders]
    assert run_sensitivity(wanted, out=tmp_path / "s", options=RunOptions(), progress=progress) == folders
    assert [essence(read_rows(folder)) for folder in folders] == before
    assert all(ranking.complete for ranking in sensitivity_of(folders).rankings)


def test_the_command_prints_and_keeps_its_finding(tmp_path, capsys):
    path = write_campaign(tmp_path, trials=3, protections=TMR)
    out = tmp_path / "s"
    given = ["sensitivity", str(path), "--fault-model", "stride", "--out", str(out), "--json"]
    assert main(given) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [each["fault_model"] for each in printed["fault_models"]] == ["clusters", "stride"]
    assert json.loads((out / "sensitivity.json").read_text()) == printed
    assert main(given[:-1]) == 0
    assert "winner" in capsys.readouterr().out
    assert main([*given, "--fault-model", "nothing"]) == 2
