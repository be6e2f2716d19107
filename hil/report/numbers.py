"""Numbers as people read them: three significant digits, units, intervals that never say just zero."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10

from hil.report.costs import Spread
from hil.stats.intervals import Estimate

NOTHING = "–"


def count_text(value: int) -> str:
    """Give a count with thousands separated: ``12,345``."""
    return f"{value:,}"


def significant(value: float, digits: int = 3) -> str:
    """Give a number rounded to ``digits`` significant digits, plain between 1e-4 and 1e12.

    Examples
    --------
    >>> significant(224072.2), significant(0.0123456), significant(3e-7), significant(0)
    ('224,000', '0.0123', '3e-07', '0')
    """
    if value == 0 or not isfinite(value):
        return f"{value:g}"
    magnitude = floor(log10(abs(value)))
    if not -4 <= magnitude < 12:
        return f"{value:.{digits}g}"
    places = digits - 1 - magnitude
    return f"{round(value, places):,.{max(places, 0)}f}"


def plain(value: float) -> str:
    """Give a round number without the digits that it does not need: ``60``, ``0.5``."""
    return f"{value:,.6g}"


def interval_text(estimate: Estimate | None) -> str:
    """Give best value and limits; of zero events the upper limit alone.

    Examples
    --------
    >>> interval_text(Estimate(low=0.0, best=0.0, high=3682.1)), interval_text(Estimate(low=1.0, best=2.0, high=4.0))
    ('0 (below 3,680)', '2.00 (1.00 to 4.00)')
    """
    if estimate is None:
        return NOTHING
    return f"{significant(estimate.best)} ({limits_text(estimate)})"


def limits_text(estimate: Estimate | None) -> str:
    """Give the limits alone: ``1.00 to 4.00``, of zero events ``below 3,680``."""
    if estimate is None:
        return NOTHING
    if estimate.best == 0:
        return f"below {significant(estimate.high)}"
    return f"{significant(estimate.low)} to {significant(estimate.high)}"


def share_text(share: float | None) -> str:
    """Give a share as a percentage: ``8.3 %``."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def change_text(change: float | None) -> str:
    """Give a relative change with its sign: ``+8.3 %``."""
    return NOTHING if change is None else f"{100 * change:+.1f} %".replace("-", "−")


def time_text(spread: Spread | None) -> str:
    """Give the median of times in microseconds in the unit that suits it: ``812 µs``, ``1.23 ms``."""
    return NOTHING if spread is None else microseconds_text(spread.median)


def quartiles_text(spread: Spread | None) -> str:
    """Give the quartiles of times in microseconds: ``780 µs to 860 µs``; empty where nothing was measured."""
    if spread is None:
        return ""
    return f"{microseconds_text(spread.first_quartile)} to {microseconds_text(spread.third_quartile)}"


def microseconds_text(value_us: float) -> str:
    """Give a time in the unit that suits it."""
    for limit, unit, scale in ((1e3, "µs", 1.0), (1e6, "ms", 1e3)):
        if value_us < limit:
            return f"{significant(value_us / scale)} {unit}"
    return f"{significant(value_us / 1e6)} s"


def size_text(size_bytes: int) -> str:
    """Give a size in B, KiB or MiB.

    Examples
    --------
    >>> size_text(928), size_text(14848)
    ('928 B', '14.5 KiB')
    """
    if size_bytes < 1024:
        return f"{size_bytes} B"
    scale, unit = (1024, "KiB") if size_bytes < 1024**2 else (1024**2, "MiB")
    return f"{significant(size_bytes / scale)} {unit}"


def list_text(names: list[str]) -> str:
    """Give names as a sentence lists them: ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def few_text(names: Sequence[str], most: int = 4) -> str:
    """Give the first few names of a list, and how many more there are.

    Examples
    --------
    >>> few_text(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    shown = list(names[:most])
    return list_text([*shown, f"{len(names) - most} more"] if len(names) > most else shown)


def signed(value: float) -> str:
    """Give a number with its sign: ``+1,230``, ``−45.0``."""
    sign = "−" if value < 0 else "+" if value > 0 else ""
    return sign + significant(abs(value))
