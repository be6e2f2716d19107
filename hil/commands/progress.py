"""Progress on standard error: a bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from hil.progress import ProgressEvent, ProgressSink

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_PERIOD_S = 5.0
"""Shortest time between two plain lines of one stage."""

NOTE_PERIOD_S = 1.0
"""The same for events that have a note."""

LIMITS_PERIOD_S = 0.25
"""Shortest time between two reckonings of limits on a terminal."""


@contextmanager
def shown_progress(stream: TextIO | None = None) -> Iterator[ProgressSink]:
    """Give a sink that shows its events on ``stream`` (standard error) until the block ends."""
    target = sys.stderr if stream is None else stream
    if not target.isatty():
        yield PlainLines(target, time.monotonic)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:>10}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(file=target)) as progress:
        yield _Bars(progress)


def failing(event: ProgressEvent) -> str:
    """Give the limits of the share of failures so far; they may be looked at as often as one likes."""
    if event.failing is None:
        return ""
    from hil.stats import anytime

    name, failures, trials = event.failing
    share = anytime(failures, trials)
    return f"{name} fails in {100 * share.low:.2f} to {100 * share.high:.2f} %"


class PlainLines:
    """A line when a stage starts and when it ends; between them one in ``LINE_PERIOD_S``, sooner for a note."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._stage = ""
        self._ended = False
        self._last_s = 0.0
        self._start = (0.0, 0)

    def __call__(self, event: ProgressEvent) -> None:
        """Write a line, if this event is worth one."""
        now_s = self._clock()
        period_s = NOTE_PERIOD_S if event.note else LINE_PERIOD_S
        ended = event.total > 0 and event.done >= event.total
        if event.stage != self._stage:
            self._stage, self._start = event.stage, (now_s, event.done)
        elif self._ended or (not ended and now_s - self._last_s < period_s):
            return
        self._ended, self._last_s = ended, now_s
        amount = f": {event.done}/{event.total}" if event.total else ""
        parts = [f"{event.stage}{amount}", self._rate(event, now_s), event.note, failing(event)]
        print("  ".join(part for part in parts if part), file=self._stream, flush=True)

    def _rate(self, event: ProgressEvent, now_s: float) -> str:
        start_s, start_done = self._start
        if event.done <= start_done or now_s <= start_s:
            return ""
        per_s = (event.done - start_done) / (now_s - start_s)
        left = f", {(event.total - event.done) / per_s:.0f} s left" if event.total > event.done else ""
        return f"{per_s:.0f}/s{left}"


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._standing = (0.0, "")

    def __call__(self, event: ProgressEvent) -> None:
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=None, rate="", note="")
        task = self._tasks[event.stage]
        speed = self._progress.tasks[self._progress.task_ids.index(task)].speed
        self._progress.update(
            task,
            completed=event.done,
            total=event.total or None,
            note="  ".join(part for part in (event.note, self._failing(event)) if part),
            rate=f"{speed:.0f}/s" if speed else "",
        )

    def _failing(self, event: ProgressEvent) -> str:
        """Give the limits, reckoned anew a few times a second: a trial may take less time than they do."""
        now_s = time.monotonic()
        if now_s - self._standing[0] > LIMITS_PERIOD_S or event.done == event.total:
            self._standing = now_s, failing(event)
        return self._standing[1]
