"""What is foretold of a trial is what a node answers, field by field, under every fault model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign import foresight, foretell
from hil.campaign.collect import RunOptions, run_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.foresight import Foresight, Golden
from hil.campaign.memory_model import MemoryModel
from hil.campaign.record import TrialRow
from hil.campaign.store import read_rows
from hil.cli import main
from hil.progress import silent
from hil.report.answer import times_text
from hil.report.summary import summarise
from hil.targets.sim_session import SimSession
from node.ecc import DecodeReport
from node.model.frames import NotIncremental
from tests.campaigns import campaign, essence, rows_of, write_campaign
from tests.proof import count

# One process compiles the kernels of the exact engine.
pytestmark = pytest.mark.xdist_group("exact engine")

PROTECTIONS = """
[[protection]]
name = "parity + reload"
code = "parity"
on_detected = "reload"
scrub_period = 2

[[protection]]
name = "hsiao_72_64 + checkpoint"
code = "hsiao_72_64"
checkpoint_period = 2
on_detected = "rollback"

[[protection]]
name = "hsiao_39_32, steps too"
code = "hsiao_39_32"
regions = ["weights", "steps"]

[[protection]]
name = "never scrubbed but saved"
code = "vertical_parity"
scrub_period = 0
checkpoint_period = 1
on_detected = "rollback"

[[protection]]
name = "padded, slow"
code = "bch_79_64"
padding_bytes = 5000
slowdown = 1.5

[[protection]]
name = "tmr"
code = "tmr"
scrub_period = 3
"""
MODELS = (
    "single_bit",
    "clusters",
    "stuck_at",
    "byte",
    "row",
    "column",
    "stride",
    "clusters_on_die_ecc",
    "accumulator_bit",
)


def told(experiment: Experiment, trials: range) -> dict[tuple[str, int], TrialRow | None]:
    golden = Golden(experiment.workload)
    found = {}
    for task in experiment.tasks:
        rows = Foresight(task, experiment.workload, golden).rows(trials)
        found |= {(task.name, trial): row for trial, row in rows.items()}
    return found


@pytest.mark.proof
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("fault_model", "engine"),
    [*((model, "whole") for model in MODELS), ("stuck_at", "exact"), ("accumulator_bit", "exact")],
)
def test_rows_are_those_of_a_node(
    fault_model: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresight, "MANY_PRODUCTS", 0 if engine == "exact" else 1 << 60)
    trials = count(8, 150)
    experiment = Experiment.of(
        campaign(tmp_path, trials=trials, fault_model=fault_model, protections=PROTECTIONS, seed=len(fault_model))
    )
    found = told(experiment, range(trials))
    with SimSession() as session:
        measured = essence(rows_of(experiment, session))
    known = [row for row in found.values() if row is not None]
    assert len(known) == len(found)
    assert essence(known) == measured
    assert all(row.timing is None for row in known)
    assert {row.outcome for row in known} >= (
        {"MASKED"} if fault_model == "accumulator_bit" else {"MASKED", "CORRECTED"}
    )


LEFT_TO_THE_NODE = """
[[protection]]
name = "abft"
abft = true

[[protection]]
name = "ranges"
ranges = "clip"

[[protection]]
name = "twice"
redundancy = 2

[[protection]]
name = "on use"
code = "hsiao_72_64"
verify_on_use = true

[[protection]]
name = "in slices"
code = "hsiao_72_64"
scrub_slice = 64
"""


def test_what_only_a_node_can_do_is_not_foretold(tmp_path: Path) -> None:
    experiment = Experiment.of(campaign(tmp_path, protections=LEFT_TO_THE_NODE))
    golden = Golden(experiment.workload)
    for task in experiment.tasks:
        if not task.control:
            with pytest.raises(NotIncremental, match="carried out by the node"):
                Foresight(task, experiment.workload, golden)
    steps = Experiment.of(campaign(tmp_path, regions=["steps"], protections=PROTECTIONS))
    assert set(told(steps, range(3)).values()) >= {None}


@pytest.fixture
def short_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foretell, "LEAD_TRIALS", 3)
    monkeypatch.setattr(foretell, "BATCH_TRIALS", 5)


def test_a_run_gives_the_same_rows_with_and_without_foresight(tmp_path: Path, short_lead: None) -> None:
    described = campaign(tmp_path, trials=12, protections=PROTECTIONS + LEFT_TO_THE_NODE)
    rows = {}
    for share in (0.0, 0.5, 1.0):
        out = tmp_path / str(share)
        run_campaign(described, out=out, options=RunOptions(verify=share), progress=silent)
        rows[share] = [row for row in read_rows(out) if isinstance(row, TrialRow)]
    assert essence(rows[0.0]) == essence(rows[0.5]) == essence(rows[1.0])
    timed = {share: {(row.protection, row.trial) for row in held if row.timing} for share, held in rows.items()}
    assert timed[0.0] < timed[0.5] < timed[1.0] == set(essence(rows[1.0]))
    for name in {name for name, _ in timed[1.0]}:
        measured = {trial for protection, trial in timed[0.0] if protection == name}
        assert measured == set(range(12 if f'"{name}"' in LEFT_TO_THE_NODE else 3))
    words = f"times as medians of the {len(timed[0.0])} of {len(rows[0.0])} trials that a node timed"
    assert times_text(summarise(tmp_path / "0.0")) == words
    assert times_text(summarise(tmp_path / "1.0")) == "times as medians"


def test_a_difference_stops_the_run_and_shows_both_rows(
    tmp_path: Path, short_lead: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def blind(self: MemoryModel) -> bool:
        self.report += DecodeReport()
        return True

    monkeypatch.setattr(MemoryModel, "_scrub", blind)
    path = write_campaign(tmp_path, trials=6, protections=PROTECTIONS)
    assert main(["run", str(path), "--out", str(tmp_path / "run")]) == 1
    message = capsys.readouterr().err
    assert "trial 0 of 'parity + reload'" in message
    assert "foretold" in message
    assert '"checked_words":0' in message.split("carried out {")[0]


def test_a_share_that_cannot_be_verified_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from 0 to 1"):
        replace(RunOptions(), verify=2.0)
    with pytest.raises(ConfigError, match="every trial is carried out"):
        run_campaign(
            campaign(tmp_path), out=tmp_path / "run", options=RunOptions(target="pty", verify=1.0), progress=silent
        )
