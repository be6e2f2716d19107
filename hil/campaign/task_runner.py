"""Carry out the trials of one task over one session, whatever ends on the way.

An abnormal end is run again once. Reproduced, it is the outcome of the trial: CRASH or HANG where the agent lived
on, DEAD where the whole node had gone. Not reproduced, it was the infrastructure: it is listed as an attempt, and
the second run gives the outcome.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from firmware_bridge.errors import DataError, LinkError, LinkLost, PortError
from firmware_bridge.messages import Abnormal, Run, RunResult
from hil.campaign.outcome import Outcome
from hil.campaign.record import AttemptRow, Row
from hil.campaign.session import Answer, Session
from hil.campaign.task import StrikeRun, Task
from hil.campaign.trial import Verdict, abnormal_outcome, abnormal_verdict, judge, trial_row
from hil.campaign.workload import Workload
from node.governor import ROOM_C

CALIBRATION_RUNS = 5
CALIBRATION_DEADLINE_MS = 60_000
DEADLINE_FACTOR = 50
LEAST_DEADLINE_MS = 1000
MAX_LOST_LINES = 5
"""So often in a row the line may be lost without one answer before the campaign gives up (and can be resumed)."""

FATAL_DEATHS = 2
LOST = (LinkLost, PortError)
Sink = Callable[[Row], None]


@dataclass
class _OpenTrial:
    """A trial some of whose strikes have no verdict yet."""

    strikes: tuple[StrikeRun, ...]
    verdicts: dict[int, Verdict] = field(default_factory=dict)


class TaskRunner:
    """Runs trials of one task.

    Parameters
    ----------
    session : Session
        A prepared node.
    task : Task
        What is repeated.
    workload : Workload
        What is right.
    sink : callable
        Takes every row as it is measured.
    """

    def __init__(self, session: Session, task: Task, workload: Workload, sink: Sink) -> None:
        self._session = session
        self._task = task
        self._workload = workload
        self._sink = sink
        self._open: dict[int, _OpenTrial] = {}
        self._deaths: dict[int, int] = {}
        self._lost_lines = 0
        self.deadline_ms = CALIBRATION_DEADLINE_MS

    def collect(self, trials: Iterable[int]) -> None:
        """Carry out these trials, in this order, and hand a row for each to the sink."""
        numbers = list(trials)
        if not numbers:
            return
        self._with_patience(self._calibrate)
        suspects: list[tuple[StrikeRun, Abnormal]] = []
        strikes = (strike for number in numbers for strike in self._open_trial(number))
        # Whatever is asked for and not answered when the line is lost is asked for again, before all others.
        unanswered: deque[StrikeRun] = deque()
        while True:
            try:
                for strike, answer in self._stream(unanswered, strikes):
                    self._lost_lines = 0
                    if isinstance(answer, Abnormal):
                        suspects.append((strike, answer))
                    else:
                        self._settle(strike, judge(self._workload, strike.run, answer))
                break
            except LOST as error:
                if not unanswered:
                    raise
                if self._is_dead(unanswered[0], error):
                    unanswered.popleft()
        for strike, first in suspects:
            self._run_again(strike, first)

    def _open_trial(self, number: int) -> tuple[StrikeRun, ...]:
        strikes = self._task.prepare(number)
        self._open[number] = _OpenTrial(strikes)
        return strikes

    def _settle(self, strike: StrikeRun, verdict: Verdict) -> None:
        """Take down what one strike did; the last one of a trial completes its row."""
        trial = self._open[strike.trial]
        trial.verdicts[strike.run.run_id] = verdict
        if len(trial.verdicts) == len(trial.strikes):
            del self._open[strike.trial]
            verdicts = [trial.verdicts[each.run.run_id] for each in trial.strikes]
            self._sink(trial_row(self._task.name, trial.strikes, verdicts))

    def _stream(self, unanswered: deque[StrikeRun], strikes: Iterator[StrikeRun]) -> Iterator[tuple[StrikeRun, Answer]]:
        """Send what is unanswered, then further strikes; answers come in order, so the oldest is answered first."""
        again = tuple(unanswered)

        def requests() -> Iterator[Run]:
            for strike in again:
                yield strike.run
            for strike in strikes:
                unanswered.append(strike)
                yield strike.run

        for run, answer in self._session.run_many(requests()):
            strike = unanswered.popleft()
            assert strike.run is run, "answers come in the order of the requests"
            yield strike, answer

    # ---- sessions that fail --------------------------------------------------------------------------------------

    def _is_dead(self, strike: StrikeRun, error: LinkError) -> bool:
        """Get the node back; True where this strike has now killed the whole node twice, and so has an outcome."""
        node_died = self._recover(error)
        run_id = strike.run.run_id
        self._deaths[run_id] = self._deaths.get(run_id, 0) + int(node_died)
        if self._deaths[run_id] >= FATAL_DEATHS:
            self._settle(strike, abnormal_verdict(strike.run, Outcome.DEAD, f"the node died twice: {error}"))
            return True
        self._sink(AttemptRow(protection=self._task.name, trial=strike.trial, reason=str(error)))
        return False

    def _recover(self, error: LinkError) -> bool:
        self._lost_lines += 1
        if self._lost_lines > MAX_LOST_LINES:
            raise error
        node_died = self._session.restart()
        self._with_patience(self._set_up)
        return node_died

    def _with_patience(self, action: Callable[[], None]) -> None:
        """Do what prepares a task; a node that is lost meanwhile is got back."""
        while True:
            try:
                action()
                return
            except LOST:
                self._lost_lines += 1
                if self._lost_lines > MAX_LOST_LINES:
                    raise
                self._session.restart()

    def _run_again(self, strike: StrikeRun, first: Abnormal) -> None:
        """Repeat an abnormal end once: it is an outcome only if it comes again."""
        while True:
            try:
                self._set_up()
                second = self._session.run(strike.run)
                break
            except LOST as error:
                if self._is_dead(strike, error):
                    return
        if isinstance(second, Abnormal):
            detail = f"{first.detail}; again: {second.detail}"
            self._settle(strike, abnormal_verdict(strike.run, abnormal_outcome(second), detail))
            self._set_up()
            return
        reason = f"{first.kind.name}, not reproduced: {first.detail}"
        self._sink(AttemptRow(protection=self._task.name, trial=strike.trial, reason=reason))
        self._settle(strike, judge(self._workload, strike.run, second))

    # ---- setting up ----------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        self._session.configure(self._task.protection, self.deadline_ms)
        temperature_c = self._task.temperature_c
        self._session.set_temperature(ROOM_C if temperature_c is None else temperature_c)

    def _calibrate(self) -> None:
        """Measure undisturbed runs on this node: they give its deadline, and must give the golden outputs."""
        self.deadline_ms = CALIBRATION_DEADLINE_MS
        self._set_up()
        slowest_us = 0
        for number in range(CALIBRATION_RUNS):
            run = Run(run_id=number, inputs=self._task.nature.inputs(number))
            answer = self._session.run(run)
            if isinstance(answer, Abnormal):
                raise DataError(f"{self._task.name}: an undisturbed run ended in a {answer.kind.name}: {answer.detail}")
            self._check_golden(run, answer)
            slowest_us = max(slowest_us, answer.elapsed_us)
        self.deadline_ms = max(LEAST_DEADLINE_MS, DEADLINE_FACTOR * slowest_us // 1000)
        self._set_up()

    def _check_golden(self, run: Run, result: RunResult) -> None:
        for sample, inference in zip(run.inputs, result.inferences, strict=True):
            if inference.output != self._workload.golden[sample]:
                raise DataError(
                    f"{self._task.name}: the node's undisturbed output for input {sample} is not the emulator's; "
                    "outcomes would not be comparable: install the same version on both sides"
                )
