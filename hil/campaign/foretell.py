"""Trials of a task on the emulated node: foretold where that is exact, carried out where not, and some of them both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hil.campaign.foresight import Foresight, Golden
from hil.campaign.task import Task
from hil.campaign.task_runner import TaskRunner
from hil.campaign.workload import Workload
from hil.strikes import Stream
from node.model.frames import NotIncremental

LEAD_TRIALS = 50
"""The first trials of every protection are carried out: their times are the cost of the protection."""
VERIFIED_SHARE = 0.02
"""Of the others so many are carried out too, and compared."""
BATCH_TRIALS = 256
"""Trials that are foretold together."""


class Foreteller:
    """Foretells the trials of a campaign; golden values are computed when they are needed first.

    Parameters
    ----------
    workload : Workload
        The campaign's.
    share : float
        Of the trials that are foretold, how many are carried out and compared.
    """

    def __init__(self, workload: Workload, share: float = VERIFIED_SHARE) -> None:
        self.workload = workload
        self._share = share
        self._golden: Golden | None = None
        self._is_blind = False

    def foresight(self, task: Task, trials: Iterable[int]) -> Foresight | None:
        """Give what foretells these trials, None where all of them have to be carried out."""
        if self._is_blind or max(trials, default=0) < LEAD_TRIALS:
            return None
        try:
            self._golden = self._golden or Golden(self.workload)
        except NotIncremental:
            self._is_blind = True  # for every protection and for good: nothing is tried again
            return None
        try:
            return Foresight(task, self.workload, self._golden)
        except NotIncremental:
            return None

    def repeats(self, task: Task, trial: int) -> bool:
        """Tell whether a trial is carried out though it can be foretold."""
        return trial < LEAD_TRIALS or Stream(task.nature.key, trial, "verify").uniform() < self._share


def run_trials(runner: TaskRunner, trials: tuple[int, ...], foreteller: Foreteller | None) -> TaskRunner:
    """Have the sink of a runner take a row of each trial, foretold or carried out by it; give the runner back.

    Raises
    ------
    ShortcutFailed
        A trial that was carried out did not end as foretold; the message holds both.
    """
    foresight = None if foreteller is None else foreteller.foresight(runner.task, trials)
    if foreteller is None or foresight is None:
        runner.collect(trials)
        return runner
    with foresight:
        for batch in _batches(trials):
            told = {trial: row for trial, row in foresight.rows(batch).items() if row is not None}
            runner.expected = {trial: row for trial, row in told.items() if foreteller.repeats(runner.task, trial)}
            runner.collect(trial for trial in batch if trial not in told or trial in runner.expected)
            for trial in batch:
                if trial in told and trial not in runner.expected:
                    runner.sink(told[trial])
    return runner


def _batches(trials: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for first in range(0, len(trials), BATCH_TRIALS):
        yield trials[first : first + BATCH_TRIALS]
