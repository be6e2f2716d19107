"""The checks can see what they are for: each planted defect makes one of them fail.

Planted are a wrong bit order, a skipped strike, a trial that is not restored, and strike lists that differ between
protections. The checks are the ones that every campaign and the other tests rely on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault, Readback
from hil.campaign.experiment import Experiment
from hil.campaign.task import Nature, Task
from hil.targets.sim_session import SimSession
from node.arena import Arena
from node.computer import Computer
from tests.campaigns import campaign, essence, rows_of
from tests.hil.test_campaign_strikes import shared_faults


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return Experiment.of(campaign(tmp_path_factory.mktemp("campaign"), trials=40))


def outcomes(experiment: Experiment, trials: list[int] | None = None) -> dict:
    with SimSession() as session:
        return essence(rows_of(experiment, session, trials, names=("none", "hsiao_72_64")))


def test_a_wrong_bit_order_is_seen_in_the_readback(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def flip_from_the_other_end(arena: Arena, name: str, bit: int) -> tuple[int, int]:
        view = arena.view(name)
        before = int(view[bit >> 3])
        view[bit >> 3] = before ^ (0x80 >> (bit & 7))
        return before, int(view[bit >> 3])

    monkeypatch.setattr(Arena, "flip", flip_from_the_other_end)
    with pytest.raises(DataError, match="did not happen as recorded"):
        outcomes(experiment)


def test_a_wrong_byte_order_is_seen_before_the_first_trial(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes counted from the end of a word read back well; what comes out differs in another place than was struck."""
    true_flip = Arena.flip
    monkeypatch.setattr(Arena, "flip", lambda arena, name, bit: true_flip(arena, name, bit ^ 0b111000))
    with pytest.raises(DataError, match="strikes do not reach the memory"):
        outcomes(experiment)


def test_a_skipped_strike_is_seen(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def say_so_only(computer: Computer, fault: Fault) -> Readback:
        before = int(computer.arena.view(fault.region)[fault.bit >> 3])
        return Readback(before=before, after=before)

    monkeypatch.setattr(Computer, "inject", say_so_only)
    with pytest.raises(DataError, match="did not happen as recorded"):
        outcomes(experiment)


def test_a_strike_left_out_of_the_request_is_seen(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    right = outcomes(experiment)
    true_prepare = Task.prepare

    def without_one_strike(task: Task, trial: int) -> object:
        strikes = true_prepare(task, trial)
        if trial != 11:
            return strikes
        return tuple(replace(strike, run=replace(strike.run, faults=())) for strike in strikes)

    monkeypatch.setattr(Task, "prepare", without_one_strike)
    assert outcomes(experiment) != right


def test_a_trial_that_is_not_restored_is_seen(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    right = outcomes(experiment)
    monkeypatch.setattr(Computer, "reset", lambda computer: True)
    forward, backward = outcomes(experiment), outcomes(experiment, list(reversed(range(40))))
    assert forward != right
    assert forward != backward


def test_unpaired_strikes_are_seen(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    none, guarded = experiment.task("none"), experiment.task("hsiao_72_64")
    assert none is not None
    assert guarded is not None
    unpaired = replace(guarded, nature=replace(guarded.nature, key=guarded.nature.key[::-1]))
    assert isinstance(unpaired.nature, Nature)
    assert all(shared_faults(guarded, trial) == shared_faults(none, trial) for trial in range(40))
    assert any(shared_faults(unpaired, trial) != shared_faults(none, trial) for trial in range(40))


def test_a_golden_copy_that_suffered_is_loaded_anew(experiment: Experiment) -> None:
    image = experiment.workload.image
    with Computer(image) as computer:
        assert computer.reset()
        computer._pristine[5] ^= 4
        assert not computer.reset()
        assert computer.counters.reloads == 1
        assert bytes(computer.arena.view("weights")) == image.weights
        assert computer.reset()
