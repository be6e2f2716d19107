"""One trial again, in the emulator, with everything that happened on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from firmware_bridge.errors import ConfigError
from firmware_bridge.messages import Abnormal, Fault
from hil.campaign.bundle import load_bundle
from hil.campaign.divergence import Divergence, find_divergence
from hil.campaign.experiment import Experiment
from hil.campaign.record import TrialRow
from hil.campaign.store import read_rows
from hil.campaign.task import StrikeRun, Task
from hil.campaign.trial import Verdict, abnormal_outcome, abnormal_verdict, judge, trial_row
from hil.campaign.workload import Workload
from hil.targets.sim_session import SimSession


@dataclass(frozen=True, kw_only=True)
class StrikeTrace:
    """What one strike of a trial did."""

    strike_id: str
    faults: tuple[Fault, ...]
    divergence: Divergence | None
    outcome: str
    wrong: tuple[int, ...]
    withheld: tuple[int, ...]
    corrected_words: int
    detected_words: int
    rollbacks: int
    alarms: int
    detail: str

    @classmethod
    def of(cls, strike: StrikeRun, verdict: Verdict, divergence: Divergence | None) -> StrikeTrace:
        """Give the trace of a strike from its verdict."""
        result = verdict.result
        return cls(
            strike_id=strike.strike_id,
            faults=strike.run.faults,
            divergence=divergence,
            outcome=verdict.outcome.value,
            wrong=verdict.wrong,
            withheld=verdict.withheld,
            corrected_words=0 if result is None else result.corrected_words,
            detected_words=0 if result is None else result.detected_words,
            rollbacks=0 if result is None else result.rollbacks,
            alarms=0 if result is None else result.alarms,
            detail=verdict.detail,
        )

    def lines(self) -> Iterator[str]:
        """Give the trace as text."""
        yield f"strike {self.strike_id or 'none'}"
        for fault in self.faults:
            yield (
                f"  fault      {fault.kind.name.lower()} of {fault.region} bit {fault.bit} "
                f"before operator {fault.step} of inference {fault.inference}"
            )
        if self.divergence is None:
            yield "  diverged   never: every operator gave what it gives on an undisturbed computer"
        else:
            first = self.divergence
            yield f"  diverged   in inference {first.inference} after operator {first.step} ({first.step_name})"
            spread = " ".join(str(count) for count in first.bytes_by_step)
            yield f"  spread     bytes that differ in the result of each of its operators: {spread}"
        yield (
            f"  answer     corrected {self.corrected_words} words, found {self.detected_words} more wrong, "
            f"raised {self.alarms} alarms, recovered {self.rollbacks} times"
        )
        yield f"  delivered  wrong in inferences: {_numbers(self.wrong)}; withheld: {_numbers(self.withheld)}"
        yield f"  why        {self.reason}"
        yield f"  outcome    {self.outcome}{f' ({self.detail})' if self.detail else ''}"

    @property
    def reason(self) -> str:
        """Say why the strike ended as it did."""
        if self.detail:
            return "the computer itself ended: no output can be judged"
        if self.wrong:
            return "what differs reached an output, and nothing stopped it"
        if self.withheld:
            return "an error was found that could not be repaired, so outputs were withheld"
        repaired = "; memory was repaired or work done again" if self._answered else ""
        if self.divergence is None:
            return f"no operator read a wrong value{repaired}"
        counts = self.divergence.bytes_by_step
        last = max(step for step, count in enumerate(counts) if count)
        where = f": the difference ended with operator {last} of that inference" if last < len(counts) - 1 else ""
        return f"no delivered output differs{where}{repaired}"

    @property
    def _answered(self) -> bool:
        return bool(self.corrected_words or self.rollbacks or self.alarms)


@dataclass(frozen=True, kw_only=True)
class ReplayTrace:
    """What a trial did, strike by strike, and whether the run's record agrees."""

    protection: str
    trial: int
    strikes: tuple[StrikeTrace, ...]
    outcome: str
    recorded_outcome: str | None

    @property
    def agrees(self) -> bool:
        """True where the run holds no other outcome for this trial."""
        return self.recorded_outcome in (None, self.outcome)

    def to_json(self) -> str:
        """Give the trace as one JSON object."""
        return json.dumps(asdict(self) | {"agrees": self.agrees})

    def __str__(self) -> str:
        steps = [line for strike in self.strikes for line in strike.lines()]
        return "\n".join([f"trial {self.trial} of {self.protection}", *steps, self.verdict()])

    def verdict(self) -> str:
        """Give the outcome and whether it is the recorded one, as text."""
        recorded = self.recorded_outcome or "not yet"
        return f"outcome    {self.outcome}\nrecorded   {recorded}{'' if self.agrees else ': IT DISAGREES'}"


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
    strikes = task.prepare(trial)
    verdicts = _verdicts(experiment.workload, task, strikes)
    traces = tuple(
        StrikeTrace.of(strike, verdict, find_divergence(experiment.workload, task, strike.run))
        for strike, verdict in zip(strikes, verdicts, strict=True)
    )
    return ReplayTrace(
        protection=protection,
        trial=trial,
        strikes=traces,
        outcome=trial_row(task.name, strikes, verdicts).outcome,
        recorded_outcome=_recorded(directory, protection, trial),
    )


def _verdicts(workload: Workload, task: Task, strikes: tuple[StrikeRun, ...]) -> list[Verdict]:
    verdicts = []
    with SimSession() as session:
        session.prepare(workload.image.to_bytes(), workload.inputs_file())
        session.configure(task.protection, 0)
        for strike in strikes:
            answer = session.run(strike.run)
            if isinstance(answer, Abnormal):
                verdicts.append(abnormal_verdict(strike.run, abnormal_outcome(answer), answer.detail))
            else:
                verdicts.append(judge(workload, strike.run, answer))
    return verdicts


def _recorded(directory: Path, protection: str, trial: int) -> str | None:
    rows = (row for row in read_rows(directory) if isinstance(row, TrialRow))
    return next((row.outcome for row in rows if (row.protection, row.trial) == (protection, trial)), None)


def _numbers(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values) or "none"
