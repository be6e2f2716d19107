"""One campaign over several boards: each has a worker of its own, all draw from the same trials.

The workers are threads, since a board computes for itself and its worker mostly waits for the line. Rows follow from
the number of their trial, so that it does not matter which board measured what. This process alone writes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Self

from hil.campaign.experiment import Experiment
from hil.campaign.link_record import link_row
from hil.campaign.record import AttemptRow, LinkRow, Row, TrialRow
from hil.campaign.store import Store
from hil.campaign.task_runner import LOST, TaskRunner
from hil.progress import ProgressEvent, ProgressSink, silent
from hil.targets.session import Session
from hil.targets.target import open_session

STOP_S = 5.0
"""So long a closing pool waits for workers; one that still waits for a lost board ends with the process."""

OpenSession = Callable[[str], Session]


class Shares:
    """The trials that nobody has drawn yet; safe to use from several threads.

    Parameters
    ----------
    missing : mapping
        Trials by protection.

    Examples
    --------
    >>> shares = Shares({"tmr": (3, 4)})
    >>> name = shares.begin()
    >>> drawn = shares.draw(name)
    >>> next(drawn), next(drawn)
    (3, 4)
    >>> shares.end(name, unfinished=[4])
    >>> shares.begin(), list(shares.draw("tmr"))
    ('tmr', [4])
    """

    def __init__(self, missing: Mapping[str, tuple[int, ...]]) -> None:
        self._left = {name: deque(trials) for name, trials in missing.items() if trials}
        self._at_work = 0
        self._changed = threading.Condition()

    def begin(self) -> str | None:
        """Give a protection with trials to draw; waits while others may still give theirs back. None: all is done."""
        with self._changed:
            while not self._left:
                if not self._at_work:
                    return None
                self._changed.wait()
            self._at_work += 1
            return next(iter(self._left))

    def draw(self, name: str) -> Iterator[int]:
        """Give trials of that protection until none is left; each goes to one board."""
        while (trial := self._next(name)) is not None:
            yield trial

    def _next(self, name: str) -> int | None:
        with self._changed:
            trials = self._left.get(name)
            if not trials:
                return None
            trial = trials.popleft()
            if not trials:
                del self._left[name]
            return trial

    def end(self, name: str, unfinished: Iterable[int]) -> None:
        """Take note that one who has begun is through, and take back the trials without a row."""
        with self._changed:
            self._at_work -= 1
            back = deque(unfinished)
            if back:
                self._left[name] = back + self._left.get(name, deque())
            self._changed.notify_all()

    def drop(self) -> None:
        """Leave nothing to draw."""
        with self._changed:
            self._left.clear()
            self._changed.notify_all()


class _Stopped(Exception):
    """The pool is closing: what is under way is left undone."""


@dataclass(frozen=True, kw_only=True)
class _Through:
    """A worker has ended; ``error`` is what ended it, None where there was nothing left to do."""

    board: _Board
    error: BaseException | None


class _Board:
    """One board and what its worker knows of it."""

    def __init__(self, target: str, experiment: Experiment, open_board: OpenSession) -> None:
        self.target = target
        self._experiment = experiment
        self._open = open_board
        self._session: Session | None = None
        self._runners: dict[str, TaskRunner] = {}
        self._unfinished: dict[int, None] = {}
        self._put: Callable[[Row | _Through], None] = lambda _row: None
        self.stopped = False

    def work(self, shares: Shares, put: Callable[[Row | _Through], None]) -> None:
        """Carry out trials until none is left or the board is lost; what it has begun is given back."""
        self._put = put
        error: BaseException | None = None
        while error is None and (name := shares.begin()) is not None:
            self._unfinished.clear()
            try:
                self._runner(name).collect(self._noted(shares.draw(name)))
            except BaseException as caught:  # noqa: BLE001 - the thread that reads the rows decides
                error = caught
                for trial in self._unfinished if isinstance(caught, LOST) else ():
                    put(AttemptRow(protection=name, trial=trial, reason=f"{self.target} was lost: {caught}"))
            shares.end(name, self._unfinished)
        put(_Through(board=self, error=error))

    def _noted(self, trials: Iterable[int]) -> Iterator[int]:
        for trial in trials:
            self._unfinished[trial] = None
            yield trial

    def _sink(self, row: Row) -> None:
        if self.stopped:
            raise _Stopped
        self._put(row)
        if isinstance(row, TrialRow):
            del self._unfinished[row.trial]

    def _runner(self, name: str) -> TaskRunner:
        """Give what runs a protection's trials on this board; its deadline is measured once."""
        workload = self._experiment.workload
        if self._session is None:
            self._session = self._open(self.target)
            self._session.prepare(workload.image.to_bytes(), workload.inputs_file())
        if name not in self._runners:
            task = self._experiment.task(name)
            assert task is not None, f"the experiment has no task {name!r}"
            self._runners[name] = TaskRunner(self._session, task, workload, self._sink)
        return self._runners[name]

    def link(self) -> LinkRow | None:
        """Give what is known of the node and its line; None for a board that did nothing."""
        if self._session is None:
            return None
        return link_row(self._session, max((runner.deadline_ms for runner in self._runners.values()), default=0))

    def close(self) -> None:
        """End the session."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class BoardPool:
    """Several boards that share the trials of one campaign. A context manager that owns their sessions.

    Parameters
    ----------
    experiment : Experiment
        What is carried out.
    targets : sequence of str
        One for each board.
    open_board : callable
        Gives the session of a target; called in the board's own thread.
    progress : callable
        Told about boards that are lost.
    """

    def __init__(
        self, experiment: Experiment, targets: Sequence[str], open_board: OpenSession, progress: ProgressSink = silent
    ) -> None:
        self._boards = [_Board(target, experiment, open_board) for target in targets]
        self._lost: list[_Board] = []
        self._progress = progress
        self._threads: dict[_Board, threading.Thread] = {}

    def collect(self, missing: Mapping[str, tuple[int, ...]]) -> Iterator[Row]:
        """Give the rows of the missing trials as they are measured, in no particular order.

        Raises
        ------
        PortError, LinkLost
            The last board was lost; its trials have no rows.
        """
        shares = Shares(missing)
        rows: SimpleQueue[Row | _Through] = SimpleQueue()
        for board in self._boards:
            self._threads[board] = threading.Thread(target=board.work, args=(shares, rows.put), daemon=True)
            self._threads[board].start()
        at_work = len(self._boards)
        try:
            while at_work:
                item = rows.get()
                if isinstance(item, _Through):
                    at_work -= 1
                    self._through(item)
                else:
                    yield item
        finally:
            shares.drop()

    def _through(self, worker: _Through) -> None:
        error = worker.error
        if error is None:
            return
        self._boards.remove(worker.board)
        self._lost.append(worker.board)
        if not isinstance(error, LOST) or not self._boards:
            raise error
        note = f"{worker.board.target} is lost, {len(self._boards)} left: {error}"
        self._progress(ProgressEvent(stage="boards", done=0, total=0, note=note))

    def links(self) -> tuple[LinkRow, ...]:
        """Give what is known of each board that is still there."""
        rows = []
        for board in self._boards:
            try:
                row = board.link()
            except LOST:  # after its last trial: nothing is missing
                continue
            if row is not None:
                rows.append(row)
        return tuple(rows)

    def close(self) -> None:
        """Let every worker end with the row it is at, and close the sessions."""
        boards = [*self._boards, *self._lost]
        for board in boards:
            board.stopped = True
        end_s = time.monotonic() + STOP_S
        for board in boards:
            thread = self._threads.get(board)
            if thread is not None:
                thread.join(max(0.0, end_s - time.monotonic()))
                if thread.is_alive():
                    continue
            board.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def collect_with_boards(
    experiment: Experiment,
    stages: Iterator[dict[str, tuple[int, ...]]],
    store: Store,
    *,
    targets: Sequence[str],
    progress: ProgressSink,
) -> None:
    """Carry out what is missing at each stage on several boards; this thread alone writes.

    Raises
    ------
    PortError, LinkLost
        The last board was lost; what was measured is kept.
    """
    folders = experiment.campaign.bench_folders
    total = experiment.trials * len(experiment.tasks)
    with BoardPool(experiment, targets, lambda target: open_session(target, silent, folders), progress) as pool:
        for missing in stages:
            done = total - sum(map(len, missing.values()))
            for row in pool.collect(missing):
                store.append(row)
                done += isinstance(row, TrialRow)
                note = row.reason if isinstance(row, AttemptRow) else ""
                progress(ProgressEvent(stage="all protections", done=done, total=total, note=note))
        store.append(*pool.links())
