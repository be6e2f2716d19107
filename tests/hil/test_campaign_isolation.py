"""Trials do not bleed into each other: order, neighbours and processes change nothing."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from hil.campaign.experiment import Experiment
from hil.campaign.record import TrialRow
from hil.progress import silent
from hil.targets.sim_session import SimSession
from hil.targets.target import open_session
from node.throttle import Throttle
from node.vitals import Sensors, Vitals
from tests.campaigns import campaign, essence, rows_of, run


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return Experiment.of(campaign(tmp_path_factory.mktemp("campaign"), trials=24))


@pytest.fixture(scope="module")
def straight(experiment: Experiment) -> dict[tuple[str, int], tuple[object, ...]]:
    with SimSession() as session:
        return essence(rows_of(experiment, session))


def test_every_trial_has_one_row(experiment: Experiment, straight: dict) -> None:
    assert len(straight) == 24 * len(experiment.tasks)


def test_shuffled_order_gives_the_same(experiment: Experiment, straight: dict) -> None:
    order = list(range(24))
    random.Random(1).shuffle(order)
    with SimSession() as session:
        assert essence(rows_of(experiment, session, order)) == straight


def test_one_trial_per_node_gives_the_same(experiment: Experiment, straight: dict) -> None:
    alone: dict[tuple[str, int], tuple[object, ...]] = {}
    for trial in range(0, 24, 6):
        with SimSession() as session:
            alone |= essence(rows_of(experiment, session, [trial]))
    assert alone == {key: straight[key] for key in alone}


def test_one_trial_per_process_gives_the_same(experiment: Experiment, straight: dict) -> None:
    alone: dict[tuple[str, int], tuple[object, ...]] = {}
    for trial in (3, 17):
        with open_session("pty", silent) as session:
            alone |= essence(rows_of(experiment, session, [trial], names=("hsiao_72_64 + checkpoint", "tmr")))
    assert len(alone) == 4
    assert alone == {key: straight[key] for key in alone}


def test_real_throttling_is_recorded_and_changes_no_outcome(
    experiment: Experiment, straight: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    hot = Vitals(
        temperature_c=84.5,
        temperature_source="cpu-thermal",
        clock_mhz=600.0,
        clock_source="vcgencmd measure_clock arm",
        throttled=0x20002,
        throttled_source="vcgencmd get_throttled",
    )
    monkeypatch.setattr(Throttle, "vitals", lambda _self: hot)
    with SimSession() as session:
        rows = rows_of(experiment, session, names=("none",))
    assert essence(rows) == {key: value for key, value in straight.items() if key[0] == "none"}
    for row in rows:
        assert isinstance(row, TrialRow)
        assert row.timing is not None
        assert (row.timing.board_c, row.timing.board_mhz, row.timing.board_throttled) == (84.5, 600.0, 0x20002)
        assert (row.timing.plant_c, row.timing.throttled) == (25.0, 0)


def test_a_board_without_sensors_has_none(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Throttle, "vitals", lambda _self: Sensors("/nonexistent").read())
    with SimSession() as session:
        (row,) = rows_of(experiment, session, [0], names=("none",))
    assert isinstance(row, TrialRow)
    assert row.timing is not None
    assert (row.timing.board_c, row.timing.board_mhz, row.timing.board_throttled) == (None, None, None)


def test_two_processes_give_the_same(experiment: Experiment, straight: dict, tmp_path: Path) -> None:
    assert essence(run(experiment.campaign, tmp_path / "run", workers=2)) == straight


def test_nothing_was_found_unclean(experiment: Experiment) -> None:
    with SimSession() as session:
        rows = rows_of(experiment, session)
    assert sum(row.reloads for row in rows if isinstance(row, TrialRow)) == 0


def test_controls_say_what_they_must(experiment: Experiment, tmp_path: Path) -> None:
    more = Experiment.of(experiment.campaign.changed(trials=120))
    with SimSession() as session:
        rows = rows_of(more, session, names=("none", "null", "restore", "oracle", "hsiao_72_64"))
    outcomes: dict[str, Counter[str]] = {}
    for row in rows:
        assert isinstance(row, TrialRow)
        outcomes.setdefault(row.protection, Counter())[row.outcome] += 1
    assert set(outcomes["null"]) == {"MASKED"}
    assert set(outcomes["restore"]) == {"MASKED"}
    wrong = {name: counts["SDC_CRITICAL"] + counts["SDC_TOLERABLE"] for name, counts in outcomes.items()}
    assert wrong["none"] > 0
    assert wrong["oracle"] < wrong["none"]
    assert wrong["hsiao_72_64"] < wrong["none"]


def test_restore_really_injected(experiment: Experiment) -> None:
    with SimSession() as session:
        rows = rows_of(experiment, session, names=("restore",))
    faults = [fault for row in rows if isinstance(row, TrialRow) for fault in row.faults]
    assert faults
    assert all(fault.before ^ fault.after == 1 << (fault.bit & 7) for fault in faults)
