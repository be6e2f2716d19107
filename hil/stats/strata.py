"""Two strata, one rate: strikes on cells that all protections share, and strikes on cells that one of them adds."""

from __future__ import annotations

from dataclasses import dataclass

from firmware_bridge.errors import DataError
from hil.stats.intervals import CONFIDENCE, Estimate, Limits, clopper_pearson


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Strikes of one kind and how many of them had the outcome in question."""

    events: int
    strikes: int

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.strikes:
            raise DataError(f"stratum: {self.events} events among {self.strikes} strikes: give 0 to all of them")


def events_per_shared_strike(
    shared: Stratum,
    added: Stratum,
    added_per_shared: float,
    confidence: float = CONFIDENCE,
    limits: Limits = clopper_pearson,
) -> Estimate:
    """Give the expected number of events per strike on the shared cells, added strikes included.

    ``p_shared + added_per_shared * p_added``: the rate that counts exposure, since a protection with more cells (or
    one that takes more time) receives more strikes from the same nature.

    Parameters
    ----------
    shared : Stratum
        Strikes on the shared cells; at least one.
    added : Stratum
        Strikes on added cells and in added time; there may be none, then nothing is known about them.
    added_per_shared : float
        Expected added strikes per shared strike; known from sizes and times, not estimated.
    confidence : float
        Least coverage.
    limits : callable
        What gives the share of each stratum; with :func:`hil.stats.anytime` the result may be looked at at any time.

    Returns
    -------
    Estimate
        Where there are two strata, each one's limits have half the error, and the limits are added:
        by Boole's inequality both hold together with at least ``confidence``, whatever the two shares are.

    Examples
    --------
    >>> estimate = events_per_shared_strike(Stratum(events=30, strikes=100), Stratum(events=0, strikes=10), 0.1)
    >>> round(estimate.best, 3), round(estimate.low, 3), round(estimate.high, 3)
    (0.3, 0.202, 0.449)
    """
    if added_per_shared < 0.0:
        raise DataError(f"added strikes per shared strike = {added_per_shared}: give 0 or more")
    if added_per_shared == 0.0:
        return limits(shared.events, shared.strikes, confidence)
    each = 1.0 - (1.0 - confidence) / 2.0
    one = limits(shared.events, shared.strikes, each)
    if added.strikes == 0:
        # Nothing was seen of the added strikes: they may all be events, or none; the best guess is none of them.
        return Estimate(low=one.low, best=one.best, high=one.high + added_per_shared)
    other = limits(added.events, added.strikes, each).scaled(added_per_shared)
    return Estimate(low=one.low + other.low, best=one.best + other.best, high=one.high + other.high)
