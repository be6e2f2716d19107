"""The closed loop of heat: the node's work warms a plant, the plant's temperature throttles the node."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from typing import Protocol

from firmware_bridge.errors import ConfigError, FlightNodeError
from firmware_bridge.messages import Abnormal, Delivery, Run, RunResult, Telemetry
from hil.environment.sensor import SENSOR_FAULTS, Sensor
from hil.environment.thermal import PI4B_BARE, PI4B_POWER, PowerModel, ThermalNetwork, ThermalPlant

INFERENCES_PER_RUN = 8


class ThermalSession(Protocol):
    """What the loop needs of a session; a ``firmware_bridge.bridge.Bridge`` has it."""

    def set_temperature(self, celsius: float, /) -> object:
        """Tell the node how hot the plant is."""

    def telemetry(self) -> Telemetry:
        """Ask for clocks and flags."""

    def run(self, run: Run, /) -> RunResult | Abnormal:
        """Run inferences."""


@dataclass(frozen=True, kw_only=True)
class ThermalSchedule:
    """What happens to the plant, and for how long.

    The default shows in 8 seconds what takes a bare Pi 4B four minutes: an enclosure of 60 C drives it over 80 C
    after about 2.3 s (4 s for a node busy 40 % of its time), from 4.5 s on the enclosure is cooled to 10 C and
    the clock comes back before 7 s.

    Parameters
    ----------
    duration_s, slice_s : float
        The whole and one step of the loop, in seconds of the caller's clock.
    acceleration : float
        Seconds that pass for the plant in one of these.
    start_ambient_c : float
        Where the plant has rested before, idle.
    ambient : tuple of (float, float)
        From which second on which ambient temperature, in degrees Celsius; the seconds rise from 0.
    network, power : ThermalNetwork, PowerModel
        The board.
    sensor_fault, sensor_fault_s : str, float
        How the sensor whose readings the host sends fails, and when (see :class:`hil.environment.sensor.Sensor`).
    """

    duration_s: float = 8.0
    slice_s: float = 0.1
    acceleration: float = 30.0
    start_ambient_c: float = 25.0
    ambient: tuple[tuple[float, float], ...] = ((0.0, 60.0), (4.5, 10.0))
    network: ThermalNetwork = PI4B_BARE
    power: PowerModel = PI4B_POWER
    sensor_fault: str = "none"
    sensor_fault_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("duration_s", "slice_s", "acceleration"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ConfigError(f"thermal schedule: {name} = {getattr(self, name)}: give a positive number")
        if self.sensor_fault not in SENSOR_FAULTS:
            choices = ", ".join(SENSOR_FAULTS)
            raise ConfigError(f"thermal schedule: sensor_fault = {self.sensor_fault!r}: choose from {choices}")
        if not 0.0 <= self.sensor_fault_s < math.inf:
            raise ConfigError(f"thermal schedule: sensor_fault_s = {self.sensor_fault_s}: give a second of 0 or more")
        starts = [start_s for start_s, _ in self.ambient]
        if not starts or starts[0] != 0.0 or starts != sorted(set(starts)):
            raise ConfigError(f"thermal schedule: ambient starts at {starts} s: give rising seconds from 0")

    def ambient_c(self, wall_s: float) -> float:
        """Give the ambient temperature at a second of the caller's clock."""
        return next(ambient_c for start_s, ambient_c in reversed(self.ambient) if start_s <= wall_s)

    def plant(self) -> ThermalPlant:
        """Give the plant at rest, before the first second."""
        return ThermalPlant(self.network, self.power, ambient_c=self.start_ambient_c, acceleration=self.acceleration)


@dataclass(frozen=True, kw_only=True)
class ThermalRow:
    """One slice of the loop.

    Clock, flags, ambient, load (share of the allowed clock's cycles used) and rate are those *during* the slice;
    ``wall_s`` (the caller's time), ``plant_s`` (the plant's), ``temperature_c`` and ``board_c`` (the node's own
    sensor, None where it has none) those at its end. ``inferences_per_s`` counts the node's own time. ``sent_c`` is
    what the host told the node, None where its sensor said nothing.
    """

    wall_s: float
    plant_s: float
    temperature_c: float
    ambient_c: float
    clock_ratio: float
    throttled: int
    load: float
    inferences_per_s: float
    board_c: float | None
    sent_c: float | None

    def to_json(self) -> str:
        """Give the row as one line of JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def run_thermal(
    session: ThermalSession,
    schedule: ThermalSchedule | None = None,
    *,
    inputs: int = 1,
    inferences_per_run: int = INFERENCES_PER_RUN,
    clock: Callable[[], float] = time.monotonic,
    on_row: Callable[[ThermalRow], None] | None = None,
) -> list[ThermalRow]:
    """Keep the node busy while its plant warms and cools, and write down a row per slice.

    Parameters
    ----------
    session : ThermalSession
        The node, a model and inputs loaded.
    schedule : ThermalSchedule, optional
        What happens to the plant.
    inputs : int
        How many inputs are loaded; they are taken in turn.
    inferences_per_run : int
        Inferences asked for in one request.
    clock : callable
        Monotonic seconds; a stand-in in tests.
    on_row : callable, optional
        Sees each row as it comes.

    Raises
    ------
    ConfigError
        For fewer than one input or inference.
    FlightNodeError
        If the node's computer ends abnormally.

    Notes
    -----
    Power and throughput follow the node's own times: gaps on the line between two requests neither cool the plant
    nor count as slowness, so that a slow line shows the same curves. A first request, not recorded, keeps the
    node's warm-up out of the first slice.
    """
    if inputs < 1 or inferences_per_run < 1:
        raise ConfigError(f"thermal run: {inferences_per_run} inferences of {inputs} inputs: give 1 or more of each")
    schedule = schedule or ThermalSchedule()
    loop = _Loop(session, schedule, _runs(inputs, inferences_per_run), clock)
    rows: list[ThermalRow] = []
    while not rows or rows[-1].wall_s < schedule.duration_s:
        rows.append(loop.slice())
        if on_row is not None:
            on_row(rows[-1])
    return rows


class _Loop:
    """The state between two slices: plant, clock and the node's last word."""

    def __init__(
        self,
        session: ThermalSession,
        schedule: ThermalSchedule,
        runs: Iterator[Run],
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._schedule = schedule
        self._runs = runs
        self._clock = clock
        self._plant = schedule.plant()
        self._sensor = Sensor(schedule.sensor_fault, schedule.sensor_fault_s)
        self._tell(0.0)
        self._run()
        self._telemetry = session.telemetry()
        self._started_s = self._slice_s = clock()

    def slice(self) -> ThermalRow:
        """Work for a slice, let the plant follow, tell the node its temperature."""
        before, results = self._telemetry, [self._run()]
        while self._clock() - self._slice_s < self._schedule.slice_s:
            results.append(self._run())
        now_s = self._clock()
        wall_s, dt_s = now_s - self._started_s, now_s - self._slice_s
        self._slice_s = now_s
        load = _load(results, before)
        self._plant.ambient_c = self._schedule.ambient_c(wall_s - dt_s)
        temperature_c = self._plant.advance(dt_s, load, before.clock_ratio)
        sent_c = self._tell(wall_s)
        self._telemetry = self._session.telemetry()
        board_c = self._telemetry.board_c
        return ThermalRow(
            wall_s=wall_s,
            plant_s=self._plant.time_s,
            temperature_c=temperature_c,
            ambient_c=self._plant.ambient_c,
            clock_ratio=before.clock_ratio,
            throttled=before.throttled,
            load=load,
            inferences_per_s=_throughput(results),
            board_c=None if math.isnan(board_c) else board_c,
            sent_c=sent_c,
        )

    def _tell(self, wall_s: float) -> float | None:
        """Send what the sensor reads."""
        sent_c = self._sensor.reading(wall_s, self._plant.temperature_c)
        if sent_c is not None:
            self._session.set_temperature(sent_c)
        return sent_c

    def _run(self) -> RunResult:
        run = next(self._runs)
        result = self._session.run(run)
        if isinstance(result, Abnormal):
            raise FlightNodeError(
                f"thermal run: the computer ended with a {result.kind.name} in run {run.run_id}: {result.detail}"
            )
        return result


def _throughput(results: Sequence[RunResult]) -> float:
    """Give the inferences delivered per second of the node's own time."""
    delivered = sum(each.delivery is Delivery.DELIVERED for result in results for each in result.inferences)
    elapsed_s = sum(result.elapsed_us for result in results) / 1e6
    return delivered / elapsed_s if elapsed_s else 0.0


def _runs(inputs: int, inferences_per_run: int) -> Iterator[Run]:
    """Give requests without end that take the inputs in turn."""
    turn = (index % inputs for index in count())
    for run_id in count():
        yield Run(run_id=run_id % 2**32, inputs=tuple(islice(turn, inferences_per_run)), isolate=False)


def _load(results: Sequence[RunResult], telemetry: Telemetry) -> float:
    """Give the share of the allowed clock's cycles that was used.

    A node that pauses stands in for one whose clock is lower: of its time only the share ``clock_ratio`` can be
    busy, and busy that long it is fully loaded.
    """
    elapsed_us = sum(result.elapsed_us for result in results)
    busy = sum(result.busy_us for result in results) / elapsed_us if elapsed_us else 0.0
    if telemetry.throttle_actuator == "pause":
        busy /= telemetry.clock_ratio
    return min(1.0, busy)
