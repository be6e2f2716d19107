"""Carry out the trials of one task over one session, whatever ends on the way.

An abnormal end is run again once. Reproduced, it is the outcome of the trial: CRASH or HANG where the agent lived
on, DEAD where the whole node had gone. Not reproduced, it was the infrastructure: it is listed as an attempt, and
the second run gives the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from firmware_bridge.errors import DataError, LinkError, LinkLost, PortError
from firmware_bridge.messages import Abnormal, Run, RunResult
from hil.campaign.outcome import Outcome
from hil.campaign.record import AttemptRow, Row
from hil.campaign.session import Answer, Session
from hil.campaign.task import PreparedTrial, Task
from hil.campaign.trial import abnormal_outcome, judge, judge_abnormal
from hil.campaign.workload import Workload
from node.governor import ROOM_C

CALIBRATION_RUNS = 5
CALIBRATION_DEADLINE_MS = 60_000
DEADLINE_FACTOR = 50
LEAST_DEADLINE_MS = 1000
MAX_LOST_LINES = 5
"""So often in a row the line may be lost without one answer before the campaign gives up (and can be resumed)."""

LOST = (LinkLost, PortError)
Sink = Callable[[Row], None]


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
        self._deaths: dict[int, int] = {}
        self._lost_lines = 0
        self.deadline_ms = CALIBRATION_DEADLINE_MS

    def collect(self, trials: Iterable[int]) -> None:
        """Carry out these trials, in this order, and hand a row for each to the sink."""
        waiting = list(trials)
        if not waiting:
            return
        self._with_patience(self._calibrate)
        suspects: list[tuple[PreparedTrial, Abnormal]] = []
        while waiting:
            done = 0
            try:
                for trial, answer in self._stream(waiting):
                    done += 1
                    self._lost_lines = 0
                    if isinstance(answer, Abnormal):
                        suspects.append((trial, answer))
                    else:
                        self._sink(judge(self._task, self._workload, trial, answer))
                waiting = []
            except LOST as error:
                waiting = waiting[done:]
                if self._is_dead(waiting[0], error):
                    waiting = waiting[1:]
        for trial, first in suspects:
            self._run_again(trial, first)

    # ---- sessions that fail --------------------------------------------------------------------------------------

    def _stream(self, trials: list[int]) -> Iterator[tuple[PreparedTrial, Answer]]:
        prepared: dict[int, PreparedTrial] = {}

        def requests() -> Iterator[Run]:
            for number in trials:
                prepared[number] = self._task.prepare(number)
                yield prepared[number].run

        for run, answer in self._session.run_many(requests()):
            yield prepared.pop(run.run_id), answer

    def _is_dead(self, number: int, error: LinkError) -> bool:
        """Get the node back; True where this trial has now killed the whole node twice, and so has an outcome."""
        node_died = self._recover(error)
        self._deaths[number] = self._deaths.get(number, 0) + int(node_died)
        if self._deaths[number] >= 2:
            row = judge_abnormal(self._task, self._task.prepare(number), Outcome.DEAD, f"twice: {error}")
            self._sink(row)
            return True
        self._sink(AttemptRow(protection=self._task.name, trial=number, reason=str(error)))
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
                return action()
            except LOST:
                self._lost_lines += 1
                if self._lost_lines > MAX_LOST_LINES:
                    raise
                self._session.restart()

    def _run_again(self, trial: PreparedTrial, first: Abnormal) -> None:
        """Repeat an abnormal end once: it is an outcome only if it comes again."""
        while True:
            try:
                self._set_up()
                second = self._session.run(trial.run)
                break
            except LOST as error:
                if self._is_dead(trial.run.run_id, error):
                    return
        if isinstance(second, Abnormal):
            detail = f"{first.detail}; again: {second.detail}"
            self._sink(judge_abnormal(self._task, trial, abnormal_outcome(second), detail))
            self._set_up()
            return
        reason = f"{first.kind.name}, not reproduced: {first.detail}"
        self._sink(AttemptRow(protection=self._task.name, trial=trial.run.run_id, reason=reason))
        self._sink(judge(self._task, self._workload, trial, second))

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
