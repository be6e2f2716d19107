"""Several processes that each drive a node of their own; the parent alone writes.

A worker hands its rows over once a chunk is complete: a kill costs at most the chunks under way, which are run again.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import platform
import signal
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.errors import ConfigError, Interrupted
from hil.campaign.bundle import load_bundle
from hil.campaign.experiment import Experiment
from hil.campaign.foretell import VERIFIED_SHARE, Foreteller, run_trials
from hil.campaign.link_record import link_row
from hil.campaign.record import LinkRow, Row, TrialRow
from hil.campaign.stopping import FAILURES
from hil.campaign.store import Store
from hil.campaign.task_runner import TaskRunner
from hil.progress import ProgressEvent, ProgressSink, silent
from hil.targets.session import Session
from hil.targets.target import can_be_multiplied, open_session

CHUNK_TRIALS = 100


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What a worker measured, and what it knows of its node and link by now."""

    worker: str
    rows: tuple[Row, ...]
    link: LinkRow


def collect_with_workers(
    experiment: Experiment,
    missing: Mapping[str, tuple[int, ...]],
    store: Store,
    *,
    workers: int,
    progress: ProgressSink,
    verify: float = VERIFIED_SHARE,
) -> None:
    """Carry out the missing trials in ``workers`` processes.

    Raises
    ------
    ConfigError
        The target is one board, which cannot be divided.
    Interrupted
        A worker was killed; what was measured is kept.
    """
    target = experiment.campaign.campaign.target
    if not can_be_multiplied(target):
        raise ConfigError(f"--workers {workers}: {target} is one node; use --workers 1, or --target sim or pty")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start, initargs=(store.directory, target, verify))
    with pool:
        try:
            keep_chunks(_chunks(pool, missing), experiment, missing, store, progress)
        except BrokenProcessPool:
            raise Interrupted(
                "a worker process was killed (out of memory?); what was measured is kept: "
                f"use fewer --workers, then `hil resume {store.directory}`"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def keep_chunks(
    chunks: Iterable[Chunk],
    experiment: Experiment,
    missing: Mapping[str, tuple[int, ...]],
    store: Store,
    progress: ProgressSink,
) -> None:
    """Write down what workers measured as it comes, and in the end what they know of their nodes."""
    done = {task.name: experiment.trials - len(missing[task.name]) for task in experiment.tasks}
    latest = ""
    seen = {task.name: [0, 0] for task in experiment.tasks}
    links: dict[str, LinkRow] = {}
    for chunk in chunks:
        store.append(*chunk.rows)
        links[chunk.worker] = chunk.link
        for row in chunk.rows:
            if isinstance(row, TrialRow):
                done[row.protection] += 1
                seen[row.protection][0] += row.outcome in FAILURES
                seen[row.protection][1] += 1
                latest = row.protection
        failing = (latest, seen[latest][0], seen[latest][1]) if latest else None
        total = experiment.trials * len(done)
        progress(ProgressEvent(stage="all protections", done=sum(done.values()), total=total, failing=failing))
    store.append(*links.values())


def chunked(missing: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Give the missing trials in portions for one worker each: (protection, trials)."""
    for name, trials in missing.items():
        for start in range(0, len(trials), CHUNK_TRIALS):
            yield name, trials[start : start + CHUNK_TRIALS]


def _chunks(pool: ProcessPoolExecutor, missing: Mapping[str, tuple[int, ...]]) -> Iterator[Chunk]:
    with _deaf_to_interrupts():
        pending: set[Future[Chunk]] = {pool.submit(_collect, name, trials) for name, trials in chunked(missing)}
    while pending:
        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in finished:
            yield future.result()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Have processes that are started here never hear Ctrl-C, not even while they import.

    It reaches the whole process group; the parent alone answers it, right after this.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Worker:
    """One process's share of a campaign: the experiment, and the node that it drives."""

    def __init__(self, directory: Path, target: str, verify: float = VERIFIED_SHARE) -> None:
        self._experiment = Experiment.of(load_bundle(directory))
        self._session: Session = open_session(target, silent, self._experiment.campaign.bench_folders)
        atexit.register(self._session.close)
        self._session.prepare(self._experiment.workload.image.to_bytes(), self._experiment.workload.inputs_file())
        self._foreteller = Foreteller(self._experiment.workload, verify) if target == "sim" else None
        self._deadline_ms = 0

    def task_id(self, name: str) -> str | None:
        """Give the id that this worker's software gives a protection's task."""
        task = self._experiment.task(name)
        return None if task is None else task.task_id

    def collect(self, name: str, trials: tuple[int, ...]) -> Chunk:
        """Carry out some trials of one protection."""
        task = self._experiment.task(name)
        assert task is not None, f"the bundle holds no task {name!r}"
        rows: list[Row] = []
        runner = TaskRunner(self._session, task, self._experiment.workload, rows.append)
        run_trials(runner, trials, self._foreteller)
        self._deadline_ms = max(self._deadline_ms, runner.deadline_ms)
        return Chunk(
            worker=f"{platform.node()}:{os.getpid()}", rows=tuple(rows), link=link_row(self._session, self._deadline_ms)
        )


_place: tuple[Path, str, float] | None = None
_worker: Worker | None = None


def _start(directory: Path, target: str, verify: float) -> None:
    """Note what to work on; an initialiser that failed could not say why, so the first chunk does the rest."""
    global _place  # noqa: PLW0603 - a pool's initialiser has no other place to leave what its tasks need
    _place = directory, target, verify


def _collect(name: str, trials: tuple[int, ...]) -> Chunk:
    global _worker  # noqa: PLW0603 - see _start
    assert _place is not None, "the pool's initialiser has run"
    if _worker is None:
        _worker = Worker(*_place)
    return _worker.collect(name, trials)
