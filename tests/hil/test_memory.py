"""Memory does not grow with the number of trials: neither in the exact engine nor where trials are run one by one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hil.campaign.configuration import load_campaign
from hil.campaign.exhaustive import Classifier, blocks_of
from hil.campaign.experiment import Experiment
from hil.campaign.foresight import Foresight, Golden
from hil.campaign.task_runner import TaskRunner
from hil.campaign.workload import load_workload
from hil.targets.sim_session import SimSession
from tests.proof import count

# One process compiles the kernels of the exact engine.
pytestmark = [pytest.mark.xdist_group("exact engine"), pytest.mark.proof, pytest.mark.timeout(7200)]

CAMPAIGN = """
[campaign]
name = "memory"
inferences = 1
[workload]
model = "builtin:digits_int8"
[strikes]
fault_model = "single_bit"
regions = ["weights"]
[[protection]]
name = "none"
code = "none"
"""
MOST_GROWTH_BYTES = 4 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def campaign(tmp_path: Path):
    path = tmp_path / "campaign.toml"
    path.write_text(CAMPAIGN)
    return load_campaign(path)


def test_classified_faults_leave_nothing_behind(campaign) -> None:
    workload = load_workload(campaign)
    classifier = Classifier(workload, "weights", tuple(range(10)))
    blocks = list(blocks_of(workload, "weights"))[-3:-1]
    wanted = count(4 * 10**5, 10**7)
    for block in blocks:
        classifier.classify(block)
    before, evaluations, shares = resident_bytes(), 0, []
    while evaluations < wanted:
        codes = classifier.classify(blocks[len(shares) % 2])
        evaluations += codes.size
        shares.append(codes.mean())
    assert len(set(np.round(shares, 12))) == 2
    assert resident_bytes() - before < MOST_GROWTH_BYTES


def test_trials_leave_nothing_behind(campaign) -> None:
    experiment = Experiment.of(campaign)
    task = next(task for task in experiment.tasks if task.name == "none")
    rows = 0

    def keep(_row: object) -> None:
        nonlocal rows
        rows += 1

    with SimSession() as node:
        node.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
        runner = TaskRunner(node, task, experiment.workload, keep)
        runner.collect(range(200))
        before, trials = resident_bytes(), count(1000, 50_000)
        runner.collect(range(200, 200 + trials))
        assert resident_bytes() - before < MOST_GROWTH_BYTES
    assert rows == 200 + trials


def test_foretold_trials_leave_nothing_behind(campaign) -> None:
    experiment = Experiment.of(campaign)
    (task,) = (task for task in experiment.tasks if task.name == "none")
    with Foresight(task, experiment.workload, Golden(experiment.workload)) as foresight:
        foresight.rows(range(1000))
        before, trials = resident_bytes(), count(3000, 10**7)
        for first in range(1000, 1000 + trials, 250):
            assert None not in foresight.rows(range(first, first + 250)).values()
        assert resident_bytes() - before < MOST_GROWTH_BYTES
