"""Carry out the trials of one task over one session, whatever ends on the way.

An abnormal end is run again once, by itself. Reproduced, it is the outcome of the trial: CRASH or HANG where the agent
lived on, DEAD where the whole node had gone. Not reproduced, it was the infrastructure: it is listed as an attempt, and
the last run gives the outcome.

Several runs are under way at once, so a node that dies does not say which of them it died of: all of them are then run
again one by one, and only a death with nothing else under way counts against a strike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from firmware_bridge.errors import LinkError, LinkLost, PortError, ShortcutFailed
from firmware_bridge.messages import Abnormal, Run
from hil.campaign.calibration import CALIBRATION_DEADLINE_MS, calibrate
from hil.campaign.outcome import Outcome
from hil.campaign.record import AttemptRow, Row, TrialRow, without_luck
from hil.campaign.task import StrikeRun, Task
from hil.campaign.trial import Verdict, abnormal_outcome, abnormal_verdict, judge, trial_row
from hil.campaign.workload import Workload
from hil.targets.session import Answer, Session
from node.governor import ROOM_C

PATIENCE_FACTOR = 2
"""A run that was too late is given so many times its deadline when it is run again: a hang has all the time."""

MAX_LOST_LINES = 5
"""So often in a row the line may be lost without one answer before the campaign gives up (and can be resumed)."""

FATAL_DEATHS = 2
"""Deaths of the whole node with one strike alone under way that make it DEAD: one, and its reproduction."""

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

    Attributes
    ----------
    expected : mapping of int to TrialRow
        What trials have to give; another row is a :class:`ShortcutFailed`.
    """

    def __init__(self, session: Session, task: Task, workload: Workload, sink: Sink) -> None:
        self._session = session
        self.task = task
        self._workload = workload
        self.sink = sink
        self.expected: Mapping[int, TrialRow] = {}
        self._open: dict[int, _OpenTrial] = {}
        self._suspects: list[tuple[StrikeRun, Abnormal | None]] = []
        self._lost_lines = 0
        self._is_calibrated = False
        self.deadline_ms = CALIBRATION_DEADLINE_MS

    def collect(self, trials: Iterable[int]) -> None:
        """Carry out these trials, in this order, and hand a row for each to the sink.

        A trial is drawn when it can be sent, so that several boards may draw from the same ones.
        """
        numbers = iter(trials)
        leading = next(numbers, None)
        if leading is None:
            return
        self._with_patience(self._set_up if self._is_calibrated else self._calibrate)
        strikes = (strike for number in chain((leading,), numbers) for strike in self._open_trial(number))
        # Whatever is asked for and not answered when the line is lost is asked for again, before all others.
        unanswered: deque[StrikeRun] = deque()
        while True:
            try:
                for strike, answer in self._stream(unanswered, strikes):
                    self._lost_lines = 0
                    if isinstance(answer, Abnormal):
                        self._suspects.append((strike, answer))
                    else:
                        self._settle(strike, judge(self._workload, strike.run, answer))
                break
            except LOST as error:
                if not unanswered:
                    raise
                node_died = self._recover(error)
                self._note_attempt(unanswered[0], str(error))
                if node_died:
                    self._suspects += [(strike, None) for strike in unanswered]
                    unanswered.clear()
        for strike, first in self._suspects:
            self._run_alone(strike, first)
        self._suspects.clear()

    def _open_trial(self, number: int) -> tuple[StrikeRun, ...]:
        strikes = self.task.prepare(number)
        self._open[number] = _OpenTrial(strikes)
        return strikes

    def _settle(self, strike: StrikeRun, verdict: Verdict) -> None:
        """Take down what one strike did; the last one of a trial completes its row."""
        trial = self._open[strike.trial]
        trial.verdicts[strike.run.run_id] = verdict
        if len(trial.verdicts) == len(trial.strikes):
            del self._open[strike.trial]
            verdicts = [trial.verdicts[each.run.run_id] for each in trial.strikes]
            row = trial_row(self.task.name, trial.strikes, verdicts)
            self._require_expected(row)
            self.sink(row)

    def _require_expected(self, row: TrialRow) -> None:
        expected = self.expected.get(row.trial)
        if expected is None or without_luck(expected) == without_luck(row):
            return
        raise ShortcutFailed(
            f"trial {row.trial} of {row.protection!r}: foretold and carried out, it gives two rows; please report it\n"
            f"  foretold    {without_luck(expected).decode()}\n  carried out {without_luck(row).decode()}"
        )

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

    def _note_attempt(self, strike: StrikeRun, reason: str) -> None:
        self.sink(AttemptRow(protection=self.task.name, trial=strike.trial, reason=reason))

    def _recover(self, error: LinkError) -> bool:
        """Get the node back; True where it had died, False where only the line was lost."""
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

    def _run_alone(self, strike: StrikeRun, first: Abnormal | None) -> None:
        """Settle a strike with nothing else under way; ``first`` is how it ended before, None where nobody knows."""
        deaths = 0
        while True:
            try:
                self._set_up(PATIENCE_FACTOR)
                answer = self._session.run(strike.run)
            except LOST as error:
                deaths += self._recover(error)
                if deaths == FATAL_DEATHS:
                    self._lost_lines = 0
                    self._settle(strike, abnormal_verdict(strike.run, Outcome.DEAD, f"the node died twice: {error}"))
                    return
                self._note_attempt(strike, str(error))
                continue
            self._lost_lines = 0
            if not isinstance(answer, Abnormal):
                break
            if first is not None:
                detail = f"{first.detail}; again: {answer.detail}"
                self._settle(strike, abnormal_verdict(strike.run, abnormal_outcome(answer), detail))
                return
            first = answer
        if first is not None:
            self._note_attempt(strike, f"{first.kind.name}, not reproduced: {first.detail}")
        self._settle(strike, judge(self._workload, strike.run, answer))

    # ---- setting up ----------------------------------------------------------------------------------------------

    def _set_up(self, patience: int = 1) -> None:
        self._session.configure(self.task.protection, patience * self.deadline_ms)
        temperature_c = self.task.temperature_c
        self._session.set_temperature(ROOM_C if temperature_c is None else temperature_c)

    def _calibrate(self) -> None:
        self.deadline_ms = CALIBRATION_DEADLINE_MS
        self._set_up()
        self.deadline_ms = calibrate(self._session, self.task, self._workload)
        self._is_calibrated = True
        self._set_up()
