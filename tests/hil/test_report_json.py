"""The report as JSON: complete, ordered, and comparable once the clock is taken out."""

from __future__ import annotations

import json
import random
from pathlib import Path

from hil.campaign.outcome import Outcome
from hil.campaign.record import AttemptRow
from hil.report.as_json import TIMED_KEYS, to_json, without_times
from hil.report.summary import summarise
from tests.hil.synthetic_results import demo_like, header, heat, link, task, timing, trial, write


def _text(directory: Path) -> str:
    return json.dumps(to_json(summarise(directory)), allow_nan=False)


def test_it_holds_what_a_machine_asks_for(tmp_path: Path) -> None:
    obj = json.loads(_text(demo_like(tmp_path, 40)))
    assert [entry["protection"] for entry in obj["tasks"]][:3] == ["none", "parity", "hsiao_72_64"]
    none = obj["tasks"][0]
    assert none["control"] == "none"
    assert none["trials"] == obj["trials"] == 40
    assert set(none["outcomes"]) == {outcome.value for outcome in Outcome}
    assert sum(none["outcomes"].values()) == 40
    assert set(none["estimates"]) == {*none["outcomes"], "failure", "sdc"}
    assert all(set(entry) == {"low", "best", "high"} for entry in none["estimates"].values())
    assert none["exposure"]["mean_strikes"] == 1.0
    assert none["costs"]["memory"]["overhead"] == 0.0
    assert none["costs"]["measured"]["time_per_inference_us"]["median"] > 0
    assert obj["seed"] == 7
    assert obj["target"] == "pty"
    assert obj["versions"]["flightnode"] == "0.1.0"
    assert obj["fault_model"]["name"] == "single_bit"
    assert obj["noise_floor"] > 0
    assert obj["infrastructure_attempts"] == [
        {"protection": "tmr", "trial": 17, "reason": "node ended from outside: signal 9"}
    ]
    assert len(obj["heat"]) == 80
    assert obj["link"][0]["counters"]["retransmitted"] == 3


def test_a_finished_run_and_an_interrupted_one_agree_without_times(tmp_path: Path) -> None:
    """Other order, other clocks, repeated rows, a second session: the same run."""
    tasks = (task("none", "none"), task("tmr"))
    plain = [
        trial(record.name, number, "DUE" if number % 3 else "MASKED", saves=1)
        for record in tasks
        for number in range(9)
    ]
    write(tmp_path / "a", header(*tasks, trials=9), *plain, link(), heat(0, 60.0))
    other = [
        trial(row.protection, row.trial, row.outcome, saves=1, timing=timing(elapsed_us=row.trial * 7, throttled=4))
        for row in plain
    ]
    random.Random(3).shuffle(other)
    repeated = trial(other[0].protection, other[0].trial, "CRASH", saves=9)
    second = header(*tasks, trials=9, created="2027-01-01T00:00:00Z")
    write(tmp_path / "b", second, *other, repeated, link(), link(), heat(0, 80.0), heat(1, 81.0))
    first, second_run = (without_times(to_json(summarise(tmp_path / name))) for name in "ab")
    assert json.dumps(first) == json.dumps(second_run)
    assert _text(tmp_path / "a") != _text(tmp_path / "b")


def test_without_times_keeps_what_is_no_time(tmp_path: Path) -> None:
    write(tmp_path / "a", header(), trial("none", 0))
    write(tmp_path / "b", header(), trial("none", 0, "DUE"))
    write(tmp_path / "c", header(), trial("none", 0), AttemptRow(protection="none", trial=0, reason="x"))
    texts = {json.dumps(without_times(to_json(summarise(tmp_path / name)))) for name in "abc"}
    assert len(texts) == 3
    assert not any(f'"{key}"' in text for key in TIMED_KEYS for text in texts)


def test_the_same_directory_gives_the_same_bytes(tmp_path: Path) -> None:
    demo_like(tmp_path, 20)
    assert _text(tmp_path) == _text(tmp_path)


def test_without_times_leaves_its_argument_alone() -> None:
    obj = {"created": "now", "tasks": [{"measured": 1, "trials": 2}]}
    assert without_times(obj) == {"tasks": [{"trials": 2}]}
    assert obj["created"] == "now"
