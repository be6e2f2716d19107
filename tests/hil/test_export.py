"""Trials as CSV: one line a strike, in the campaign's order, whatever the order they were written in."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import msgspec
import pytest

from firmware_bridge.errors import ConfigError, DataError
from hil.campaign.export import trials_csv
from hil.campaign.record import FaultRecord, TrialRow
from hil.campaign.store import Store
from tests.hil.synthetic_results import header, task, trial


def hit(strike: int, region: str, bit: int, kind: int = 0) -> FaultRecord:
    return FaultRecord(strike=strike, region=region, bit=bit, kind=kind, inference=1, step=2, before=0, after=1)


def exported(directory: Path, *rows: TrialRow, trials: int = 3) -> list[dict[str, str]]:
    with Store(directory, header(task("none", "none"), task('a "b", c'), trials=trials)) as store:
        store.append(*rows)
    file = io.StringIO()
    trials_csv(directory, file)
    assert "\r" not in file.getvalue()
    return list(csv.DictReader(io.StringIO(file.getvalue())))


def test_a_trial_is_a_line_with_its_strikes_and_faults(tmp_path: Path) -> None:
    row = msgspec.structs.replace(
        trial("none", 1, "SDC_CRITICAL"),
        strikes=("1:0", "1:77"),
        faults=(hit(0, "weights", 9), hit(0, "weights", 10), hit(77, "check.weights", 3, kind=2)),
    )
    assert exported(tmp_path, row) == [
        {
            "protection": "none",
            "trial": "1",
            "strike": "1:0 1:77",
            "faults": "0/weights:9:flip@1.2 0/weights:10:flip@1.2 77/check.weights:3:stuck_at_1@1.2",
            "outcome": "SDC_CRITICAL",
        }
    ]


def test_a_trial_without_strikes_has_one_line(tmp_path: Path) -> None:
    row = msgspec.structs.replace(trial("none", 0), strikes=(), faults=())
    assert exported(tmp_path, row) == [
        {"protection": "none", "trial": "0", "strike": "", "faults": "", "outcome": "MASKED"}
    ]


def test_order_repeats_and_range(tmp_path: Path) -> None:
    rows = [
        trial('a "b", c', 0),
        trial("none", 2),
        trial("none", 0),
        trial("none", 0, "DUE"),
        trial("none", 7),
    ]
    lines = exported(tmp_path, *rows, trials=3)
    assert [(line["protection"], line["trial"], line["outcome"]) for line in lines] == [
        ("none", "0", "MASKED"),
        ("none", "2", "MASKED"),
        ('a "b", c', "0", "MASKED"),
    ]


def test_a_row_of_an_unknown_protection_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="protection 'stranger', which this run has not"):
        exported(tmp_path, trial("stranger", 0))


def test_a_directory_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the directory of a run"):
        trials_csv(tmp_path, io.StringIO())
