"""Where a struck computer first computes something else: operator by operator, up to the first recovery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.messages import Fault, FaultKind, Run
from hil.campaign.divergence import find_divergence
from hil.campaign.protections import ProtectionEntry
from hil.campaign.task import Nature, Task
from hil.campaign.workload import critical_predicate, make_workload
from hil.strikes import preset
from node.protection import OnDetected, Protection
from tests.adder_image import N_STEPS, SAMPLES, H, activation_bit, adder_image, step_bit, weight_bit

WORKLOAD = make_workload(
    adder_image(),
    {name: np.stack([sample[name] for sample in SAMPLES]) for name in ("a", "b")},
    None,
    critical_predicate("top1", tolerance=0.0, labels=None, directory=Path()),
)
NATURE = Nature.of(WORKLOAD, preset("single_bit"), ("weights",), seed=1, inferences=4)
ROLLBACK = Protection(code="parity", checkpoint_period=2, on_detected=OnDetected.ROLLBACK)


def fault(region: str, bit: int, inference: int, step: int, kind: FaultKind = FaultKind.FLIP) -> Fault:
    return Fault(strike=0, region=region, bit=bit, inference=inference, step=step, kind=kind)


def divergence(protection: Protection, *faults: Fault):
    task = Task.of(ProtectionEntry(name="p", protection=protection), WORKLOAD, NATURE)
    return find_divergence(WORKLOAD, task, Run(run_id=0, inputs=(3, 0, 2, 1), faults=faults))


def test_the_first_operator_that_reads_it_diverges() -> None:
    found = divergence(Protection(), fault("weights", weight_bit(4), 1, 1))
    assert found is not None
    assert (found.inference, found.step, found.step_name) == (1, 2, "third")
    assert found.bytes_by_step[:2] == (0, 0)
    assert found.bytes_by_step[2] > 0


def test_a_struck_result_spreads_from_the_next_operator_on() -> None:
    found = divergence(Protection(), fault("activations", activation_bit(H), 2, 1))
    assert found is not None
    assert (found.inference, found.step) == (2, 1)
    assert found.bytes_by_step[0] == 0
    assert all(found.bytes_by_step[1:])


@pytest.mark.parametrize(
    "struck",
    [fault("activations", activation_bit(H), 1, 0), fault("activations", activation_bit(H), 3, N_STEPS)],
    ids=["overwritten", "never read"],
)
def test_what_nobody_reads_never_diverges(struck: Fault) -> None:
    assert divergence(Protection(), struck) is None


@pytest.mark.parametrize("inference", [0, 1, 2])
def test_work_that_is_done_again_is_no_divergence(inference: int) -> None:
    """The strike is found before it is used; operators of the rollback belong to other inferences than the twin's."""
    assert divergence(ROLLBACK, fault("weights", weight_bit(0), inference, N_STEPS)) is None


def test_a_divergence_before_the_recovery_is_seen() -> None:
    found = divergence(ROLLBACK, fault("weights", weight_bit(0), 2, 0))
    assert found is not None
    assert (found.inference, found.step) == (2, 0)


def test_a_crash_ends_the_trace_and_not_the_search() -> None:
    row, weight = fault("steps", step_bit(2, 0, 7), 1, 1), fault("weights", weight_bit(0), 0, 0)
    found = divergence(Protection(), weight, row)
    assert found is not None
    assert (found.inference, found.step) == (0, 0)
    assert divergence(Protection(), row) is None
