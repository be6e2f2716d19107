"""Pictures of outcomes: what became of the trials, how often each protection failed, and which bits hurt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

from markupsafe import Markup

from hil.campaign.outcome import Outcome
from hil.report.numbers import count_text, interval_text, share_text, significant
from hil.report.summary import Summary, TaskSummary
from hil.report.svg import bar, element, line, percent, picture, text
from hil.report.vulnerability import MapRow
from hil.stats.intervals import Estimate, clopper_pearson

BAR_HEIGHT = 24
_WHISKER_HEIGHT = 46
_CELL_HEIGHT = 22

OUTCOME_WORDS = {
    Outcome.MASKED: "masked",
    Outcome.CORRECTED: "corrected",
    Outcome.DUE: "detected, withheld (DUE)",
    Outcome.SDC_TOLERABLE: "silent, tolerable (SDC)",
    Outcome.SDC_CRITICAL: "silent, critical (SDC)",
    Outcome.LATE: "late",
    Outcome.HANG: "hang",
    Outcome.CRASH: "crash",
    Outcome.DEAD: "dead",
}


def outcome_bar(task: TaskSummary) -> Markup:
    """Give one bar that the outcomes of a task share, failures first so that they are compared from zero."""
    parts = []
    start = 0.0
    for outcome in reversed(Outcome):
        share = task.outcomes[outcome] / task.trials if task.trials else 0.0
        if share:
            words = f"{OUTCOME_WORDS[outcome]}: {count_text(task.outcomes[outcome])} ({share_text(share)})"
            parts.append(bar(start, share, (0, BAR_HEIGHT), f"o-{outcome.value.lower()}", words))
        start += share
    title = ", ".join(f"{OUTCOME_WORDS[outcome]} {count}" for outcome, count in task.outcomes.items() if count)
    return picture(f"{task.label}: {title or 'no trial yet'}", BAR_HEIGHT, parts, kind="bar")


@dataclass(frozen=True, kw_only=True)
class LogAxis:
    """Decades from ``low`` to ``high``, both powers of ten."""

    low: int
    high: int

    def place(self, value: float) -> float:
        """Give where a value lies, as a share of the axis; what is too small lies at the start."""
        if value <= 0:
            return 0.0
        return min(1.0, max(0.0, (log10(value) - self.low) / (self.high - self.low)))

    def decades(self) -> list[tuple[float, str]]:
        """Give place and label of each decade."""
        exponents = range(self.low, self.high + 1)
        return [
            ((exponent - self.low) / (self.high - self.low), significant(10.0**exponent, 1)) for exponent in exponents
        ]


def failure_axis(summary: Summary) -> LogAxis:
    """Give the axis on which every interval and the noise floor, per million strikes, find a place."""
    estimates = [task.failure.per_million() for task in summary.tasks if task.failure]
    return axis_of(estimates)


def axis_of(estimates: Iterable[Estimate]) -> LogAxis:
    """Give the axis on which every estimate finds a place."""
    values = [value for estimate in estimates for value in (estimate.low, estimate.best, estimate.high) if value > 0]
    if not values:
        return LogAxis(low=0, high=6)
    low = floor(log10(min(values)))
    return LogAxis(low=low, high=max(low + 1, ceil(log10(max(values)))))


def whisker(task: TaskSummary, axis: LogAxis, noise_floor: float | None) -> Markup:
    """Give dot and limits of a task's failures; of zero events a line that ends in its upper limit."""
    parts = _grid(axis, _WHISKER_HEIGHT)
    if noise_floor is not None:
        parts.append(bar(0.0, axis.place(1e6 * noise_floor), (0, _WHISKER_HEIGHT), "floor"))
    if task.failure is None:
        return picture(f"{task.label}: no trial yet", _WHISKER_HEIGHT, parts, kind="whisker")
    rate = task.failure.per_million()
    kind = "control" if task.record.control else "rival"
    title = f"{task.label}: {interval_text(rate)} failures per million strikes"
    return picture(title, _WHISKER_HEIGHT, [*parts, *_dot_and_limits(rate, axis, kind)], kind="whisker")


def estimate_whisker(words: str, estimate: Estimate, axis: LogAxis) -> Markup:
    """Give dot and limits of an estimate."""
    parts = [*_grid(axis, _WHISKER_HEIGHT), *_dot_and_limits(estimate, axis, "rival")]
    return picture(f"{words}: {interval_text(estimate)}", _WHISKER_HEIGHT, parts, kind="whisker")


def _dot_and_limits(estimate: Estimate, axis: LogAxis, kind: str) -> list[Markup]:
    middle = _WHISKER_HEIGHT / 2
    low, high = axis.place(estimate.low), axis.place(estimate.high)
    ends = (low, high) if estimate.best else (high,)
    parts = [line((low, middle), (high, middle), f"range {kind}")]
    parts += [line((end, middle - 5), (end, middle + 5), f"range {kind}") for end in ends]
    if estimate.best:
        place = {"cx": percent(axis.place(estimate.best)), "cy": middle, "r": 5, "class": f"dot {kind}"}
        parts.append(element("circle", place))
    return parts


def axis_labels(axis: LogAxis, title: str = "failures per million strikes") -> Markup:
    """Give the labels under the whiskers."""
    decades = axis.decades()
    anchors = ["start", *["middle"] * (len(decades) - 2), "end"]
    labels = [text(words, percent(x), 14, anchor=anchor) for (x, words), anchor in zip(decades, anchors, strict=True)]
    return picture(f"{title}, logarithmic", 20, labels, kind="axis")


def map_strip(row: MapRow) -> Markup:
    """Give one line of the map: a cell per bit position, most significant first.

    A cell's colour is as strong as the lower 95 % limit of its share of failures: two failures of two strikes
    stay pale, twenty of twenty do not.
    """
    parts: list[Markup] = []
    width = 1.0 / row.width_bits
    for place, bit in enumerate(reversed(range(row.width_bits))):
        struck, failed = row.struck[bit], row.failed[bit]
        if not struck:
            continue
        surely = clopper_pearson(failed, struck).low
        words = f"bit {bit}: {failed} of {struck} strikes failed ({share_text(failed / struck)})"
        attributes = {"x": percent(place * width), "width": percent(width), "y": 0, "height": _CELL_HEIGHT}
        shade = attributes | {"class": "heat", "fill-opacity": f"{0.06 + 0.94 * surely**0.6:.2f}" if failed else "0"}
        parts.append(element("rect", attributes | {"class": "struck"}))
        parts.append(element("rect", shade, element("title", {}, words)))
        if row.width_bits == 8:
            kind = "cell strong" if surely > 0.4 else "cell"
            parts.append(text(f"{failed}/{struck}", percent((place + 0.5) * width), 15, kind=kind, anchor="middle"))
    title = f"{row.region} {row.place}: {sum(row.failed)} failures among {sum(row.struck)} strikes"
    return picture(title, _CELL_HEIGHT, parts, kind="strip")


def map_header(width_bits: int) -> Markup:
    """Give the bit numbers above the lines of the map."""
    step = max(1, width_bits // 8)
    labels = [
        text(str(bit), percent((width_bits - bit - 0.5) / width_bits), 12, anchor="middle")
        for bit in range(width_bits - 1, -1, -1)
        if width_bits == 8 or bit % step == 0 or bit == width_bits - 1
    ]
    return picture("bit position, most significant first", 16, labels, kind="axis")


def widths(rows: Iterable[MapRow]) -> list[int]:
    """Give the value widths that occur, ascending."""
    return sorted({row.width_bits for row in rows})


def _grid(axis: LogAxis, height: float) -> list[Markup]:
    return [line((x, 0), (x, height), "grid") for x, _ in axis.decades()]
