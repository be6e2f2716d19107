"""Exposure against exhaustive truth: every cell struck at every moment, weighted as nature weighs them.

The model is small enough to strike all of it. From that follows, for each protection, how many failures a strike on
the shared cells brings along on average, added cells and added time included. A campaign that samples, lands, runs,
judges and adds up has to estimate just this.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.messages import Delivery, Fault, Run
from hil.campaign.outcome import Outcome
from hil.campaign.protections import ProtectionEntry
from hil.campaign.record import Row, TrialRow
from hil.campaign.task import Nature, Task
from hil.campaign.task_runner import TaskRunner
from hil.campaign.workload import critical_predicate, make_workload
from hil.stats import Stratum, events_per_shared_strike
from hil.strikes import preset
from hil.targets.sim_session import SimSession
from node.computer import Computer
from node.lockstep import LockstepRun
from node.protection import OnDetected, Protection
from tests.adder_image import N_STEPS, SAMPLES, W, adder_image

INFERENCES = 2
TRIALS = 1000
STRICT = 0.9999
SAMPLE = SAMPLES[3]
WORKLOAD = make_workload(
    adder_image(),
    {name: values[np.newaxis] for name, values in SAMPLE.items()},
    None,
    critical_predicate("top1", tolerance=0.0, labels=None, directory=Path()),
)
NATURE = Nature.of(WORKLOAD, preset("single_bit"), ("weights",), seed=11, inferences=INFERENCES)
PROTECTIONS = {
    "none": Protection(),
    "padded": Protection(padding_bytes=3 * W.nbytes),
    "slow": Protection(slowdown=3.0),
    "padded and slow": Protection(padding_bytes=W.nbytes, slowdown=2.0),
    "parity": Protection(code="parity"),
    "parity, slow": Protection(code="parity", slowdown=2.0),
    "secded": Protection(code="hsiao_72_64"),
    "tmr": Protection(code="tmr"),
    "rollback": Protection(code="parity", checkpoint_period=INFERENCES, on_detected=OnDetected.ROLLBACK),
}


def task(name: str) -> Task:
    return Task.of(ProtectionEntry(name=name, protection=PROTECTIONS[name]), WORKLOAD, NATURE)


def failing_share(computer: Computer, region: str, bits: int, steps: range) -> float:
    """Strike each cell at each moment, and give the share that fails."""
    failures = strikes = 0
    for bit in range(bits):
        for inference in range(INFERENCES):
            for step in steps:
                fault = Fault(strike=0, region=region, bit=bit, inference=inference, step=step)
                run = Run(run_id=0, inputs=(0,) * INFERENCES, faults=(fault,))
                delivered = LockstepRun(computer, (SAMPLE,), run).execute().inferences
                right = all(each.output == WORKLOAD.golden[0] for each in delivered)
                failures += not right or any(each.delivery is Delivery.WITHHELD for each in delivered)
                strikes += 1
    return failures / strikes


def truth(name: str) -> tuple[float, float]:
    """Give failures per shared strike, and the part of them that added cells and added time bring."""
    described = task(name)
    protection, shared_bits = described.protection, described.space.shared_bits
    idle_time = protection.slowdown - 1.0
    busy, idle = range(N_STEPS + 1), range(1)
    with Computer(WORKLOAD.image, protection=protection) as computer:
        computer.throttle.idle = lambda duration_s: None  # type: ignore[method-assign]
        shared = failing_share(computer, "weights", shared_bits, busy)
        added = idle_time * failing_share(computer, "weights", shared_bits, idle) if idle_time else 0.0
        for cells in described.space.own:
            if cells.region == "padding":  # nobody reads it
                continue
            ratio = cells.bits / shared_bits
            added += ratio * failing_share(computer, cells.region, cells.bits, busy)
            if idle_time:
                added += idle_time * ratio * failing_share(computer, cells.region, cells.bits, idle)
    return shared + added, added


def strata(name: str) -> tuple[Stratum, Stratum]:
    rows: list[Row] = []
    with SimSession() as session:
        session.prepare(WORKLOAD.image.to_bytes(), WORKLOAD.inputs_file())
        TaskRunner(session, task(name), WORKLOAD, rows.append).collect(range(TRIALS))
    outcomes = [row.strike_outcomes for row in rows if isinstance(row, TrialRow)]
    shared = [Outcome(each[0]).is_failure for each in outcomes]
    added = [Outcome(outcome).is_failure for each in outcomes for outcome in each[1:]]
    return Stratum(events=sum(shared), strikes=len(shared)), Stratum(events=sum(added), strikes=len(added))


@pytest.mark.parametrize("name", PROTECTIONS)
def test_the_estimate_holds_the_truth(name: str) -> None:
    total, added_truth = truth(name)
    shared, added = strata(name)
    added_per_shared = task(name).mean_strikes - 1.0
    estimate = events_per_shared_strike(shared, added, added_per_shared, STRICT)
    assert estimate.low <= total <= estimate.high
    if added.strikes:
        alone = events_per_shared_strike(added, Stratum(events=0, strikes=0), 0.0, STRICT).scaled(added_per_shared)
        assert alone.low <= added_truth <= alone.high
    assert added.strikes == pytest.approx(TRIALS * added_per_shared, abs=4 * (TRIALS * added_per_shared) ** 0.5 + 1e-9)


def test_dead_memory_adds_strikes_and_no_failure() -> None:
    plain, padded = strata("none"), strata("padded")
    assert padded[0] == plain[0]
    assert plain[1].strikes == 0
    assert padded[1].events == 0
    assert task("padded").mean_strikes == 4.0


def test_a_struck_check_bit_of_parity_withholds_and_one_of_a_correcting_code_does_not() -> None:
    assert strata("parity")[1].events > 0
    assert strata("secded")[1].events == strata("tmr")[1].events == 0
