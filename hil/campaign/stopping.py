"""When a campaign has seen enough: decided at fixed looks, in trial order, for the whole comparison together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from hil.campaign.outcome import Outcome
from hil.campaign.record import Header, Row, TrialRow
from hil.stats import OutcomeCounts, OutcomeStrata, each_confidence

GROWTH = 1.25
"""Each look comes after a quarter more trials than the one before."""

FAILURES = tuple(outcome.value for outcome in Outcome if outcome.is_failure)


def looks(header: Header) -> Iterator[int]:
    """Give after how many trials of each protection it is asked whether that is enough; the last is all of them.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> list(looks(SimpleNamespace(trials=200, stop_half_width=0.01, stop_least_trials=100)))
    [100, 125, 157, 197, 200]
    """
    look = header.stop_least_trials
    while header.stop_half_width is not None and look < header.trials:
        yield look
        look = math.ceil(GROWTH * look)
    yield header.trials


def widest_half_width(header: Header, rows: Iterable[Row], trials: int) -> float:
    """Give half the width of the widest of all ranked protections' failure intervals after so many trials each.

    The intervals hold together, for all ranked protections and at all looks.
    """
    ranked = {task.name: task for task in header.tasks if task.is_ranked}
    outcomes: dict[str, dict[int, tuple[str, ...]]] = {name: {} for name in ranked}
    for row in rows:
        if isinstance(row, TrialRow) and row.trial < trials and row.protection in ranked:
            outcomes[row.protection].setdefault(row.trial, tuple(outcome for _, outcome in row.by_strike()))
    confidence = each_confidence(len(ranked))
    widths = [0.0]
    for name, task in ranked.items():
        strata = OutcomeStrata(
            shared=OutcomeCounts.of(each[0] for each in outcomes[name].values()),
            added=OutcomeCounts.of(outcome for each in outcomes[name].values() for outcome in each[1:]),
            added_per_shared=max(0.0, task.mean_strikes - 1.0),
            sequential=True,
        )
        estimate = strata.estimate(*FAILURES, confidence=confidence)
        widths.append(0.5 * (estimate.high - estimate.low))
    return max(widths)
