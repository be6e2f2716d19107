"""The thermal run as a picture: temperature above, throughput below, one time axis, shaded while throttled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil, floor

from markupsafe import Markup

from hil.campaign.record import HeatRow
from hil.report.costs import THROTTLED_NOW
from hil.report.numbers import plain
from hil.report.svg import bar, curve, line, percent, picture, text

FIRMWARE_LIMITS_C = (80.0, 85.0)
"""Where the Raspberry Pi's firmware starts to throttle, and where it throttles fully (Raspberry Pi documentation)."""

_HEIGHT = 210
_TOP = 14
_TICKS = 6


@dataclass(frozen=True, kw_only=True)
class _Scale:
    low: float
    high: float

    def place(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Give round values inside the scale."""
        step = _round_step((self.high - self.low) / _TICKS)
        return [tick * step for tick in range(ceil(self.low / step), floor(self.high / step) + 1)]


def temperature_panel(rows: Sequence[HeatRow]) -> Markup:
    """Give the temperature that was sent, the ambient, the board's own where it has a sensor, and the limits."""
    time = _time_scale(rows)
    board = [(row.wall_s, row.board_c) for row in rows if row.board_c is not None]
    values = [row.temperature_c for row in rows] + [row.ambient_c for row in rows] + [value for _, value in board]
    scale = _Scale(low=min(values) - 3, high=max(*values, FIRMWARE_LIMITS_C[1]) + 3)
    parts = _frame(rows, time, scale)
    for limit_c, words, below_px in zip(FIRMWARE_LIMITS_C, ("throttles", "fully"), (13, -4), strict=True):
        y = _y(scale.place(limit_c))
        parts += [
            line((0, y), (1, y), "limit"),
            text(f"{words} {limit_c:g} °C", "100%", y + below_px, kind="limit", anchor="end"),
        ]
    series = [("ambient", [(row.wall_s, row.ambient_c) for row in rows]), ("board", board)]
    series.append(("plant", [(row.wall_s, row.temperature_c) for row in rows]))
    parts += [_curve(points, time, scale, kind) for kind, points in series if points]
    parts += _tick_labels(scale)
    return picture("Temperature in degrees Celsius over time", _HEIGHT, parts, kind="panel")


def throughput_panel(rows: Sequence[HeatRow]) -> Markup:
    """Give the inferences per second."""
    time = _time_scale(rows)
    scale = _Scale(low=0.0, high=1.1 * max(1e-9, *(row.inferences_per_s for row in rows)))
    parts = _frame(rows, time, scale)
    parts.append(_curve([(row.wall_s, row.inferences_per_s) for row in rows], time, scale, "throughput"))
    parts += _tick_labels(scale)
    return picture("Throughput in inferences per second over time", _HEIGHT, parts, kind="panel")


def time_labels(rows: Sequence[HeatRow]) -> Markup:
    """Give the shared time axis, in seconds of wall time."""
    time = _time_scale(rows)
    labels = [
        text(f"{plain(tick)} s", percent(time.place(tick)), 14, anchor=_anchor(time.place(tick)))
        for tick in time.ticks()
    ]
    return picture("time", 20, labels, kind="axis")


def throttled_share(rows: Sequence[HeatRow]) -> float:
    """Give the share of slices in which the node throttled."""
    return sum(bool(row.throttled & THROTTLED_NOW) for row in rows) / len(rows) if rows else 0.0


def _frame(rows: Sequence[HeatRow], time: _Scale, scale: _Scale) -> list[Markup]:
    parts = []
    for throttled, group in groupby(rows, key=lambda row: bool(row.throttled & THROTTLED_NOW)):
        if throttled:
            slices = list(group)
            start, end = time.place(slices[0].wall_s), time.place(_end_of(slices[-1], rows))
            parts.append(bar(start, end - start, (_TOP, _HEIGHT - _TOP), "throttled", "throttled"))
    for tick in scale.ticks():
        y = _y(scale.place(tick))
        parts.append(line((0, y), (1, y), "grid"))
    return parts


def _tick_labels(scale: _Scale) -> list[Markup]:
    """Give the labels of the grid lines; drawn last, so that no curve hides them."""
    return [text(plain(tick), "0", _y(scale.place(tick)) - 3, kind="tick") for tick in scale.ticks()]


def _curve(points: Sequence[tuple[float, float]], time: _Scale, scale: _Scale, kind: str) -> Markup:
    places = [(time.place(x), scale.place(y)) for x, y in points]
    return curve(places, (_TOP, _HEIGHT - _TOP), f"curve {kind}")


def _end_of(row: HeatRow, rows: Sequence[HeatRow]) -> float:
    later = [other.wall_s for other in rows if other.wall_s > row.wall_s]
    return min(later, default=row.wall_s)


def _time_scale(rows: Sequence[HeatRow]) -> _Scale:
    start, end = min(row.wall_s for row in rows), max(row.wall_s for row in rows)
    return _Scale(low=start, high=end if end > start else start + 1.0)


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * (_HEIGHT - _TOP), 1)


def _anchor(share: float) -> str:
    return "start" if share < 0.04 else "end" if share > 0.96 else "middle"


def _round_step(rough: float) -> float:
    """Give the next of 1, 2, 5 times a power of ten at or above ``rough``."""
    power = 1.0
    while power > rough:
        power /= 10
    while power * 10 <= rough:
        power *= 10
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
