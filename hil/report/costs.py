"""What a protection costs: time, memory, checkpoints; measured, as medians with their quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles

from hil.campaign.record import TaskRecord, TrialRow

THROTTLED_NOW = 0b1110
"""Bits of ``get_throttled`` that say "now": clock capped, throttled, soft temperature limit."""

BOARD_SLOWED_NOW = THROTTLED_NOW | 1
"""The same of the board itself, whose clock under-voltage takes down too."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of ``n`` measurements and its quartiles, in the unit of the field's name."""

    n: int
    first_quartile: float
    median: float
    third_quartile: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of a task's layout: cells that all protections share, its own memory and its own storage (flash)."""

    shared_bytes: int
    own_bytes: int
    storage_bytes: int

    @property
    def overhead(self) -> float:
        """Own memory as a share of the shared memory; storage is not counted."""
        return self.own_bytes / self.shared_bytes if self.shared_bytes else 0.0


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of one task; a Spread is None where nothing was measured.

    ``time_per_inference_us`` is taken over the trials that delivered every inference (withholding is fast and
    would flatter the protection); ``relative_time`` compares its median with that of the ``none`` control: 0.1
    is 10 % slower. ``protection_share`` is the part of the time that went into scrubbing, verifying, saving and
    restoring, and into answers to alarms; ``respond_us`` is one such answer, ``alarms`` counts the checks on the
    computation that failed, ``recomputed_steps`` the operators that were run again because of them. ``save_us`` and
    ``verify_us`` are per checkpoint, ``restore_us`` per rollback. ``untimed_trials`` ran
    while the board itself throttled, by its own sensors: their times are in none of these figures.
    """

    memory: Memory
    time_per_inference_us: Spread | None
    relative_time: float | None
    protection_share: Spread | None
    save_us: Spread | None
    verify_us: Spread | None
    restore_us: Spread | None
    respond_us: Spread | None
    saves: int
    rollbacks: int
    lost_inferences: int
    lost_per_rollback: float | None
    alarms: int
    recomputed_steps: int
    reloads: int
    timed_trials: int
    throttled_trials: int
    untimed_trials: int
    clock_mhz: Spread | None


def memory_of(task: TaskRecord) -> Memory:
    """Give the sizes of a task's regions."""
    memory = [region for region in task.regions if region.technology != "register"]
    own = [region for region in memory if region.own]
    return Memory(
        shared_bytes=sum(region.size_bytes for region in memory if not region.own),
        own_bytes=sum(region.size_bytes for region in own if region.technology != "flash"),
        storage_bytes=sum(region.size_bytes for region in own if region.technology == "flash"),
    )


def spread_of(values: Sequence[float]) -> Spread | None:
    """Give median and quartiles (linear interpolation between order statistics), None of nothing.

    Examples
    --------
    >>> spread_of([1.0, 2.0, 3.0, 4.0, 5.0]).third_quartile
    4.0
    """
    if not values:
        return None
    if len(values) == 1:
        first = median = third = float(values[0])
    else:
        first, median, third = quantiles(values, n=4, method="inclusive")
    return Spread(n=len(values), first_quartile=first, median=median, third_quartile=third)


@dataclass(kw_only=True)
class CostTally:
    """Gathers the costs of one task, trial by trial."""

    inferences: int
    saves: int = 0
    rollbacks: int = 0
    lost_inferences: int = 0
    alarms: int = 0
    recomputed_steps: int = 0
    reloads: int = 0
    timed_trials: int = 0
    throttled_trials: int = 0
    untimed_trials: int = 0
    _per_inference_us: list[float] = field(default_factory=list)
    _protection_share: list[float] = field(default_factory=list)
    _save_us: list[float] = field(default_factory=list)
    _verify_us: list[float] = field(default_factory=list)
    _restore_us: list[float] = field(default_factory=list)
    _respond_us: list[float] = field(default_factory=list)
    _clock_mhz: list[float] = field(default_factory=list)

    def add(self, row: TrialRow) -> None:
        """Count one trial."""
        self.saves += row.saves
        self.rollbacks += row.rollbacks
        self.lost_inferences += row.lost_inferences
        self.alarms += row.alarms
        self.recomputed_steps += row.recomputed_steps
        self.reloads += row.reloads
        timing = row.timing
        if timing is None:
            return
        if (timing.board_throttled or 0) & BOARD_SLOWED_NOW:
            self.untimed_trials += 1
            return
        self.timed_trials += 1
        self.throttled_trials += bool(timing.throttled & THROTTLED_NOW)
        self._clock_mhz.append(timing.clock_mhz)
        if not row.withheld:
            self._per_inference_us.append(timing.elapsed_us / self.inferences)
        if timing.elapsed_us:
            guarding_us = timing.protect_us + timing.save_us + timing.verify_us + timing.restore_us
            self._protection_share.append((guarding_us + timing.respond_us) / timing.elapsed_us)
        if row.saves:
            self._save_us.append(timing.save_us / row.saves)
            self._verify_us.append(timing.verify_us / row.saves)
        if row.rollbacks:
            self._restore_us.append(timing.restore_us / row.rollbacks)
        if row.alarms and timing.respond_us:
            self._respond_us.append(timing.respond_us / row.alarms)

    def time_per_inference_us(self) -> Spread | None:
        """Give the time of one inference so far."""
        return spread_of(self._per_inference_us)

    def costs(self, task: TaskRecord, baseline_us: Spread | None) -> Costs:
        """Give the costs; ``baseline_us`` is the time per inference of the ``none`` control."""
        time_us = self.time_per_inference_us()
        relative = time_us.median / baseline_us.median - 1.0 if time_us and baseline_us and baseline_us.median else None
        return Costs(
            memory=memory_of(task),
            time_per_inference_us=time_us,
            relative_time=relative,
            protection_share=spread_of(self._protection_share),
            save_us=spread_of(self._save_us),
            verify_us=spread_of(self._verify_us),
            restore_us=spread_of(self._restore_us),
            respond_us=spread_of(self._respond_us),
            saves=self.saves,
            rollbacks=self.rollbacks,
            lost_inferences=self.lost_inferences,
            lost_per_rollback=self.lost_inferences / self.rollbacks if self.rollbacks else None,
            alarms=self.alarms,
            recomputed_steps=self.recomputed_steps,
            reloads=self.reloads,
            timed_trials=self.timed_trials,
            throttled_trials=self.throttled_trials,
            untimed_trials=self.untimed_trials,
            clock_mhz=spread_of(self._clock_mhz),
        )
