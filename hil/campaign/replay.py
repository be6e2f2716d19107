"""One trial again, in the emulator, with everything that happened on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from firmware_bridge.errors import ConfigError
from firmware_bridge.messages import Fault, RunResult
from hil.campaign.bundle import load_bundle
from hil.campaign.experiment import Experiment
from hil.campaign.outcome import Outcome
from hil.campaign.record import TrialRow
from hil.campaign.sim_session import SimSession
from hil.campaign.store import read_rows
from hil.campaign.task import PreparedTrial, Task
from hil.campaign.trial import abnormal_outcome, judge
from node.arena import Bytes
from node.computer import Computer
from node.lockstep import LockstepRun
from node.service import split_samples


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Where memory first differed from an undisturbed computer after an operator.

    ``bytes_by_step`` counts, after each operator of that inference, the activation bytes that differ.
    """

    inference: int
    step: int
    step_name: str
    bytes_by_step: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ReplayTrace:
    """What a trial did: strikes, faults, where it first diverged, and why the outcome is what it is."""

    protection: str
    trial: int
    strike_ids: tuple[str, ...]
    faults: tuple[Fault, ...]
    divergence: Divergence | None
    outcome: str
    recorded_outcome: str | None
    wrong: tuple[int, ...]
    withheld: tuple[int, ...]
    corrected_words: int
    detected_words: int
    rollbacks: int
    detail: str

    @property
    def agrees(self) -> bool:
        """True where the run holds no other outcome for this trial."""
        return self.recorded_outcome in (None, self.outcome)

    def to_json(self) -> str:
        """Give the trace as one JSON object."""
        return json.dumps(asdict(self) | {"agrees": self.agrees})

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"trial {self.trial} of {self.protection}"
        yield f"strikes    {', '.join(self.strike_ids) or 'none'}"
        for fault in self.faults:
            yield (
                f"fault      strike {fault.strike}: {fault.kind.name.lower()} of {fault.region} bit {fault.bit} "
                f"before operator {fault.step} of inference {fault.inference}"
            )
        if self.divergence is not None:
            first = self.divergence
            spread = " ".join("-" if count < 0 else str(count) for count in first.bytes_by_step)
            yield f"diverged   in inference {first.inference} after operator {first.step} ({first.step_name})"
            yield f"spread     activation bytes that differ after each operator of it: {spread}"
        else:
            yield "diverged   never: no operator left other activations than in an undisturbed computer"
        yield f"corrected  {self.corrected_words} words; detected and left {self.detected_words}"
        yield f"recovered  {self.rollbacks} times"
        yield f"delivered wrong in inferences {_numbers(self.wrong)}; withheld {_numbers(self.withheld)}"
        yield f"outcome    {self.outcome}{f' ({self.detail})' if self.detail else ''}"
        match self.recorded_outcome:
            case None:
                yield "recorded   not yet"
            case recorded:
                yield f"recorded   {recorded}{'' if self.agrees else ' - THE RUN SAYS OTHERWISE'}"


def replay_trial(directory: Path, protection: str, trial: int) -> ReplayTrace:
    """Carry out one trial of a run again and trace it.

    Raises
    ------
    ConfigError
        The run has no such protection, or the trial lies outside it.
    """
    experiment = Experiment.of(load_bundle(directory))
    task = experiment.task(protection)
    if task is None:
        known = ", ".join(repr(task.name) for task in experiment.tasks)
        raise ConfigError(f"{directory}: no protection {protection!r}; it has {known}")
    if not 0 <= trial < experiment.trials:
        raise ConfigError(f"{directory}: no trial {trial}; it has 0 to {experiment.trials - 1}")
    prepared = task.prepare(trial)
    row, detail = _row(experiment, task, prepared)
    recorded = next(
        (
            row.outcome
            for row in read_rows(directory)
            if isinstance(row, TrialRow) and (row.protection, row.trial) == (protection, trial)
        ),
        None,
    )
    return ReplayTrace(
        protection=protection,
        trial=trial,
        strike_ids=prepared.strike_ids,
        faults=prepared.run.faults,
        divergence=_divergence(experiment, task, prepared) if row is not None else None,
        outcome=detail[0].value if row is None else row.outcome,
        recorded_outcome=recorded,
        wrong=() if row is None else row.wrong,
        withheld=() if row is None else row.withheld,
        corrected_words=0 if row is None else row.corrected_words,
        detected_words=0 if row is None else row.detected_words,
        rollbacks=0 if row is None else row.rollbacks,
        detail=detail[1],
    )


def _row(experiment: Experiment, task: Task, prepared: PreparedTrial) -> tuple[TrialRow | None, tuple[Outcome, str]]:
    with SimSession() as session:
        session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
        session.configure(task.protection, 0)
        answer = session.run(prepared.run)
    if isinstance(answer, RunResult):
        row = judge(task, experiment.workload, prepared, answer)
        return row, (Outcome(row.outcome), "")
    return None, (abnormal_outcome(answer), answer.detail)


class _StepTrace:
    """Activations after every operator of every inference, taken by wrapping one computer's engine."""

    def __init__(self, computer: Computer) -> None:
        self._computer = computer
        self._run_steps = computer.engine.run_steps
        self.after: list[tuple[int, Bytes]] = []

    def run_steps(self, first: int, last: int) -> None:
        """Run operators one by one and keep the activations after each."""
        for step in range(first, last):
            self._run_steps(step, step + 1)
            self.after.append((step, self._computer.arena.view("activations").copy()))


def _traced(experiment: Experiment, task: Task, prepared: PreparedTrial, *, struck: bool) -> list[tuple[int, Bytes]]:
    workload = experiment.workload
    samples = split_samples(workload.image, dict(workload.inputs))
    run = prepared.run if struck else task.undisturbed(prepared.run.run_id)
    with Computer(workload.image, protection=task.protection) as computer:
        trace = _StepTrace(computer)
        computer.engine.run_steps = trace.run_steps  # type: ignore[method-assign]
        LockstepRun(computer, samples, run).execute()
    return trace.after


def _divergence(experiment: Experiment, task: Task, prepared: PreparedTrial) -> Divergence | None:
    """Compare with an undisturbed computer, operator by operator, up to the first recovery."""
    n_steps = len(experiment.workload.image.steps)
    pairs = zip(
        _traced(experiment, task, prepared, struck=True),
        _traced(experiment, task, prepared, struck=False),
        strict=False,  # a stopped or rolled-back run has fewer or more operators than an undisturbed one
    )
    differing = [
        (step, int(np.count_nonzero(one != other)) if step == golden_step else -1)
        for (step, one), (golden_step, other) in pairs
    ]
    first = next((position for position, (_, count) in enumerate(differing) if count > 0), None)
    if first is None:
        return None
    inference, step = divmod(first, n_steps)
    counts = tuple(count for _, count in differing[inference * n_steps : (inference + 1) * n_steps])
    name = experiment.workload.image.step_names[step]
    return Divergence(inference=inference, step=step, step_name=name, bytes_by_step=counts)


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values) or "none"
