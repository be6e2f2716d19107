"""Intervals that keep their promise: exact limits for shares, paired differences and plans.

Everything printed uses :func:`clopper_pearson` and :func:`paired_difference`, whose coverage is at least nominal
for every true value. Where no event was seen, the upper limit stands for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from firmware_bridge.errors import DataError
from hil.stats.binomial import beta_quantile, binomial_cdf

CONFIDENCE = 0.95
MILLION = 1_000_000.0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A best value between a low and a high limit, all in one unit.

    Examples
    --------
    >>> Estimate(low=0.001, best=0.002, high=0.004).per_million()
    Estimate(low=1000.0, best=2000.0, high=4000.0)
    """

    low: float
    best: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.best <= self.high:
            raise DataError(f"estimate: {self.low}, {self.best}, {self.high} are not low <= best <= high")

    def scaled(self, factor: float) -> Estimate:
        """Give the estimate in another unit; ``factor`` is 0 or more."""
        if not factor >= 0.0:
            raise DataError(f"estimate: cannot scale by {factor}: give 0 or more")
        return Estimate(low=self.low * factor, best=self.best * factor, high=self.high * factor)

    def per_million(self) -> Estimate:
        """Give a share as a number per million."""
        return self.scaled(MILLION)


def clopper_pearson(events: int, trials: int, confidence: float = CONFIDENCE) -> Estimate:
    """Give the share of events with exact two-sided limits; coverage is at least ``confidence``.

    Each limit is a quantile of a beta distribution (Clopper & Pearson, Biometrika 26:404, 1934). With zero events
    the upper limit is ``1 - ((1 - confidence)/2)**(1/trials)``, never zero. Without trials the limits are 0 and 1
    and the best value, which nothing supports, their middle.

    Examples
    --------
    >>> estimate = clopper_pearson(0, 10)
    >>> estimate.low, round(estimate.high, 4)
    (0.0, 0.3085)
    """
    check_counts(events, trials, confidence)
    if trials == 0:
        return Estimate(low=0.0, best=0.5, high=1.0)
    tail = 0.5 * (1.0 - confidence)
    low = beta_quantile(tail, events, trials - events + 1) if events else 0.0
    high = beta_quantile(1.0 - tail, events + 1, trials - events) if events < trials else 1.0
    return Estimate(low=low, best=events / trials, high=high)


Limits = Callable[[int, int, float], Estimate]
"""``limits(events, trials, confidence)``: what turns counts into a share with limits."""


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Give the exact two-sided p-value of "both variants fail equally often" from the discordant pairs.

    Twice the smaller tail of a binomial with p = 1/2, at most 1 (McNemar 1947 in its exact form).

    Examples
    --------
    >>> round(mcnemar_p_value(0, 5), 12)
    0.0625
    """
    discordant = only_first + only_second
    check_counts(min(only_first, only_second), discordant, CONFIDENCE)
    return min(1.0, 2.0 * binomial_cdf(min(only_first, only_second), discordant, 0.5))


def paired_difference(
    only_first: int,
    only_second: int,
    trials: int,
    confidence: float = CONFIDENCE,
    limits: Limits = clopper_pearson,
) -> Estimate:
    """Give by how much the share of events of the first variant exceeds the second's, on the same strikes.

    The difference is ``d * (2*t - 1)``: ``d`` is the share of discordant trials, ``t`` the share of the first
    variant among those. ``d`` has exact limits from the number of trials, ``t`` exact limits given the discordant
    trials (the exact conditional method for matched pairs), each at half the error; so both hold at once with at
    least ``confidence`` (Bonferroni), and the limits are the extremes of the product. Coverage is at least nominal
    for every true pair of shares, which the usual approximations (Wald, Newcombe's method 10, Tango) do not promise.
    The price is width: close calls that :func:`mcnemar_p_value` rejects may still have an interval that holds zero.

    Parameters
    ----------
    only_first, only_second : int
        Trials in which the first variant alone, or the second alone, had the event.
    trials : int
        All paired trials.
    confidence : float
        Least coverage.
    limits : callable
        What gives the two shares; with :func:`hil.stats.anytime` the difference may be looked at at any time.

    Examples
    --------
    >>> estimate = paired_difference(40, 0, 1000)
    >>> estimate.low > 0.0, estimate.best
    (True, 0.04)
    """
    discordant = only_first + only_second
    check_counts(discordant, trials, confidence)
    check_counts(only_first, discordant, confidence)
    each = 0.5 * (1.0 + confidence)
    share = limits(discordant, trials, each)
    part = limits(only_first, discordant, each)
    low, high = 2.0 * part.low - 1.0, 2.0 * part.high - 1.0
    best = (only_first - only_second) / trials if trials else 0.0
    return Estimate(
        low=low * (share.high if low < 0.0 else share.low),
        best=best,
        high=high * (share.high if high > 0.0 else share.low),
    )


def sample_size(population: int, margin: float, t: float = 2.58, p: float = 0.5) -> int:
    """Give how many of ``population`` faults to draw so that a share is known within ``margin``.

    ``N / (1 + e**2 * (N-1) / (t**2 * p * (1-p)))`` rounded to the nearest integer, as the published tables round
    (Leveugle, Calvez, Maistri, Vanhauwaert, "Statistical fault injection: quantified error and confidence", DATE
    2009). The margin is absolute: for rare events it says little, see :func:`planned_half_width`.

    Parameters
    ----------
    population : int
        Faults that exist.
    margin : float
        Half-width of the interval, absolute.
    t : float
        Cut-off point of the normal distribution: 2.58 for 99 %, 1.96 for 95 %.
    p : float
        Guess of the share; 0.5 is the most careful.

    Examples
    --------
    >>> sample_size(27_648, 0.01)
    10389
    """
    if population < 1 or not margin > 0.0 or not t > 0.0 or not 0.0 < p < 1.0:
        raise DataError(
            f"sample size: population = {population}, margin = {margin}, t = {t}, p = {p}: "
            "give a population of 1 or more, margin and t above 0, p between 0 and 1"
        )
    exact = population / (1.0 + margin * margin * (population - 1) / (t * t * p * (1.0 - p)))
    return math.floor(exact + 0.5)


def planned_half_width(trials: int, p: float, confidence: float = CONFIDENCE) -> float:
    """Give half the width of the printed interval to expect after ``trials``, if the true share is ``p``.

    The Clopper-Pearson interval at the likeliest number of events, so it never shrinks to zero for rare ones.

    Examples
    --------
    >>> round(planned_half_width(1000, 0.1), 3)
    0.019
    """
    if not 0.0 <= p <= 1.0:
        raise DataError(f"plan: a share of {p}: give 0 to 1")
    estimate = clopper_pearson(min(trials, math.floor((trials + 1) * p)), trials, confidence)
    return 0.5 * (estimate.high - estimate.low)


def check_counts(events: int, trials: int, confidence: float) -> None:
    """Raise DataError for counts or a confidence that cannot be."""
    if not 0 <= events <= trials:
        raise DataError(f"counts: {events} events in {trials} trials: give 0 <= events <= trials")
    if not 0.0 < confidence < 1.0:
        raise DataError(f"counts: confidence = {confidence}: give a share between 0 and 1, such as 0.95")
