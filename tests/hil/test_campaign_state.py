"""Campaigns on a model with state: its samples come in sequences, and every target agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError, DataError, ModelError
from firmware_bridge.messages import Fault, Run
from hil.campaign.configuration import CampaignFile, load_campaign
from hil.campaign.exhaustive import OUTCOMES, Block, Classifier, moments_of
from hil.campaign.exhaustive_run import ExhaustiveOptions, run_exhaustive
from hil.campaign.experiment import Experiment
from hil.campaign.outcome import Outcome
from hil.campaign.record import FaultRecord, TrialRow
from hil.campaign.trial import judge
from hil.campaign.workload import critical_predicate, load_workload, make_workload
from hil.progress import silent
from hil.report.vulnerability import VulnerabilityMap
from hil.scaffold import OwnModel, write_for_model
from hil.targets.sim_session import SimSession
from hil.targets.target import open_session
from node.computer import Computer
from node.lockstep import LockstepRun
from node.model.effects import WholeRuns
from node.service import split_samples
from tests.campaigns import attempts, essence, rows_of, run
from tests.state_models import accumulator

INFERENCES = 4
SEQUENCES = 3
CAMPAIGN = """
[campaign]
name = "state"
trials = {trials}
inferences = 4
[workload]
model = "model.onnx"
inputs = "inputs.npz"
critical = "tolerance"
tolerance = 0.1
[strikes]
fault_model = "single_bit"
regions = [{regions}]
[[protection]]
name = "hsiao"
code = "hsiao_72_64"
regions = ["weights", "state"]
[[protection]]
name = "parity + rollback"
code = "parity"
regions = ["weights", "state"]
checkpoint_period = 2
on_detected = "rollback"
[[protection]]
name = "thrice, guarded"
code = "hsiao_72_64"
regions = ["weights", "state"]
redundancy = 3
[[protection]]
name = "ranges"
ranges = "detect"
"""


def described(folder: Path, *, trials: int = 20, regions: str = '"state"', samples: int = 14) -> CampaignFile:
    accumulator(folder / "model.onnx")
    values = 1.0 + np.arange(samples, dtype=np.float32)
    np.savez(folder / "inputs.npz", x=np.repeat(values[:, None], 4, axis=1))
    path = folder / "campaign.toml"
    path.write_text(CAMPAIGN.format(trials=trials, regions=regions), encoding="utf-8")
    return load_campaign(path)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return Experiment.of(described(tmp_path_factory.mktemp("campaign")))


@pytest.fixture(scope="module")
def rows(experiment: Experiment) -> list:
    with SimSession() as session:
        return rows_of(experiment, session)


def test_a_trial_takes_a_whole_sequence(experiment: Experiment) -> None:
    """14 samples make three sequences of four; the two left over are never drawn."""
    drawn = {experiment.nature.inputs(trial) for trial in range(60)}
    assert drawn == {tuple(range(first, first + INFERENCES)) for first in (0, 4, 8)}


def test_golden_outputs_are_those_of_sequences_from_the_beginning(experiment: Experiment) -> None:
    totals = [float(experiment.workload.tensors(golden)["y"][0, 0]) - 1 for golden in experiment.workload.golden]
    assert totals[:8] == [1, 3, 6, 10, 5, 11, 18, 26]


def test_another_target_agrees_trial_by_trial(experiment: Experiment, rows: list) -> None:
    with open_session("pty", silent) as session:
        found = rows_of(experiment, session)
    assert attempts(found) == []
    assert essence(found) == essence(rows)


def test_guarded_state_delivers_nothing_wrong(experiment: Experiment, rows: list) -> None:
    by_name: dict[str, list[TrialRow]] = {}
    for row in rows:
        by_name.setdefault(row.protection, []).append(row)
    assert any(row.wrong for row in by_name["none"])
    sound = ("hsiao", "parity + rollback", "thrice, guarded", "null", "restore")
    assert not any(row.wrong for name in sound for row in by_name[name])
    assert {row.outcome for row in by_name["hsiao"]} <= {"CORRECTED", "MASKED"}
    assert any(row.rollbacks for row in by_name["parity + rollback"])
    assert any(row.alarms for row in by_name["ranges"])
    assert {task.protection.sequence for task in experiment.tasks if task.name == "ranges"} == {INFERENCES}


def test_the_map_names_the_struck_state(experiment: Experiment) -> None:
    header = experiment.header()
    assert [(tensor.name, tensor.offset) for tensor in header.states] == [("past_sum", 0)]
    found = VulnerabilityMap(header)
    found.add((FaultRecord(1, "state", 32 + 31, 0, 2, 0, 0, 128),), failed=True)
    found.add((FaultRecord(1, "state", 8 * 40, 0, 2, 0, 0, 1),), failed=False)
    named, gap = found.rows()
    assert (named.region, named.place, named.failed[31], named.width_bits) == ("state", "past_sum", 1, 32)
    assert gap.place == "between tensors"


def test_too_few_samples_for_a_sequence_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="3 samples: a model with state takes sequences of inferences = 4"):
        load_workload(described(tmp_path, samples=3))


def by_a_node(experiment: Experiment, region: str, fault: tuple[int, int, int], sequence: int) -> str:
    """The outcome of a fault (bit, step, inference) as a campaign comes to it: carried out and judged."""
    bit, step, inference = fault
    struck = Fault(strike=0, region=region, bit=bit, step=step, inference=inference)
    inputs = tuple(range(INFERENCES * sequence, INFERENCES * (sequence + 1)))
    request = Run(run_id=1, inputs=inputs, faults=(struck,))
    workload = experiment.workload
    with Computer(workload.image) as computer:
        result = LockstepRun(computer, split_samples(workload.image, dict(workload.inputs)), request).execute()
    return judge(workload, request, result).outcome.value


@pytest.mark.parametrize("region", ["state", "activations"])
def test_every_bit_has_the_outcome_that_a_campaign_gives_it(
    experiment: Experiment, region: str, tmp_path: Path
) -> None:
    """The outcome of a sequence is the worst of its inferences; every moment of it has its turn."""
    options = ExhaustiveOptions(region=region, inputs=9, verify=0.1)
    result = run_exhaustive(experiment.campaign, out=tmp_path / "one", options=options)
    moments = moments_of(experiment.workload, region)
    steps = len(experiment.workload.image.steps)
    assert len(moments) == result.codes.shape[0] == INFERENCES * (steps + 1 if region == "activations" else 1)
    assert result.inputs == tuple(range(SEQUENCES))
    assert result.about["verified_evaluations"] > 0
    rng = np.random.default_rng(1)
    found = set()
    for _ in range(60):
        moment, bit, sequence = (int(rng.integers(size)) for size in result.codes.shape)
        inference, step = moments[moment]
        outcome = OUTCOMES[result.codes[moment, bit, sequence]].value
        assert outcome == by_a_node(experiment, region, (bit, step, inference), sequence)
        found.add(outcome)
    assert found == {"MASKED", "SDC_TOLERABLE", "SDC_CRITICAL"}


@pytest.mark.parametrize("name", ["top1", "labels"])
def test_winners_are_those_of_each_inference(experiment: Experiment, name: str) -> None:
    labels = np.arange(experiment.workload.n_inputs) % 4
    critical = critical_predicate(name, tolerance=0.1, labels=labels, directory=Path())
    workload = experiment.workload
    workload = make_workload(workload.image, workload.inputs, labels, critical, sequence=INFERENCES)
    classifier = Classifier(workload, "state", (0, 2))
    block = Block(step=0, first=0, last=128, inference=2)
    codes = classifier.classify(block)
    assert OUTCOMES.index(Outcome.SDC_CRITICAL) in codes
    whole = WholeRuns(workload.image, classifier._samples, INFERENCES).effects(block.faults("state"), keep_outputs=True)
    size = len(workload.golden[0])
    wanted = np.zeros_like(codes)
    for (fault, number), output in zip(whole.index, whole.outputs, strict=True):
        first, parts = INFERENCES * (0, 2)[number], output.reshape(INFERENCES, size)
        harm = any(workload.is_critical(int(first + i), part.tobytes()) for i, part in enumerate(parts))
        wanted[fault, number] = OUTCOMES.index(Outcome.SDC_CRITICAL if harm else Outcome.SDC_TOLERABLE)
    np.testing.assert_array_equal(codes, wanted)


def test_state_that_is_switched_off_is_an_input_again(tmp_path: Path) -> None:
    described(tmp_path)
    path = tmp_path / "campaign.toml"
    path.write_text(path.read_text().replace("[strikes]", "state = {}\n[strikes]"), encoding="utf-8")
    campaign = load_campaign(path)
    assert campaign.workload.state == {}
    with pytest.raises(DataError, match="no array 'past_sum'"):
        load_workload(campaign)


def test_a_run_keeps_which_output_feeds_which_input(tmp_path: Path) -> None:
    described(tmp_path)
    path = tmp_path / "campaign.toml"
    pairs = 'state = {present_sum = "past_sum"}\n[strikes]'
    path.write_text(path.read_text().replace("[strikes]", pairs), encoding="utf-8")
    rows = run(load_campaign(path).changed(trials=2), tmp_path / "out")
    assert len([row for row in rows if isinstance(row, TrialRow)]) == 2 * 8
    kept = load_campaign(tmp_path / "out" / "campaign" / "campaign.toml")
    assert kept.workload.state == {"present_sum": "past_sum"}


def test_state_begins_with_what_the_campaign_gives_and_a_run_keeps_that(tmp_path: Path) -> None:
    described(tmp_path)
    (tmp_path / "other").mkdir()
    np.savez(tmp_path / "other" / "first.npz", past_sum=np.full((1, 4), 100, np.float32))
    path = tmp_path / "campaign.toml"
    path.write_text(path.read_text().replace("[strikes]", 'initial_state = "other/first.npz"\n[strikes]'))
    rows = run(load_campaign(path).changed(trials=2), tmp_path / "out")
    assert {row.outcome for row in rows if isinstance(row, TrialRow) and row.protection == "null"} == {"MASKED"}
    workload = load_workload(load_campaign(tmp_path / "out" / "campaign" / "campaign.toml"))
    assert [float(workload.tensors(golden)["y"][0, 0]) - 101 for golden in workload.golden[:5]] == [1, 3, 6, 10, 5]


@pytest.mark.parametrize(
    ("arrays", "name", "words"),
    [
        ({"past_sum": np.zeros((1, 5), np.float32)}, "first.npz", "initial_state of 'past_sum' is float32"),
        ({"x": np.zeros((1, 4), np.float32)}, "first.npz", "initial_state names .*'x'"),
        ({}, "gone.npz", "initial_state: no file"),
        ({}, "first.npy", "initial_state = 'first.npy'"),
        ({}, "other/inputs.npz", "initial_state and inputs have one name"),
    ],
)
def test_a_first_state_that_cannot_be_used_is_refused(arrays: dict, name: str, words: str, tmp_path: Path) -> None:
    described(tmp_path)
    (tmp_path / "other").mkdir()
    for kept in ("first.npz", "other/inputs.npz"):
        np.savez(tmp_path / kept, **arrays)
    path = tmp_path / "campaign.toml"
    path.write_text(path.read_text().replace("[strikes]", f'initial_state = "{name}"\n[strikes]'))
    with pytest.raises((ConfigError, ModelError), match=words):
        load_workload(load_campaign(path))


def test_a_scaffold_strikes_and_guards_the_state(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    described(tmp_path / "given")
    own = OwnModel(
        model=tmp_path / "given" / "model.onnx",
        inputs=tmp_path / "given" / "inputs.npz",
        critical="tolerance",
        tolerance=0.1,
        state={"present_sum": "past_sum"},
    )
    path, *_ = write_for_model(tmp_path / "made", own)
    made = load_campaign(path)
    assert made.strikes.regions == ("weights", "activations", "state")
    assert made.workload.state == {"present_sum": "past_sum"}
    guards = {entry.name: entry.protection.regions for entry in made.protections}
    assert guards["none"] == ("weights",)
    assert guards["tmr"] == guards["hsiao_72_64 + checkpoint"] == guards["oracle"] == ("weights", "state")
