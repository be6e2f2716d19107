"""Strikes belong to nature: shared cells are struck alike, own cells in proportion, exposure counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from firmware_bridge.messages import RunResult
from hil.campaign.configuration import load_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.record import TrialRow
from hil.campaign.task import Task
from hil.campaign.trial import judge
from hil.targets.sim_session import SimSession
from tests.campaigns import campaign, rows_of, write_campaign

SHARED_REGIONS = {"weights", "activations"}

EXPOSED = """
[[protection]]
name = "padded"
padding_bytes = 40000

[[protection]]
name = "slow"
slowdown = 3.0
"""


def shared_faults(task: Task, trial: int) -> list[object]:
    """Give the faults of the strike that every protection meets."""
    first = task.prepare(trial)[0].run.faults
    assert all(fault.region in SHARED_REGIONS for fault in first)
    return list(first)


def added_faults(task: Task, trial: int, region: str) -> list[object]:
    return [fault for strike in task.prepare(trial)[1:] for fault in strike.run.faults if fault.region == region]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return Experiment.of(campaign(tmp_path_factory.mktemp("campaign"), trials=200))


def test_every_protection_meets_the_same_strikes_on_shared_cells(experiment: Experiment) -> None:
    none = experiment.task("none")
    assert none is not None
    for task in experiment.tasks:
        if task.control != "null":
            for trial in range(200):
                assert shared_faults(task, trial) == shared_faults(none, trial), task.name


def test_every_protection_meets_the_same_inputs(experiment: Experiment) -> None:
    for trial in range(20):
        assert len({strike.run.inputs for task in experiment.tasks for strike in task.prepare(trial)}) == 1


def test_variants_that_share_check_cells_share_their_strikes(experiment: Experiment) -> None:
    plain, saved = experiment.task("hsiao_72_64"), experiment.task("hsiao_72_64 + checkpoint")
    assert plain is not None
    assert saved is not None

    struck = 0
    for trial in range(200):
        on_plain = added_faults(plain, trial, "check.weights")
        assert on_plain == added_faults(saved, trial, "check.weights")
        struck += bool(on_plain)
    assert struck > 0


def test_own_cells_are_struck_in_proportion(experiment: Experiment) -> None:
    for task in experiment.tasks:
        if task.control == "null":
            assert all(task.strikes(trial) == () for trial in range(200))
            assert all(strike.run.faults == () for trial in range(200) for strike in task.prepare(trial))
            continue
        mean = sum(len(task.strikes(trial)) for trial in range(200)) / 200
        added = task.mean_strikes - 1.0
        assert mean == pytest.approx(1.0 + added, abs=4 * (added / 200) ** 0.5 + 1e-9), task.name


def test_dead_padding_changes_nothing_but_the_count_of_strikes(tmp_path: Path) -> None:
    exposed = Experiment.of(campaign(tmp_path, trials=300, protections=EXPOSED))
    with SimSession() as session:
        rows = rows_of(exposed, session, names=("none", "padded"))
    by_name: dict[str, dict[int, TrialRow]] = {"none": {}, "padded": {}}
    for row in rows:
        assert isinstance(row, TrialRow)
        by_name[row.protection][row.trial] = row
    assert any(len(row.strikes) > 1 for row in by_name["padded"].values())
    assert all(by_name["none"][trial].outcome == row.outcome for trial, row in by_name["padded"].items())


@pytest.mark.parametrize("setting", ["padding_bytes = 1_000_000_000_000", "slowdown = 1e6"])
def test_a_protection_that_draws_too_many_strikes_is_named(tmp_path: Path, setting: str) -> None:
    described = campaign(tmp_path, protections=f'[[protection]]\nname = "vast"\n{setting}\n')
    with pytest.raises(ConfigError, match=r"'vast'.* \(at most 1000\); lower padding_bytes, slowdown or redundancy"):
        Experiment.of(described)


def test_what_no_message_of_the_link_holds_is_refused_on_every_target(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    whole = path.read_text()
    path.write_text(whole.replace("inferences = 4", "inferences = 65535"))
    with pytest.raises(
        ConfigError, match=r"inferences = 65535: outputs of 40 bytes go into one message of the link up to 23298 times"
    ):
        Experiment.of(load_campaign(path))
    vast = '[strikes]\ncustom = { kind = "flip", cluster_sizes = { 50000 = 1.0 } }'
    path.write_text(whole.replace('[strikes]\nfault_model = "clusters"', vast))
    with pytest.raises(ConfigError, match="a cluster of 50000 cells does not fit into one message"):
        Experiment.of(load_campaign(path))


def test_idle_slowdown_raises_failures_by_the_true_exposure(tmp_path: Path) -> None:
    """Three times the time is three times the strikes; each of them is one more strike like any other."""
    exposed = Experiment.of(campaign(tmp_path, trials=400, protections=EXPOSED, fault_model="single_bit"))
    with SimSession() as session:
        rows = rows_of(exposed, session, names=("none", "slow"))
    shared: dict[str, dict[int, str]] = {"none": {}, "slow": {}}
    added: list[str] = []
    for row in rows:
        assert isinstance(row, TrialRow)
        shared[row.protection][row.trial] = row.strike_outcomes[0]
        added += row.strike_outcomes[1:]
    slow = exposed.task("slow")
    assert slow is not None
    assert slow.mean_strikes == 3.0
    assert shared["slow"] == shared["none"]
    assert len(added) == pytest.approx(2 * 400, abs=4 * (2 * 400) ** 0.5)
    # An idle strike differs from a busy one by its moment alone: no operator is at work. The share that fails is
    # that of busy strikes which come before the first operator, so both are near each other.
    failing = [
        sum(outcome not in ("MASKED", "CORRECTED") for outcome in group) for group in (shared["none"].values(), added)
    ]
    assert failing[1] / len(added) == pytest.approx(failing[0] / 400, abs=0.12)
    assert failing[1] > 0


def test_each_strike_meets_pristine_memory(experiment: Experiment) -> None:
    """The verdict on a strike does not depend on the other strikes of its trial."""
    task = experiment.task("tmr")
    assert task is not None
    trial = next(number for number in range(200) if len(task.strikes(number)) >= 3)
    with SimSession() as session:
        (row,) = rows_of(experiment, session, [trial], names=("tmr",))
        assert isinstance(row, TrialRow)
        alone = []
        for strike in task.prepare(trial):
            answer = session.run(strike.run)
            assert isinstance(answer, RunResult)
            alone.append(judge(experiment.workload, strike.run, answer).outcome.value)
    assert row.strike_outcomes == tuple(alone)
