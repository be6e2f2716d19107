"""What a run says about each protection in the terms of a choice: failures, pairs under equal strikes, time, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError
from hil.boards.cost_profile import CostProfile
from hil.campaign.outcome import Outcome
from hil.campaign.record import TrialRow
from hil.campaign.store import read_rows
from hil.campaign.sweep import computation_key
from hil.report.summary import EVENTS, Summary, TaskSummary
from hil.stats.counts import PairedCounts
from hil.stats.family import each_confidence
from hil.stats.intervals import Estimate
from node.protection import Protection

Failed = NDArray[np.int8]
"""One entry a trial: 1 where the strike on the shared cells failed, 0 where not, -1 where it was not run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rival:
    """One protection that stands for election.

    ``failure`` is per strike on the shared cells, added strikes included; ``added`` is the part of the added ones.
    Their limits hold for all comparisons of a run together. ``relative_time`` is the time of an inference in units of
    that of ``none``, 1.0 where nothing is known.
    """

    task: TaskSummary
    failure: Estimate
    added: Estimate
    failed: Failed
    relative_time: float
    time_us: float | None
    confidence: float

    @property
    def name(self) -> str:
        """Name of the protection."""
        return self.task.name

    @property
    def exposed_time(self) -> float:
        """The same without the time that its strikes are counted for already (idling, computing again)."""
        return self.relative_time / Protection.from_json(self.task.record.protection).time_factor

    @property
    def is_unprotected(self) -> bool:
        """True for the control ``none``."""
        return self.task.record.control == "none"

    @property
    def own_bytes(self) -> int:
        """Memory that it adds, storage not counted."""
        return self.task.costs.memory.own_bytes

    @property
    def cost(self) -> tuple[float, int, bool, str]:
        """What cheaper means: less time in steps of 1 %, then less memory, then none at all."""
        return round(self.relative_time, 2), self.own_bytes, not self.is_unprotected, self.name

    def exceeds(self, other: Rival) -> Estimate:
        """Give by how much this one fails more often than another, per strike on the shared cells.

        The strikes on the shared cells are the same for both, so those are compared in pairs; the added ones belong to
        each alone. The limits of the parts are added, so that they hold together (Boole's inequality).
        """
        if other is self:
            return Estimate(low=0.0, best=0.0, high=0.0)
        both = (self.failed >= 0) & (other.failed >= 0)
        mine, theirs = self.failed[both] == 1, other.failed[both] == 1
        pairs = PairedCounts(
            both=int(np.sum(mine & theirs)),
            only_first=int(np.sum(mine & ~theirs)),
            only_second=int(np.sum(~mine & theirs)),
            neither=int(np.sum(~mine & ~theirs)),
        )
        shared = _difference(pairs, self.confidence)
        return Estimate(
            low=shared.low + self.added.low - other.added.high,
            best=shared.best + self.added.best - other.added.best,
            high=shared.high + self.added.high - other.added.low,
        )


@cache
def _difference(pairs: PairedCounts, confidence: float) -> Estimate:
    """Give the difference of a pair; most pairs of a trade differ in few strikes, so the same counts come often."""
    return pairs.difference(confidence)


def times_us(summaries: Sequence[Summary], costs: CostProfile | None) -> dict[str, float | None]:
    """Give the time of one inference under each protection, one for all runs: strikes do not change what work costs.

    Parameters
    ----------
    summaries : sequence of Summary
        Of the runs of a trade.
    costs : CostProfile, optional
        The board's, of whose parts a time is composed; without it it is the median of those that the runs took.

    Raises
    ------
    ConfigError
        The profile was measured with another model, or lacks something.
    """
    if costs is not None:
        if costs.model.digest != summaries[0].header.model_digest:
            raise ConfigError(
                f"the cost profile is of the model {costs.model.name}, the campaign's is "
                f"{summaries[0].header.model_name}: "
                "measure the board with `hil measure CAMPAIGN.toml --target URL -o BOARD.cost.toml`"
            )
        return {task.name: _composed_us(task, costs) for task in summaries[0].tasks}
    taken: dict[str, list[float]] = {}
    for task in (task for summary in summaries for task in summary.tasks):
        spread = task.costs.time_per_inference_us
        taken.setdefault(task.name, []).extend([] if spread is None else [spread.median])
    return {name: median(times) if times else None for name, times in taken.items()}


def rivals_of(
    directory: Path, summary: Summary, times: Mapping[str, float | None], count: str = "failure"
) -> tuple[Rival, ...]:
    """Give everything that stands for election in a run, ``none`` first.

    Parameters
    ----------
    directory, summary : Path, Summary
        The run and what was read of it.
    times : dict
        As :func:`times_us` gives them.
    count : str
        Which events are failures, a key of :data:`hil.report.summary.EVENTS`.
    """
    tasks = sorted((task for task in summary.tasks if task.ranked_failure), key=lambda task: not task.record.control)
    confidence = confidence_of_each(len(tasks))
    failed = _failed(directory, summary, EVENTS[count])
    none_us = next((times[task.name] for task in tasks if task.record.control == "none"), None)
    return tuple(rival_of(task, failed[task.name], (times[task.name], none_us), confidence, count) for task in tasks)


def confidence_of_each(rivals: int) -> float:
    """Give the confidence of each interval: one a pair of rivals, and of each its failures and its added strikes."""
    return each_confidence(max(1, rivals * (rivals - 1) // 2 + 2 * rivals))


def rival_of(
    task: TaskSummary, failed: Failed, times: tuple[float | None, float | None], confidence: float, count: str
) -> Rival:
    """Give one rival; ``times`` are its own time and that of ``none``, ``count`` is as for :func:`rivals_of`."""
    time_us, none_us = times
    return Rival(
        task=task,
        failure=task.strata.estimate(*EVENTS[count], confidence=confidence),
        added=_added(task, EVENTS[count], confidence),
        failed=failed,
        relative_time=time_us / none_us if time_us and none_us else 1.0,
        time_us=time_us,
        confidence=confidence,
    )


def _failed(directory: Path, summary: Summary, events: tuple[str, ...]) -> Mapping[str, Failed]:
    found = {task.name: np.full(summary.trials, -1, np.int8) for task in summary.tasks}
    for row in read_rows(directory):
        if isinstance(row, TrialRow) and 0 <= row.trial < summary.trials and found[row.protection][row.trial] < 0:
            found[row.protection][row.trial] = row.by_strike()[0][1] in events
    return found


def _added(task: TaskSummary, events: tuple[str, ...], confidence: float) -> Estimate:
    """Give the failures of the added strikes, per strike on the shared cells."""
    strata = task.strata
    if strata.added_per_shared == 0.0:
        return Estimate(low=0.0, best=0.0, high=0.0)
    if strata.added.trials == 0:  # nothing was seen of them: they may all fail
        return Estimate(low=0.0, best=0.0, high=strata.added_per_shared)
    return strata.added.estimate(*events, confidence=confidence).scaled(strata.added_per_shared)


def _composed_us(task: TaskSummary, costs: CostProfile) -> float:
    """Give the time of one inference, composed of the profile's parts."""
    protection = Protection.from_json(task.record.protection)
    sizes = {region.name: region.size_bytes for region in task.record.regions}
    guarded = () if protection.code == "none" else protection.regions
    scrub_ns = sum(costs.time_ns("scrub", protection.code, sizes[name]) for name in guarded)
    total_ns = costs.time_ns("inference", computation_key(protection)) * protection.slowdown
    if protection.scrub_period:
        total_ns += scrub_ns / protection.scrub_period
    if protection.checkpoint_period:
        saved = sum(sizes[name] for name in protection.regions)
        total_ns += (scrub_ns + costs.time_ns("save", size_bytes=saved)) / protection.checkpoint_period
    return total_ns / 1e3


def outcome_per_million(task: TaskSummary, *outcomes: Outcome) -> float:
    """Give how often any of these outcomes is expected per million strikes on the shared cells."""
    return 1e6 * task.strata.estimate(*(outcome.value for outcome in outcomes)).best
