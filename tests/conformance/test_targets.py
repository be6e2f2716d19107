"""One campaign over every target: the same faults and the same outcomes, trial by trial."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil.campaign.experiment import Experiment
from hil.campaign.record import TrialRow
from hil.progress import silent
from hil.targets.sim_session import SimSession
from hil.targets.target import open_session
from tests.campaigns import PROTECTIONS, attempts, campaign, essence, rows_of
from tests.tcp_node import tcp_node

TRIALS = 20
FAULT_MODELS = ("clusters", "stuck_at")


@pytest.fixture(scope="module", params=FAULT_MODELS)
def experiment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    path = tmp_path_factory.mktemp("campaign")
    described = campaign(path, trials=TRIALS, fault_model=request.param, protections=PROTECTIONS + SLICED)
    return Experiment.of(described)


@pytest.fixture(scope="module")
def reference(experiment: Experiment) -> dict:
    with SimSession() as session:
        return essence(rows_of(experiment, session))


@pytest.mark.parametrize("target", ["memory", "pty"])
def test_target_agrees_with_the_emulator(target: str, experiment: Experiment, reference: dict) -> None:
    with open_session(target, silent) as session:
        rows = rows_of(experiment, session)
    assert attempts(rows) == []
    assert essence(rows) == reference


def test_a_real_board_agrees_with_the_emulator(board: str, experiment: Experiment, reference: dict) -> None:
    with open_session(board, silent) as session:
        rows = rows_of(experiment, session)
    assert attempts(rows) == []
    assert essence(rows) == reference


def test_tcp_agrees_with_the_emulator(experiment: Experiment, reference: dict, tmp_path: Path) -> None:
    with tcp_node(tmp_path) as (url, _), open_session(url, silent) as session:
        rows = rows_of(experiment, session)
    assert attempts(rows) == []
    assert essence(rows) == reference


def test_one_process_per_trial_agrees_with_the_emulator(experiment: Experiment, reference: dict) -> None:
    for trial in (0, TRIALS - 1):
        with open_session("pty", silent) as session:
            alone = essence(rows_of(experiment, session, [trial]))
        assert alone == {key: values for key, values in reference.items() if key[1] == trial}


def test_struck_steps_agree_with_the_emulator(tmp_path: Path) -> None:
    """Strikes on the step table end in crashes: these too are the same over a link."""
    described = campaign(tmp_path, trials=60, regions=["steps"], fault_model="single_bit", protections=STEPS)
    experiment = Experiment.of(described)
    names = ("none", "guarded steps")
    with SimSession() as session:
        reference = essence(rows_of(experiment, session, names=names))
    with open_session("pty", silent) as session:
        assert essence(rows_of(experiment, session, names=names)) == reference
    outcomes = {values[4] for values in reference.values()}
    assert "CRASH" in outcomes


@pytest.mark.parametrize("target", ["memory", "pty"])
def test_checks_on_the_computation_agree_with_the_emulator(target: str, tmp_path: Path) -> None:
    """What a check finds, and what is done about it, is decided by logical time: the same over a link."""
    described = campaign(tmp_path, trials=16, fault_model="byte", protections=CHECKS, model="builtin:digits_f32")
    experiment = Experiment.of(described)
    names = [task.name for task in experiment.tasks if not task.control]
    with SimSession() as session:
        rows = rows_of(experiment, session, names=names)
    with open_session(target, silent) as session:
        assert essence(rows_of(experiment, session, names=names)) == essence(rows)
    assert {row.protection for row in rows if isinstance(row, TrialRow) and row.alarms} == set(names)


CHECKS = """
[[protection]]
name = "ranges"
ranges = "detect"
on_alarm = "reload"
[[protection]]
name = "abft"
code = "hsiao_72_64"
scrub_period = 0
abft = true
[[protection]]
name = "vote"
redundancy = 3
[[protection]]
name = "verified"
code = "hsiao_72_64"
scrub_period = 0
verify_on_use = true
"""

STEPS = """
[[protection]]
name = "guarded steps"
code = "hsiao_72_64"
regions = ["weights", "steps"]
"""

SLICED = """
[[protection]]
name = "slice by slice, and by the clock where time is not logical"
code = "hsiao_72_64"
scrub_slice = 512
scrub_seconds = 0.001
"""
