"""Strikes on the memory of a whole emulated machine: kernel, interpreter, libraries and data, behind its back.

The machine is booted and loaded once, and asked what its memory is used for. Every trial then begins at the same
moment of its life: the power is taken away, the machine brought back to that moment, bits flipped, and the workload
run. A processor that was brought back has translated nothing yet, so that a struck instruction is what it executes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
NO_PAGE = "no page"
_ENDS = {AbnormalKind.CRASH: MachineOutcome.CRASH, AbnormalKind.HANG: MachineOutcome.HANG}


@dataclass(frozen=True, kw_only=True)
class MachineOptions:
    """What is struck, and how often.

    Parameters
    ----------
    trials : int
        Trials on each class of memory, and null strikes.
    density : float
        Bits that one trial strikes at once in each MiB of the class, at least one bit in all. Most bits of a machine
        matter to nothing: many at once find those that do in less time, and the report reckons back to one.
    parts : tuple of str
        The classes to strike; all of them if empty.
    """

    trials: int
    density: float = 0.0
    parts: tuple[str, ...] = ()


def strike_machine(campaign: CampaignFile, *, out: Path, options: MachineOptions, progress: ProgressSink) -> None:
    """Strike classes of the machine's memory, and nothing as often; leave the rows in ``out``.

    The workload runs under the campaign's control ``none``: what a protection of the payload guards is a ten
    thousandth of this memory. A directory that holds part of the same campaign is gone on with.

    Raises
    ------
    ConfigError
        QEMU or the image of the emulated board is missing, or the machine has no such class of memory.
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
        classes = chosen(memory_map(host.machine), options.parts)
        store = MachineStore(out, _header(experiment, task, classes, host.machine, options))
        shooter = Shooter(experiment, task, host.machine, Snapshot(host.machine), session.agent_id, options.density)
        wanted = [(trial, found) for trial in range(options.trials) for found in (*classes, None)]
        for done, (trial, found) in enumerate(wanted):
            if (trial, NULL if found is None else found.name) not in store.done:
                row = shooter.shoot(trial, found)
                store.append(row)
                note = "" if row.outcome == MachineOutcome.MASKED.value else f"{row.struck}: {row.outcome}"
                progress(ProgressEvent(stage="strike", done=done + 1, total=len(wanted), note=note))


def chosen(classes: Sequence[PageClass], parts: Sequence[str]) -> tuple[PageClass, ...]:
    """Give the classes of memory that are to be struck: those of ``parts``, or all that are memory.

    Raises
    ------
    ConfigError
        One of ``parts`` is none of them.
    """
    struck = {found.name: found for found in classes if found.name != NO_PAGE}
    if unknown := [name for name in parts if name not in struck]:
        raise ConfigError(f"--part {unknown[0]!r}: the machine's memory has {', '.join(map(repr, struck))}")
    return tuple(found for found in struck.values() if not parts or found.name in parts)


def bits_at_once(struck: PageClass, density: float) -> int:
    """Give how many bits of a class one trial strikes, ``density`` being bits in each MiB."""
    return max(1, round(density * struck.size_bytes / (1 << 20)))


def _header(
    experiment: Experiment, task: Task, classes: tuple[PageClass, ...], machine: Machine, options: MachineOptions
) -> MachineHeader:
    return MachineHeader(
        name=experiment.campaign.campaign.name,
        strike_key=task.nature.key,
        model_digest=experiment.workload.image.digest,
        trials=options.trials,
        density=options.density,
        inferences=task.nature.inferences,
        memory_bytes=machine.memory_bytes,
        classes=tuple(
            StruckClass(name=found.name, size_bytes=found.size_bytes, bits=bits_at_once(found, options.density))
            for found in classes
        ),
        kernel=str(machine.image.manifest["kernel"]),
    )


@dataclass(frozen=True)
class Shooter:
    """Carries out one strike after the other, each from the same moment of a machine that is set up for the task.

    ``agent_id`` is that of the node's agent at that moment: another one afterwards is an agent that was started again.
    """

    experiment: Experiment
    task: Task
    machine: Machine
    snapshot: Snapshot
    agent_id: int
    density: float = 0.0

    def shoot(self, trial: int, struck: PageClass | None) -> MachineRow:
        """Bring the machine back, flip bits of a class (of none: a null strike), run the workload and judge."""
        self.snapshot.restore()
        bits: dict[int, None] = {}
        if struck is not None:
            stream = Stream(self.task.nature.key, trial, "machine", struck.name)
            while len(bits) < bits_at_once(struck, self.density):
                bits[struck.draw(stream)] = None
            flip(self.machine, tuple(bits))
        go_on(self.machine)
        outcome, detail = self.end_of(Run(run_id=trial, inputs=self.task.nature.inputs(trial)))
        return MachineRow(
            trial=trial,
            struck=NULL if struck is None else struck.name,
            bits=tuple(bits),
            outcome=outcome.value,
            detail=detail,
        )

    def end_of(self, run: Run) -> tuple[MachineOutcome, str]:
        """Give what the machine comes to when it carries out a run, and why."""
        try:
            with Bridge.connect(self.machine.url, HELLO_S, silence_s=SILENCE_S) as bridge:
                if bridge.hello().agent_id == self.agent_id:
                    ended = self._answered(bridge, run)
                    if bridge.hello().agent_id == self.agent_id:
                        return ended
                return MachineOutcome.CRASH, "the agent was started again"
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


def flip(machine: Machine, bits: Sequence[int]) -> None:
    """Flip bits of a machine's RAM, as particles do: nothing inside is told."""
    with machine.memory() as memory:
        for bit in bits:
            memory[bit // 8] ^= 1 << (bit % 8)
