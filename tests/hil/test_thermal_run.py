"""The closed loop over a made-up node: the real governor and pauses on a clock that nobody waits for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from firmware_bridge.errors import ConfigError, FlightNodeError
from firmware_bridge.messages import (
    FLAGS_UNKNOWN,
    Abnormal,
    AbnormalKind,
    Delivery,
    Inference,
    Run,
    RunResult,
    Telemetry,
)
from hil.environment.thermal import PI4B_BARE, PI4B_POWER, ThermalPlant
from hil.environment.thermal_run import ThermalRow, ThermalSchedule, run_thermal
from node.actuator import PauseActuator
from node.governor import PI4B, Governor

BUSY_S = 100e-6


class SlowClock(PauseActuator):
    """Stands in for a board whose clock itself is slower: work takes longer, nothing pauses."""

    name = "cpufreq"

    def worked(self, busy_s: float) -> float:
        return 0.0


class FakeNode:
    """A node of one session: an inference takes ``BUSY_S`` of computing at full clock and ``idle_s`` besides."""

    def __init__(self, *, actuator=PauseActuator, idle_s: float = 10e-6, line_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.idle_s = idle_s
        self.line_s = line_s
        self.runs: list[Run] = []
        self.temperatures_c: list[float] = []
        self.governor = Governor(PI4B, actuator(self.pass_time, self.clock))

    def clock(self) -> float:
        return self.now_s

    def pass_time(self, period_s: float) -> None:
        self.now_s += period_s

    def set_temperature(self, celsius: float) -> None:
        self.temperatures_c.append(celsius)
        self.governor.update(celsius)

    def run(self, run: Run) -> RunResult | Abnormal:
        self.runs.append(run)
        self.pass_time(self.line_s)
        started_s, busy_s = self.now_s, 0.0
        slower = 1.0 / self.governor.clock_ratio if self.governor.actuator.name == "cpufreq" else 1.0
        for _ in run.inputs:
            self.pass_time(BUSY_S * slower + self.idle_s)
            busy_s += BUSY_S * slower
            self.governor.actuator.worked(BUSY_S)
        return RunResult(
            run_id=run.run_id,
            inferences=tuple(Inference(delivery=Delivery.DELIVERED, output=b"\0") for _ in run.inputs),
            readbacks=(),
            elapsed_us=round((self.now_s - started_s) * 1e6),
            busy_us=round(busy_s * 1e6),
            clock_mhz=self.governor.clock_mhz,
            throttled=int(self.governor.flags),
            plant_c=0.0,
            board_c=math.nan,
            board_mhz=math.nan,
            board_throttled=FLAGS_UNKNOWN,
            **dict.fromkeys(
                ("checked_words", "corrected_words", "detected_words", "reloads", "rollbacks", "lost_inferences"), 0
            ),
            **dict.fromkeys(("saves", "protect_us", "save_us", "verify_us", "restore_us", "respond_us"), 0),
            **dict.fromkeys(("alarms", "recomputed_steps"), 0),
        )

    def telemetry(self) -> Telemetry:
        return Telemetry(
            uptime_ms=0,
            state="ready",
            plant_c=self.temperatures_c[-1],
            board_c=math.nan,
            clock_mhz=self.governor.clock_mhz,
            clock_ratio=float(np.float32(self.governor.clock_ratio)),  # as it crosses the line
            throttled=int(self.governor.flags),
            throttle_actuator=self.governor.actuator.name,
            load=0.0,
            inferences=0,
            corrected_words=0,
            detected_words=0,
            reloads=0,
            alarms=0,
            recomputed_steps=0,
            crc_engine="none",
            sensors="none",
        )


def demo(schedule: ThermalSchedule | None = None, **node) -> list[ThermalRow]:
    fake = FakeNode(**node)
    return run_thermal(fake, schedule, clock=fake.clock)


@pytest.fixture(scope="module")
def rows() -> list[ThermalRow]:
    return demo()


@dataclass(frozen=True, kw_only=True)
class ThermalSummary:
    """What a thermal run showed; times in seconds of the caller's clock, None for what did not happen.

    Rates are means over the slices before the first throttling, at the lowest clock, and after the last throttling.
    """

    throttled_at_s: float | None
    recovered_at_s: float | None
    highest_c: float
    lowest_clock_ratio: float
    first_inferences_per_s: float | None
    lowest_inferences_per_s: float | None
    last_inferences_per_s: float | None


def summarise(rows: Sequence[ThermalRow]) -> ThermalSummary:
    """Give what a thermal run showed; ``rows`` holds one row or more."""
    slow = [index for index, row in enumerate(rows) if row.clock_ratio < 1.0]
    after = rows[slow[-1] + 1 :] if slow else []
    lowest = min(row.clock_ratio for row in rows)
    return ThermalSummary(
        throttled_at_s=rows[slow[0]].wall_s if slow else None,
        recovered_at_s=after[0].wall_s if after else None,
        highest_c=max(row.temperature_c for row in rows),
        lowest_clock_ratio=lowest,
        first_inferences_per_s=mean_rate(rows[: slow[0]] if slow else rows),
        lowest_inferences_per_s=mean_rate([row for row in rows if row.clock_ratio == lowest]),
        last_inferences_per_s=mean_rate(after if slow else rows),
    )


def mean_rate(rows: Sequence[ThermalRow]) -> float | None:
    return sum(row.inferences_per_s for row in rows) / len(rows) if rows else None


# ---- the default demonstration ------------------------------------------------------------------------------


def test_the_demonstration_throttles_after_two_to_three_seconds_and_comes_back(rows):
    summary = summarise(rows)
    assert 2.0 <= summary.throttled_at_s <= 3.0
    assert summary.lowest_clock_ratio <= 0.5
    assert 80.0 < summary.highest_c < 95.0
    assert 5.0 <= summary.recovered_at_s <= 7.5
    assert rows[-1].clock_ratio == 1.0
    assert rows[-1].temperature_c < 75.0


@pytest.mark.parametrize("idle_s", [1e-6, 60e-6, 150e-6])
def test_it_does_so_for_nodes_that_compute_40_to_99_percent_of_their_time(idle_s):
    summary = summarise(demo(idle_s=idle_s))
    assert summary.throttled_at_s < 4.3
    assert summary.recovered_at_s < 7.5


def test_throttling_is_seen_in_the_rate_of_inferences(rows):
    summary = summarise(rows)
    assert summary.first_inferences_per_s == pytest.approx(1 / 110e-6, rel=0.01)
    stretched_s = BUSY_S / summary.lowest_clock_ratio + 10e-6
    assert summary.lowest_inferences_per_s == pytest.approx(1 / stretched_s, rel=0.02)
    assert summary.last_inferences_per_s == pytest.approx(summary.first_inferences_per_s, rel=0.01)


def test_a_clock_that_is_slower_gives_the_same_curve_as_pauses(rows):
    others = demo(actuator=SlowClock)
    pairs = [(row.temperature_c, other.temperature_c) for row, other in zip(rows, others, strict=False)]
    assert max(abs(a - b) for a, b in pairs) < 0.7
    assert summarise(others).lowest_clock_ratio == summarise(rows).lowest_clock_ratio


def test_a_slow_line_changes_neither_rate_nor_heat(rows):
    slow = demo(line_s=5e-3)
    assert slow[5].inferences_per_s == pytest.approx(rows[5].inferences_per_s, rel=1e-3)
    assert slow[5].load == pytest.approx(rows[5].load, abs=0.01)
    assert summarise(slow).throttled_at_s == pytest.approx(summarise(rows).throttled_at_s, abs=0.3)


# ---- the books ------------------------------------------------------------------------------------------------


def test_the_rows_cover_the_duration_without_gaps(rows):
    schedule = ThermalSchedule()
    assert schedule.duration_s <= rows[-1].wall_s < schedule.duration_s + 2 * schedule.slice_s
    lengths_s = np.diff([0.0, *(row.wall_s for row in rows)])
    assert np.all((lengths_s >= schedule.slice_s) & (lengths_s < 1.1 * schedule.slice_s))
    for row in rows:
        assert row.plant_s == pytest.approx(row.wall_s * schedule.acceleration)


def test_the_temperatures_are_those_of_a_plant_fed_with_the_rows(rows):
    plant = ThermalPlant(PI4B_BARE, PI4B_POWER, ambient_c=25.0, acceleration=30.0)
    before_s = 0.0
    for row in rows:
        plant.ambient_c = 60.0 if before_s < 4.5 else 10.0
        assert row.ambient_c == plant.ambient_c
        plant.advance(row.wall_s - before_s, row.load, row.clock_ratio)
        before_s = row.wall_s
        assert row.temperature_c == pytest.approx(plant.temperature_c, abs=1e-9)


def test_each_clock_is_the_governors_answer_to_the_row_before(rows):
    governor = Governor(PI4B, PauseActuator())
    for row, after in pairwise(rows):
        governor.update(row.temperature_c)
        assert after.clock_ratio == pytest.approx(governor.clock_ratio)
        assert after.throttled == governor.flags


def test_the_node_hears_of_every_temperature_and_works_through_its_inputs():
    fake, seen = FakeNode(), []
    rows = run_thermal(
        fake,
        ThermalSchedule(duration_s=0.3),
        inputs=3,
        inferences_per_run=4,
        clock=fake.clock,
        on_row=seen.append,
    )
    assert seen == rows
    assert fake.temperatures_c[1:] == [row.temperature_c for row in rows]
    assert [run.inputs for run in fake.runs[:3]] == [(0, 1, 2, 0), (1, 2, 0, 1), (2, 0, 1, 2)]
    assert [run.run_id for run in fake.runs] == list(range(len(fake.runs)))
    assert not any(run.isolate or run.faults for run in fake.runs)


def test_an_inference_longer_than_a_slice_makes_the_slice_longer():
    rows = demo(ThermalSchedule(duration_s=1.0), idle_s=0.05)
    assert [row.wall_s for row in rows] == pytest.approx([0.4 * k for k in (1, 2, 3)], rel=0.01)
    assert all(row.load < 0.01 for row in rows)


def test_a_row_is_a_line_of_json(rows):
    values = json.loads(rows[0].to_json())
    assert values == asdict(rows[0])
    assert values["board_c"] is None
    assert "\n" not in rows[0].to_json()


def test_a_run_that_stays_cool_has_no_times_of_throttling():
    summary = summarise(demo(ThermalSchedule(duration_s=0.5)))
    assert (summary.throttled_at_s, summary.recovered_at_s, summary.lowest_clock_ratio) == (None, None, 1.0)
    assert summary.first_inferences_per_s == summary.last_inferences_per_s


def test_a_run_that_ends_hot_has_not_recovered():
    summary = summarise(demo(ThermalSchedule(duration_s=4.0)))
    assert summary.throttled_at_s is not None
    assert (summary.recovered_at_s, summary.last_inferences_per_s) == (None, None)


# ---- what goes wrong ------------------------------------------------------------------------------------------


def test_a_computer_that_crashes_ends_the_run_with_its_words():
    class Crashing(FakeNode):
        def run(self, run: Run) -> RunResult | Abnormal:
            return Abnormal(kind=AbnormalKind.CRASH, detail="signal 11", boot_id=7)

    fake = Crashing()
    with pytest.raises(FlightNodeError, match="CRASH in run 0: signal 11"):
        run_thermal(fake, clock=fake.clock)


@pytest.mark.parametrize("counts", [{"inputs": 0}, {"inferences_per_run": 0}])
def test_a_run_of_nothing_is_refused(counts):
    fake = FakeNode()
    with pytest.raises(ConfigError, match="1 or more"):
        run_thermal(fake, clock=fake.clock, **counts)
    assert fake.runs == []


@pytest.mark.parametrize(
    "change",
    [
        {"duration_s": 0.0},
        {"slice_s": -1.0},
        {"acceleration": math.inf},
        {"ambient": ()},
        {"ambient": ((1.0, 20.0),)},
        {"ambient": ((0.0, 20.0), (0.0, 30.0))},
        {"ambient": ((0.0, 20.0), (3.0, 30.0), (2.0, 10.0))},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(change):
    with pytest.raises(ConfigError, match="thermal schedule"):
        replace(ThermalSchedule(), **change)
