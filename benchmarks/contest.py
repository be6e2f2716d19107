"""Two things that are timed in turn, and the ratio that comes out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

REPEATS = 21
LEAST_REPEATS = 5
SAMPLE_S = 0.01
"""One sample calls its side often enough to last this long."""
PATIENCE_S = 8.0
"""A contest whose samples take long ends after this time, though not before its least repeats."""


class NotMeasurable(Exception):
    """What this machine lacks for a measurement, in words."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is counted, for a reader who wants rates and not ratios alone.

    Parameters
    ----------
    unit : str
        What is counted, in the plural.
    ours, reference : int
        How many of them one call of each side does.
    times : int
        Parts of each.
    of_each : str
        What the parts are, in the plural.
    note : str
        What else was found before the measurement.
    """

    unit: str
    ours: int
    reference: int
    times: int
    of_each: str
    note: str = ""

    def rates(self, ratio: Ratio) -> str:
        """Give the rates of both sides as a line."""
        sides = ((self.ours, ratio.ours_s), (self.reference, ratio.reference_s))
        ours, reference = (
            f"{count / taken_s:,.0f} {self.unit}/s = {self.times * count / taken_s:,.0f} {self.of_each}/s"
            for count, taken_s in sides
        )
        note = f"; {self.note}" if self.note else ""
        return f"ours {ours}; reference {reference}; {self.times} {self.of_each} each{note}"


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What is timed against what.

    Parameters
    ----------
    ours : callable
        One call of the thing that has a goal.
    reference : callable or float
        One call of what it is held against, or the seconds that one call of ``ours`` may take.
    work : float
        Units of work in one call of ``ours`` for each unit in one call of ``reference``.
    clock : callable
        Seconds. The CPU time of this thread leaves out other processes; what waits for a disk, a line or another
        process needs :func:`time.perf_counter`; a simulation brings its own.
    counted : Work, optional
        Prints rates too.
    unit : str
        Of the clock: what is not a time has a clock of its own, which each call turns on by what it measures.
    """

    ours: Callable[[], object]
    reference: Callable[[], object] | float
    work: float = 1.0
    clock: Callable[[], float] = time.thread_time
    counted: Work | None = None
    unit: str = "s"


OpenContest = Callable[[], AbstractContextManager[Contest]]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times better than the reference, higher is better: median and quartiles over the repeats.

    Parameters
    ----------
    median, low, high : float
        Median, lower and upper quartile of (reference time / our time) per unit of work.
    ours_s, reference_s : float
        Median times of one call.
    repeats : int
        Number of alternations.
    unit : str
        Of both.
    """

    median: float
    low: float
    high: float
    ours_s: float
    reference_s: float
    repeats: int
    unit: str = "s"


def measure(contest: Contest) -> Ratio:
    """Time both sides in turn and give the ratio of each turn."""
    clock = contest.clock
    ours = _Side(contest.ours, clock)
    reference = contest.reference if isinstance(contest.reference, float) else _Side(contest.reference, clock)
    ratios: list[float] = []
    our_times: list[float] = []
    reference_times: list[float] = []
    end = time.perf_counter() + PATIENCE_S
    while len(ratios) < REPEATS and (len(ratios) < LEAST_REPEATS or time.perf_counter() < end):
        reference_times.append(reference if isinstance(reference, float) else reference.sample_s())
        our_times.append(ours.sample_s())
        ratios.append(contest.work * reference_times[-1] / our_times[-1])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    ours_s, reference_s = statistics.median(our_times), statistics.median(reference_times)
    return Ratio(
        median=median,
        low=low,
        high=high,
        ours_s=ours_s,
        reference_s=reference_s,
        repeats=len(ratios),
        unit=contest.unit,
    )


class _Side:
    """One thing to time, with the number of calls that makes a sample."""

    def __init__(self, call: Callable[[], object], clock: Callable[[], float]) -> None:
        self._call = call
        self._clock = clock
        self._number = 1
        call()
        taken_s = self.sample_s()
        while taken_s * self._number < SAMPLE_S / 2:
            self._number *= 2
            taken_s = self.sample_s()
        self._number = max(1, round(SAMPLE_S / taken_s))

    def sample_s(self) -> float:
        """Give the mean time of one call."""
        call, clock = self._call, self._clock
        started_s = clock()
        for _ in range(self._number):
            call()
        return max(clock() - started_s, 1e-9) / self._number
