"""The emulated board: an aarch64 Linux with a PL011. That it gives the records of the emulator in this process is
the conformance suite's to say, which `make test-qemu` runs on it (`--board qemu`).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from firmware_bridge.messages import Fault, FaultKind, Run, RunResult
from hil.boards.qemu.machine import Machine
from hil.boards.qemu.memory_map import memory_map
from hil.boards.qemu.snapshot import Snapshot, go_on
from hil.campaign.experiment import Experiment
from hil.campaign.machine_record import MachineOutcome
from hil.campaign.machine_strikes import Shooter, flip
from hil.campaign.record import TrialRow
from hil.campaign.task_runner import TaskRunner
from hil.strikes import Stream
from hil.targets.sim_session import SimSession
from node.protection import Protection
from tests.campaigns import attempts, campaign, essence, rows_of

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(900), pytest.mark.xdist_group("qemu")]
TRIALS = 20
PARAMETER_FAULTS = 60
DEADLINE_MS = 60_000
COMPUTER = ("computer: own memory", "computer: compiled code")


def experiment_of(folder: Path, **settings: object) -> Experiment:
    return Experiment.of(campaign(folder, **{"trials": TRIALS} | settings))


def reference_of(experiment: Experiment) -> dict:
    with SimSession() as session:
        return essence(rows_of(experiment, session))


def test_struck_scales_and_biases_give_the_same_outputs(qemu_session, tmp_path: Path) -> None:
    """Every parameter that is no int8 weight: biases, scales, zero points."""
    experiment = experiment_of(tmp_path)
    image = experiment.workload.image
    parameters = [tensor for tensor in image.tensors if tensor.dtype != "int8"]
    assert {tensor.dtype for tensor in parameters} >= {"int32"}
    stream = Stream("parameters", 0)
    runs = []
    for number in range(PARAMETER_FAULTS):
        tensor = parameters[number % len(parameters)]
        bit = 8 * tensor.offset + stream.below(8 * tensor.size_bytes)
        fault = Fault(strike=0, region="weights", bit=bit, kind=FaultKind.FLIP, inference=0, step=0)
        runs.append(Run(run_id=number, inputs=(number % experiment.workload.n_inputs,), faults=(fault,)))

    def outputs(session) -> list[bytes]:
        session.prepare(image.to_bytes(), experiment.workload.inputs_file())
        session.configure(Protection(), DEADLINE_MS)
        answers = [answer for _, answer in session.run_many(runs)]
        assert all(isinstance(answer, RunResult) for answer in answers)
        return [answer.inferences[0].output for answer in answers]

    with SimSession() as sim:
        expected = outputs(sim)
    assert outputs(qemu_session[0]) == expected
    golden = [experiment.workload.golden[run.inputs[0]] for run in runs]
    assert sum(one != two for one, two in zip(expected, golden, strict=True)) > PARAMETER_FAULTS // 4


@pytest.mark.parametrize("blow", ["kill", "cycle"])
def test_a_board_that_loses_its_power_in_the_middle_changes_no_record(blow: str, qemu_session, tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path)
    session, machine = qemu_session
    session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
    rows: list = []

    def sink(row: object) -> None:
        rows.append(row)
        if sum(isinstance(each, TrialRow) for each in rows) == TRIALS // 2 and not attempts(rows):
            if blow == "kill":
                os.kill(machine.pid, signal.SIGKILL)
            else:
                machine.cycle()

    task = experiment.task("hsiao_72_64")
    TaskRunner(session, task, experiment.workload, sink).collect(range(TRIALS))
    assert attempts(rows)
    wanted = {key: values for key, values in reference_of(experiment).items() if key[0] == task.name}
    assert essence(rows) == wanted


def test_a_flip_in_the_memory_file_reaches_the_guest_and_a_snapshot_undoes_it(qemu_session) -> None:
    session, machine = qemu_session
    marker = "a_sentence_that_stands_in_the_memory_of_the_guest_"
    # Put together inside, so that the question is not taken for the file.
    machine.ask(f"printf '%s_' {marker.replace('_', ' ')} > /tmp/marker")
    snapshot = Snapshot(machine)
    places = _places(machine, marker.encode())
    assert places
    flip(machine, [8 * place for place in places])
    go_on(machine)
    assert machine.ask("cat /tmp/marker") == "`" + marker[1:]
    snapshot.restore()
    go_on(machine)
    assert machine.ask("cat /tmp/marker") == marker
    session.restart()  # its line ended with the machine that was replaced


def test_the_guest_says_what_its_memory_is_used_for(qemu_session) -> None:
    _, machine = qemu_session
    sizes = {found.name: found.size_bytes for found in memory_map(machine)}
    assert {"kernel code", "free", "page tables", "interpreter", "libraries", *COMPUTER} <= set(sizes)
    assert 0.9 * machine.memory_bytes < sum(sizes.values()) <= machine.memory_bytes


def _places(machine: Machine, text: bytes) -> list[int]:
    found = []
    with machine.memory() as memory:
        at = memory.find(text)
        while at >= 0:
            found.append(at)
            at = memory.find(text, at + 1)
    return found


def test_null_strikes_are_masked_and_a_machine_without_a_kernel_is_dead(qemu_session, tmp_path: Path) -> None:
    session, machine = qemu_session
    experiment = experiment_of(tmp_path)
    task = experiment.task("none")
    session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
    session.configure(task.protection, DEADLINE_MS)
    (kernel,) = (found for found in memory_map(machine) if found.name == "kernel code")
    shooter = Shooter(experiment, task, machine, Snapshot(machine), session.agent_id)
    assert [shooter.shoot(trial, None).outcome for trial in range(2)] == [MachineOutcome.MASKED.value] * 2
    shooter.snapshot.restore()
    with machine.memory() as memory:
        for start, size in kernel.runs:
            memory[start : start + size] = bytes(size)
    go_on(machine)
    outcome, _ = shooter.end_of(Run(run_id=0, inputs=(0,)))
    assert outcome in (MachineOutcome.DEAD, MachineOutcome.REBOOT)
    row = shooter.shoot(2, kernel)  # the power hook brings it back
    assert row.struck == "kernel code"
    assert len(row.bits) == 1
    session.restart()
