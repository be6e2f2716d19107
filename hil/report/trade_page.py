"""The page of a trade: what was struck, the verdict, benefit against time, every protection, who wins where."""

from __future__ import annotations

import json
from math import log10
from pathlib import Path

from markupsafe import Markup

from hil.report import charts, numbers
from hil.report.choice import failures
from hil.report.page import render_page, write_file
from hil.report.rivals import Rival, outcome_per_million
from hil.report.svg import element, line, percent, picture, text
from hil.report.trade import Trade, day_of
from hil.report.trade_table import GROUPS, costs_title, marks, sorted_rivals, trade_json, warnings

PAGE_FILE = "trade.html"
JSON_FILE = "trade.json"
_HEIGHT, _BASE, _TOP = 340, 300, 16
_LEFT, _RIGHT = 0.08, 0.96


def write_trade(directory: Path, trade: Trade) -> Path:
    """Write ``trade.html`` and ``trade.json`` into the directory of a trade and give the path of the page."""
    values = {
        "trade": trade,
        "rivals": sorted_rivals(trade),
        "groups": GROUPS,
        "per_million": outcome_per_million,
        "failures": failures,
        "marks": marks,
        "warnings": warnings(trade),
        "costs_title": costs_title(trade),
        "charts": charts,
        "day": (day := day_of(trade)),
        "day_axis": charts.axis_of(estimate for _, estimate in day),
        "front_chart": front_chart(trade),
        "front": front_in_order(trade),
    }
    page = render_page("trade.html", trade.summary, values)
    write_file(directory / JSON_FILE, json.dumps(trade_json(trade), indent=1, ensure_ascii=False) + "\n")
    write_file(directory / PAGE_FILE, page)
    return directory / PAGE_FILE


def front_chart(trade: Trade) -> Markup:
    """Give failures (upward, in decades) against time (across); the front is filled, circles grow with memory."""
    values = {rival.name: failures(rival, trade.central).best for rival in trade.rivals}
    seen = [value for value in values.values() if value > 0.0]
    if not seen:
        return Markup("")
    low, high = log10(min(seen)) - 0.3, log10(max(seen)) + 0.3
    times = [log10(rival.relative_time) for rival in trade.rivals]
    fastest, span = min(times), max(max(times) - min(times), 0.05)

    def across(time: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (0.03 + 0.85 * (log10(time) - fastest) / span)

    def up(value: float) -> float:
        share = 0.0 if value <= 0.0 else (log10(value) - low) / (high - low)
        return _BASE - (_BASE - _TOP) * share

    parts = [line((_LEFT, _BASE), (_RIGHT, _BASE), "grid")]
    for exponent in range(int(low) - 1, int(high) + 2):
        if low <= exponent <= high:
            parts += [
                line((_LEFT, up(10.0**exponent)), (_RIGHT, up(10.0**exponent)), "grid"),
                text(
                    numbers.significant(10.0**exponent, 1), percent(_LEFT - 0.01), up(10.0**exponent) + 4, anchor="end"
                ),
            ]
    for number in range(5):
        time = 10.0 ** (fastest + span * number / 4)
        parts.append(text(f"{time:.2f}×", percent(across(time)), _BASE + 20, kind="tick", anchor="middle"))
    parts.append(text("time of an inference, none = 1", percent(_RIGHT), _BASE + 38, anchor="end"))
    for rival in trade.rivals:
        on_front = rival.name in trade.front
        place = {"cx": percent(across(rival.relative_time)), "cy": up(values[rival.name])}
        radius = 5.0 + 4.0 * min(2.0, rival.task.costs.memory.overhead)
        kind = f"dot {'rival' if on_front else 'control'}"
        title = element("title", {}, f"{rival.name}: {numbers.interval_text(failures(rival, trade.central))}")
        parts.append(element("circle", {**place, "r": radius, "class": kind}, title))
    for number, rival in enumerate(front_in_order(trade), 1):
        place_x = percent(across(rival.relative_time) + 0.012)
        parts.append(text(str(number), place_x, up(values[rival.name]) + 12, kind="tick"))
    unit = "a day" if trade.per_day else "per million strikes"
    return picture(f"Failures {unit} against time of an inference", _HEIGHT, parts)


def front_in_order(trade: Trade) -> list[Rival]:
    """Give what lies on the front from the fastest to the slowest: the order in which the picture numbers it."""
    return sorted((rival for rival in trade.rivals if rival.name in trade.front), key=lambda rival: rival.cost)
