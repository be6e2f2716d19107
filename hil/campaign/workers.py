"""Several processes that each drive a node of their own; the parent alone writes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

from firmware_bridge.errors import ConfigError
from hil.campaign.bundle import load_bundle
from hil.campaign.experiment import Experiment
from hil.campaign.progress import ProgressEvent, ProgressSink, silent
from hil.campaign.record import Row, TrialRow
from hil.campaign.session import Session
from hil.campaign.store import Store
from hil.campaign.target import can_be_multiplied, open_session
from hil.campaign.task_runner import TaskRunner

CHUNK_TRIALS = 100


def collect_with_workers(
    experiment: Experiment,
    missing: Mapping[str, tuple[int, ...]],
    store: Store,
    *,
    workers: int,
    progress: ProgressSink,
) -> None:
    """Carry out the missing trials in ``workers`` processes.

    Raises
    ------
    ConfigError
        The target is one board, which cannot be divided.
    """
    target = experiment.campaign.campaign.target
    if not can_be_multiplied(target):
        raise ConfigError(f"--workers {workers}: {target} is one node; use --workers 1, or --target sim or pty")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(store.directory, target))
    done = {task.name: experiment.trials - len(missing[task.name]) for task in experiment.tasks}
    with pool:
        pending: set[Future[list[Row]]] = {
            pool.submit(_collect, name, trials[start : start + CHUNK_TRIALS])
            for name, trials in missing.items()
            for start in range(0, len(trials), CHUNK_TRIALS)
        }
        try:
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    rows = future.result()
                    store.append(*rows)
                    for row in rows:
                        if isinstance(row, TrialRow):
                            done[row.protection] += 1
                    _report(done, experiment.trials, progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _report(done: Mapping[str, int], trials: int, progress: ProgressSink) -> None:
    progress(ProgressEvent(stage="all protections", done=sum(done.values()), total=trials * len(done)))


class _Worker:
    """One process's share of a campaign: the experiment, and the node that it drives."""

    def __init__(self, experiment: Experiment, session: Session) -> None:
        self.experiment = experiment
        self.session = session


_worker: _Worker | None = None


def _start(directory: Path, target: str) -> None:
    # Ctrl-C reaches the whole process group; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _worker  # noqa: PLW0603 - a pool's initialiser has no other place to leave what its tasks need
    experiment = Experiment.of(load_bundle(directory))
    session = open_session(target, silent)
    session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
    _worker = _Worker(experiment, session)


def _collect(name: str, trials: tuple[int, ...]) -> list[Row]:
    assert _worker is not None, "the pool's initialiser has run"
    task = _worker.experiment.task(name)
    assert task is not None, f"the bundle holds no task {name!r}"
    rows: list[Row] = []
    TaskRunner(_worker.session, task, _worker.experiment.workload, rows.append).collect(trials)
    return rows
