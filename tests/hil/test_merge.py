"""Parts of a campaign add up to the whole; what is of another campaign is refused with the field that differs."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from firmware_bridge.errors import ConfigError, DataError
from hil.campaign.collect import RunOptions, resume_campaign, run_campaign
from hil.campaign.confirm import confirm_campaign
from hil.campaign.merge import merge_runs
from hil.campaign.record import HeatRow, TrialRow
from hil.campaign.replay import replay_trial
from hil.campaign.store import CONFIRMATION_FOLDER, read_header, read_rows
from hil.cli import main
from hil.progress import silent
from hil.report import summarise, to_json, without_times
from tests.campaigns import campaign, essence, run, write_campaign
from tests.hil.synthetic_results import header, heat, link, task, trial, write

TMR = '\n[[protection]]\nname = "tmr"\ncode = "tmr"\n'


def test_shards_add_up_to_the_whole_run(tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=7, protections=TMR)
    whole = run(described, tmp_path / "whole")
    parts = [tmp_path / f"part {number}" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        run_campaign(described, out=part, options=RunOptions(shard=(number, 3)), progress=silent)
    sizes = [sum(isinstance(row, TrialRow) for row in read_rows(part)) for part in parts]
    assert sizes == [15, 10, 10]
    merge_runs(parts, tmp_path / "merged")
    assert essence(read_rows(tmp_path / "merged")) == essence(whole)
    one, other = (without_times(to_json(summarise(tmp_path / name))) for name in ("whole", "merged"))
    assert json.dumps(one) == json.dumps(other)
    assert replay_trial(tmp_path / "merged", "tmr", 4).agrees
    resume_campaign(tmp_path / "merged", progress=silent)
    assert essence(read_rows(tmp_path / "merged")) == essence(whole)


def test_a_shard_is_resumed_as_a_shard(tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=5, protections=TMR)
    run_campaign(described, out=tmp_path / "a", options=RunOptions(shard=(2, 2)), progress=silent)
    before = essence(read_rows(tmp_path / "a"))
    assert {number for _, number in before} == {1, 3}
    resume_campaign(tmp_path / "a", progress=silent)
    assert essence(read_rows(tmp_path / "a")) == before
    with pytest.raises(ConfigError, match="shard differs"):
        run_campaign(described, out=tmp_path / "a", options=RunOptions(shard=(1, 2)), progress=silent)


def test_confirmations_are_merged_as_well(tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=3, protections=TMR)
    run(described, tmp_path / "a")
    confirm_campaign(tmp_path / "a", progress=silent)
    run(described, tmp_path / "b")
    merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert summarise(tmp_path / "merged").confirmation.complete
    confirmed = tmp_path / "merged" / CONFIRMATION_FOLDER
    assert essence(read_rows(confirmed)) == essence(read_rows(tmp_path / "a" / CONFIRMATION_FOLDER))


# ---- by hand ---------------------------------------------------------------------------------------------------------

TASKS = (task("none", "none"), task("tmr"))


def part(folder: Path, *rows: object, **changes: object) -> Path:
    (folder / "campaign").mkdir(parents=True)
    return write(folder, header(*TASKS, trials=4, **changes), *rows)


def test_repeats_are_kept_once_and_heat_comes_from_one_part(tmp_path: Path) -> None:
    one = part(tmp_path / "a", trial("none", 0), trial("tmr", 0, "DUE"), heat(0, 60.0), heat(1, 61.0), link())
    two = part(tmp_path / "b", trial("tmr", 0, "DUE", reloads=3), trial("tmr", 1), heat(0, 70.0), link(), created="x")
    merge_runs([one, two], tmp_path / "m")
    rows = list(read_rows(tmp_path / "m"))
    trials = [(row.protection, row.trial, row.reloads) for row in rows if isinstance(row, TrialRow)]
    assert trials == [("none", 0, 0), ("tmr", 0, 0), ("tmr", 1, 0)]
    assert [row.temperature_c for row in rows if isinstance(row, HeatRow)] == [60.0, 61.0]
    assert sum(type(row).__name__ == "LinkRow" for row in rows) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "m"}


def test_two_outcomes_of_one_trial_are_no_result(tmp_path: Path) -> None:
    one, two = part(tmp_path / "a", trial("tmr", 2, "DUE")), part(tmp_path / "b", trial("tmr", 2))
    with pytest.raises(DataError, match="trial 2 of 'tmr' differs"):
        merge_runs([one, two], tmp_path / "m")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 8}, "seed differs (7 and 8)"),
        ({"trials": 5}, "trials differs (4 and 5)"),
        ({"fault_model": "{}"}, "fault_model differs"),
        ({"versions": {"flightnode": "0.2.0", "python": "3.11.9", "numba": "0.61.0"}}, "flightnode: '0.1.0' and '0.2"),
        ({"target": "tcp://x:1"}, "target differs ('pty' and 'tcp')"),
        ({"tasks": (TASKS[0], task("tmr", task_id="other"))}, "tasks differs (task_id: 'task-tmr' and 'other')"),
        ({"tasks": TASKS[:1]}, "tasks differs"),
    ],
)
def test_another_campaign_is_refused_with_the_field(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    one, two = part(tmp_path / "a"), part(tmp_path / "b")
    record = two / "record.json"
    held = msgspec.json.decode(record.read_bytes())
    record.write_bytes(msgspec.json.encode(held | msgspec.to_builtins(changes)))
    with pytest.raises(ConfigError) as caught:
        merge_runs([one, two], tmp_path / "m")
    assert words in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_two_boards_of_a_kind_may_share_the_work(tmp_path: Path) -> None:
    parts = [part(tmp_path / name, target=f"serial:///dev/{name}?baud=1") for name in "ab"]
    merge_runs(parts, tmp_path / "m")
    assert read_header(tmp_path / "m").target == "serial:///dev/a?baud=1"


def test_what_is_there_is_not_touched(tmp_path: Path) -> None:
    one, two = part(tmp_path / "a"), part(tmp_path / "b")
    with pytest.raises(ConfigError, match="exists"):
        merge_runs([one, two], two)
    with pytest.raises(ConfigError, match="two different"):
        merge_runs([one, tmp_path / "b" / ".." / "a"], tmp_path / "m")
    with pytest.raises(ConfigError, match="directory of a run"):
        merge_runs([one, tmp_path], tmp_path / "m")


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_shards_that_do_not_exist_are_usage_errors(tmp_path: Path, shard: str) -> None:
    path = write_campaign(tmp_path, trials=1, protections=TMR)
    assert main(["run", str(path), "--shard", shard, "--out", str(tmp_path / "run")]) == 2
    assert not (tmp_path / "run").exists()


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_campaign(tmp_path, trials=2, protections=TMR)
    parts = [str(tmp_path / name) for name in "ab"]
    for number, out in enumerate(parts, 1):
        assert main(["run", str(path), "--shard", f"{number}/2", "--out", out, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["complete"] is False
    assert main(["merge", *parts, "--out", str(tmp_path / "m"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is True
