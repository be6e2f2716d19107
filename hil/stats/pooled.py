"""What one item does, from trials that test several at once (pooled, or group, testing)."""

from __future__ import annotations

import math

from hil.stats.intervals import Estimate


def of_one(trial: Estimate, items: int) -> Estimate:
    """Give the share of items that cause an event, from the share of trials of ``items`` items that end in one.

    Where each item acts by itself, a trial stays without event with the chance ``(1 - p)**items``; so limits of the
    trials' share become limits of ``p`` (Thompson, Biometrics 18:568, 1962).

    Parameters
    ----------
    trial : Estimate
        Share of the trials that ended in an event.
    items : int
        Tested in each of them, drawn at random.

    Examples
    --------
    >>> found = of_one(Estimate(low=0.19, best=0.75, high=1.0), 2)
    >>> round(found.low, 3), round(found.best, 3), found.high
    (0.1, 0.5, 1.0)
    """

    def one(share: float) -> float:
        return 1.0 if share >= 1.0 else -math.expm1(math.log1p(-share) / items)

    return Estimate(low=one(trial.low), best=one(trial.best), high=one(trial.high))
