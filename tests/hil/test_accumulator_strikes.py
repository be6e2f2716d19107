"""Strikes on accumulators, from the campaign file to the rows: the same on a node, foretold, and under every copy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError, DataError
from hil.campaign.collect import RunOptions, run_campaign
from hil.campaign.configuration import load_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.outcome import Outcome
from hil.campaign.record import TrialRow
from hil.campaign.sensitivity import variants
from hil.campaign.store import read_rows
from hil.campaign.trade import TradeSettings, run_trade
from hil.progress import silent
from node.model.accumulators import ACCUMULATOR_BITS, accumulator_bytes, locate
from tests.campaigns import campaign, essence, run, write_campaign
from tests.onnx_models import Builder

PROTECTIONS = """
[[protection]]
name = "padded, slow"
code = "hsiao_72_64"
padding_bytes = 5000
slowdown = 2.0

[[protection]]
name = "thrice"
redundancy = 3

[[protection]]
name = "abft"
abft = true
"""
RATE = "[rate]\nlow = 1e-9\nbest = 1e-8\nhigh = 1e-7\n"


def test_a_node_behind_a_line_gives_the_rows_that_are_foretold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.campaign.foretell.LEAD_TRIALS", 0)
    described = campaign(tmp_path, trials=12, fault_model="accumulator_bit", protections=PROTECTIONS)
    run_campaign(described, out=tmp_path / "sim", options=RunOptions(verify=0.0), progress=silent)
    rows = essence(read_rows(tmp_path / "sim"))
    assert rows == essence(run(described, tmp_path / "pty", "pty"))
    timed = {row.protection for row in read_rows(tmp_path / "sim") if getattr(row, "timing", None)}
    assert timed == {"thrice", "abft"}
    trials = [row for row in read_rows(tmp_path / "sim") if isinstance(row, TrialRow)]
    failures = Counter(
        row.protection for row in trials for outcome in row.strike_outcomes[:1] if Outcome(outcome).is_failure
    )
    assert failures["none"] == failures["padded, slow"] > 0
    assert failures.keys() == {"none", "padded, slow", "oracle"}


def test_every_bit_of_every_sum_is_as_likely_and_falls_into_its_step(tmp_path: Path) -> None:
    experiment = Experiment.of(campaign(tmp_path, fault_model="accumulator_bit", protections=PROTECTIONS))
    image, task = experiment.workload.image, experiment.task("none")
    assert task is not None
    faults = [task.prepare(trial)[0].run.faults[0] for trial in range(4000)]
    bits = np.array([fault.bit for fault in faults])
    assert {fault.region for fault in faults} == {"accumulators"}
    assert [fault.step for fault in faults] == locate(image, bits // ACCUMULATOR_BITS)[0].tolist()
    positions = np.bincount(bits % 32, minlength=32)
    assert abs(positions - 125).max() < 5 * 125**0.5
    quarters = np.bincount(bits // (2 * accumulator_bytes(image)), minlength=4)
    assert abs(quarters - 1000).max() < 5 * 1000**0.5


def test_only_computing_exposes_sums_to_strikes(tmp_path: Path) -> None:
    experiment = Experiment.of(campaign(tmp_path, fault_model="accumulator_bit", protections=PROTECTIONS))
    means = {task.name: task.mean_strikes for task in experiment.tasks}
    assert means == {"none": 1, "padded, slow": 1, "thrice": 3, "abft": 1, "null": 0, "oracle": 1, "restore": 1}
    task, moments = experiment.task("thrice"), len(experiment.workload.image.steps) + 1
    assert task is not None
    runs = [strike.run for trial in range(200) for strike in task.prepare(trial)]
    assert set(Counter(fault.step // moments for each in runs for fault in each.faults)) == {0, 1, 2}
    struck = {region.name for region in experiment.header().tasks[1].regions if region.struck}
    assert struck == {"accumulators"}


@pytest.mark.parametrize(
    ("strikes", "message"),
    [
        ('fault_model = "accumulator_bit"\nregions = ["weights"]', "strikes accumulators and no memory"),
        ('fault_model = "accumulator_bit"\n' + RATE, r"\[rate\] is per bit of memory"),
        ('[strikes.custom]\npreset = "accumulator_bit"\nkind = "stuck_at"', "neither stuck cells nor a code"),
        ('[strikes.custom]\npreset = "clusters_secded"\ncells = "accumulators"', "neither stuck cells nor a code"),
        ('[strikes.custom]\ncells = "sums"', "choose from memory, accumulators"),
    ],
)
def test_what_makes_no_sense_of_sums_is_refused(tmp_path: Path, strikes: str, message: str) -> None:
    path = write_campaign(tmp_path, fault_model="accumulator_bit")
    path.write_text(path.read_text().replace('fault_model = "accumulator_bit"', strikes))
    with pytest.raises(ConfigError, match=message):
        load_campaign(path)


def test_a_model_without_sums_is_refused_by_name(tmp_path: Path) -> None:
    b = Builder(1)
    b.save(tmp_path / "m.onnx", (1, 4), b.add("Relu", "x"))
    np.savez(tmp_path / "x.npz", x=np.zeros((4, 4), np.float32))
    path = write_campaign(tmp_path, fault_model="accumulator_bit", model="m.onnx")
    path.write_text(path.read_text().replace('"m.onnx"', '"m.onnx"\ninputs = "x.npz"'))
    with pytest.raises(DataError, match="no sums of products and no means"):
        Experiment.of(load_campaign(path))


def test_sensitivity_leaves_the_rate_to_memory_and_a_trade_leaves_sums_out(tmp_path: Path) -> None:
    path = write_campaign(tmp_path)
    path.write_text(RATE + path.read_text())
    described = load_campaign(path)
    rated = {each.fault_model.name for each in variants(described) if each.rate is not None}
    assert {each.fault_model.name for each in variants(described)} - rated == {"accumulator_bit"}
    settings = TradeSettings(fault_models=("accumulator_bit",))
    with pytest.raises(ConfigError, match="a trade is of strikes on memory"):
        run_trade(described, settings, None, out=tmp_path / "t", options=RunOptions(), progress=silent)
