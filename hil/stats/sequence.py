"""Limits that hold at every look at once, so that a campaign may stop when it has seen enough."""

from __future__ import annotations

import math
from collections.abc import Callable

from hil.stats.intervals import CONFIDENCE, Estimate, check_counts

_PRIOR = 0.5  # both parameters of the beta mixture: Jeffreys', which serves rare events well


def anytime(events: int, trials: int, confidence: float = CONFIDENCE) -> Estimate:
    """Give the share of events with limits that may be looked at after every trial; they hold at all looks together.

    A confidence sequence: whatever rule stops the trials, the limits at that moment hold the truth with at least
    ``confidence``. ``p`` is excluded where the mixture's likelihood ratio, ``B(a+s, b+n-s) / B(a, b) / (p**s
    (1-p)**(n-s))``, reaches ``1 / (1 - confidence)``. With the true share it is a martingale that starts at 1, which
    by Ville's inequality gets there at any time with a chance of at most ``1 - confidence`` (Robbins, Ann. Math. Stat.
    41:1397, 1970; Howard, Ramdas, McAuliffe, Sekhon, Ann. Stat. 49:1055, 2021). The price is width: up to twice that
    of :func:`hil.stats.clopper_pearson`, which holds at one look alone.

    Examples
    --------
    >>> found = anytime(10, 1000)
    >>> found.best, round(found.low, 4), round(found.high, 4)
    (0.01, 0.0024, 0.0262)
    """
    check_counts(events, trials, confidence)
    if trials == 0:
        return Estimate(low=0.0, best=0.5, high=1.0)
    share = events / trials
    threshold = -math.log1p(-confidence)

    def excluded(p: float) -> bool:
        return _log_ratio(events, trials, p) >= threshold

    low = _edge(excluded, 0.0, share) if events else 0.0
    high = _edge(excluded, 1.0, share) if events < trials else 1.0
    return Estimate(low=low, best=share, high=high)


def anytime_p_value(events: int, trials: int, p: float = 0.5) -> float:
    """Give a p-value of "the share is ``p``" that holds whatever rule stopped the trials: one over the mixture ratio.

    Examples
    --------
    >>> round(anytime_p_value(0, 12), 4)
    0.0015
    """
    check_counts(events, trials, CONFIDENCE)
    return min(1.0, math.exp(-_log_ratio(events, trials, p)))


def _log_ratio(events: int, trials: int, p: float) -> float:
    others = trials - events
    mixture = _log_beta(_PRIOR + events, _PRIOR + others) - _log_beta(_PRIOR, _PRIOR)
    likelihood = (events * math.log(p) if events else 0.0) + (others * math.log1p(-p) if others else 0.0)
    return mixture - likelihood


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Give where exclusion ends between an excluded end and the best value, from the outside."""
    while True:
        middle = 0.5 * (outside + inside)
        if middle in (outside, inside):
            return outside
        if excluded(middle):
            outside = middle
        else:
            inside = middle
