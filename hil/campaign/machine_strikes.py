"""Strikes on the memory of a whole emulated machine: kernel, interpreter, libraries and data, behind its back.

The machine is booted and loaded once, and asked what its memory is used for. Every strike then begins at the same
moment of its life: the power is taken away, the machine brought back to that moment, one bit flipped, and the workload
run. A processor that was brought back has translated nothing yet, so that a struck instruction is what it executes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import ConfigError, DataError, LinkError, LinkLost, PortError
from firmware_bridge.messages import Abnormal, AbnormalKind, Run
from hil.boards.qemu.machine import Machine
from hil.boards.qemu.memory_map import PageClass, memory_map
from hil.boards.qemu.snapshot import Snapshot, go_on
from hil.campaign.calibration import CALIBRATION_DEADLINE_MS, calibrate
from hil.campaign.configuration import CampaignFile
from hil.campaign.experiment import Experiment
from hil.campaign.machine_record import (
    NULL,
    MachineHeader,
    MachineOutcome,
    MachineRow,
    MachineStore,
    StruckClass,
)
from hil.campaign.task import Task
from hil.campaign.trial import judge
from hil.progress import ProgressEvent, ProgressSink
from hil.strikes import Stream
from hil.targets.link_session import LinkSession
from hil.targets.qemu_host import QemuHost

HELLO_S = 20.0
SILENCE_S = 10.0
RETURN_S = 40.0
"""So long a node that fell silent may take to be started again by its own machine."""
_ENDS = {AbnormalKind.CRASH: MachineOutcome.CRASH, AbnormalKind.HANG: MachineOutcome.HANG}


def strike_machine(campaign: CampaignFile, *, out: Path, trials: int, progress: ProgressSink) -> None:
    """Strike each class of the machine's memory ``trials`` times, and nothing as often; leave the rows in ``out``.

    The workload runs under the campaign's control ``none``: what a protection of the payload guards is a ten
    thousandth of this memory. A directory that holds part of the same campaign is gone on with.

    Raises
    ------
    ConfigError
        QEMU or the image of the emulated board is missing.
    PortError, LinkLost
        The board does not come up.
    """
    experiment = Experiment.of(campaign)
    task = next((task for task in experiment.tasks if task.control == "none"), None)
    if task is None:
        raise ConfigError("--strike machine: the campaign has no control `none`; leave controls as they come")
    host = QemuHost()
    progress(ProgressEvent(stage="boot", done=0, total=1))
    with LinkSession(host, progress) as session:
        progress(ProgressEvent(stage="boot", done=1, total=1))
        session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
        session.configure(task.protection, CALIBRATION_DEADLINE_MS)
        deadline_ms = calibrate(session, task, experiment.workload)
        session.configure(task.protection, deadline_ms)
        classes = tuple(found for found in memory_map(host.machine) if found.name != "no page")
        store = MachineStore(out, _header(experiment, task, classes, host.machine, trials))
        shooter = Shooter(experiment, task, host.machine, Snapshot(host.machine))
        wanted = [(trial, found) for trial in range(trials) for found in (*classes, None)]
        for done, (trial, found) in enumerate(wanted):
            if (trial, NULL if found is None else found.name) not in store.done:
                row = shooter.shoot(trial, found)
                store.append(row)
                note = "" if row.outcome == MachineOutcome.MASKED.value else f"{row.struck}: {row.outcome}"
                progress(ProgressEvent(stage="strike", done=done + 1, total=len(wanted), note=note))


def _header(
    experiment: Experiment, task: Task, classes: tuple[PageClass, ...], machine: Machine, trials: int
) -> MachineHeader:
    return MachineHeader(
        name=experiment.campaign.campaign.name,
        strike_key=task.nature.key,
        model_digest=experiment.workload.image.digest,
        trials=trials,
        inferences=task.nature.inferences,
        memory_bytes=machine.memory_bytes,
        classes=tuple(StruckClass(name=found.name, size_bytes=found.size_bytes) for found in classes),
        kernel=str(machine.image.manifest["kernel"]),
    )


@dataclass(frozen=True)
class Shooter:
    """Carries out one strike after the other, each from the same moment of a machine that is set up for the task."""

    experiment: Experiment
    task: Task
    machine: Machine
    snapshot: Snapshot

    def shoot(self, trial: int, struck: PageClass | None) -> MachineRow:
        """Bring the machine back, flip a bit of a class (of none: a null strike), run the workload and judge."""
        self.snapshot.restore()
        bit = -1
        if struck is not None:
            bit = struck.draw(Stream(self.task.nature.key, trial, "machine", struck.name))
            flip(self.machine, bit)
        go_on(self.machine)
        outcome, detail = self.end_of(Run(run_id=trial, inputs=self.task.nature.inputs(trial)))
        return MachineRow(
            trial=trial,
            struck=NULL if struck is None else struck.name,
            bit=bit,
            outcome=outcome.value,
            detail=detail,
        )

    def end_of(self, run: Run) -> tuple[MachineOutcome, str]:
        """Give what the machine comes to when it carries out a run, and why."""
        agent_id = None
        try:
            with Bridge.connect(self.machine.url, HELLO_S, silence_s=SILENCE_S) as bridge:
                agent_id = bridge.hello().agent_id
                outcome, detail = self._answered(bridge, run)
                if bridge.hello().agent_id != agent_id:
                    return MachineOutcome.CRASH, "the agent was started again"
                return outcome, detail
        except (LinkLost, PortError) as error:
            return self._silent(str(error))
        except LinkError as error:
            return MachineOutcome.DUE, str(error)

    def _answered(self, bridge: Bridge, run: Run) -> tuple[MachineOutcome, str]:
        answer = bridge.run(run)
        if isinstance(answer, Abnormal):
            return _ENDS[answer.kind], answer.detail
        try:
            return MachineOutcome(judge(self.experiment.workload, run, answer).outcome.value), ""
        except DataError as error:
            return MachineOutcome.SDC_CRITICAL, str(error)

    def _silent(self, why: str) -> tuple[MachineOutcome, str]:
        """Tell what a node that fell silent has come to: it may come back, reboot, or be dead."""
        end_s = time.monotonic() + RETURN_S
        while time.monotonic() < end_s:
            if not self.machine.is_on:
                return MachineOutcome.REBOOT, why
            try:
                with Bridge.connect(self.machine.url, SILENCE_S, silence_s=SILENCE_S) as bridge:
                    bridge.hello()
                    return MachineOutcome.CRASH, f"the node came back after: {why}"
            except LinkError:
                time.sleep(0.2)
        return MachineOutcome.DEAD, why


def flip(machine: Machine, bit: int) -> None:
    """Flip one bit of a machine's RAM, as a particle does: nothing inside is told."""
    with machine.memory() as memory:
        memory[bit // 8] ^= 1 << (bit % 8)
