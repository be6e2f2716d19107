"""Shares from draws that do not count alike: strata, steered draws, and strikes that meet many inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firmware_bridge.errors import DataError
from hil.stats.intervals import CONFIDENCE, Estimate
from hil.stats.poisson import gamma_quantile

_LARGEST_BET = 0.75  # of what would be lost for certain; below 1 so that one observation never ruins all


@dataclass(frozen=True, kw_only=True)
class DrawnStratum:
    """One stratum (such as one layer and bit class): its share of the population, draws from it and their events."""

    weight: float
    events: int
    draws: int

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.draws or not 0.0 <= self.weight <= 1.0:
            raise DataError(f"stratum: {self}: give 0 <= events <= draws and a weight of 0 to 1")


def stratified_share(strata: Sequence[DrawnStratum], confidence: float = CONFIDENCE) -> Estimate:
    """Give the share of events in a population from draws in each of its strata.

    ``sum(W_h * k_h / n_h)``, unbiased however the draws are shared out beforehand. Each event counts ``W_h / n_h``, so
    this is a weighted sum of counts; its limits are quantiles of gamma distributions with the sum's mean and variance,
    the upper one as if one more event of the largest weight had been seen (Fay & Feuer, Stat. Med. 16:791, 1997). They
    are made for Poisson counts and so allow for more spread than draws have. Where more than half are events, the
    others are counted.

    Parameters
    ----------
    strata : sequence of DrawnStratum
        Weights add up to 1; each has a draw or more.
    confidence : float
        Coverage; no truth is known at which it is less.

    Examples
    --------
    >>> upper = DrawnStratum(weight=0.25, events=40, draws=100)
    >>> found = stratified_share([upper, DrawnStratum(weight=0.75, events=0, draws=100)])
    >>> round(found.low, 3), round(found.best, 3), round(found.high, 3)
    (0.071, 0.1, 0.144)
    """
    if not math.isclose(sum(stratum.weight for stratum in strata), 1.0, abs_tol=1e-9):
        raise DataError(f"strata: their weights add up to {sum(each.weight for each in strata)}, not 1")
    if not all(stratum.draws for stratum in strata):
        raise DataError("strata: one has no draw, so nothing is known about it")
    parts = [(each.weight / each.draws, each.events, each.draws) for each in strata]
    if sum(worth * events for worth, events, _ in parts) <= 0.5:
        return _weighted_sum([(worth, events) for worth, events, _ in parts], confidence)
    other = _weighted_sum([(worth, draws - events) for worth, events, draws in parts], confidence)
    return Estimate(low=1.0 - other.high, best=1.0 - other.best, high=1.0 - other.low)


def _weighted_sum(counts: Sequence[tuple[float, int]], confidence: float) -> Estimate:
    """Give ``sum(worth * events)`` with limits by gamma distributions, at most 1."""
    best = sum(worth * events for worth, events in counts)
    variance = sum(worth**2 * events for worth, events in counts)
    largest = max(worth for worth, _ in counts)
    tail = 0.5 * (1.0 - confidence)
    low = gamma_quantile(tail, best**2 / variance) * variance / best if best else 0.0
    more, wider = best + largest, variance + largest**2
    high = gamma_quantile(1.0 - tail, more**2 / wider) * wider / more
    return Estimate(low=min(low, best), best=best, high=min(1.0, max(best, high)))


def neyman_allocation(pilot: Sequence[DrawnStratum], draws: int) -> tuple[int, ...]:
    """Give how many of ``draws`` to spend on each stratum so that the whole is known best.

    In proportion to weight times standard deviation (Neyman, J. R. Stat. Soc. 97:558, 1934), the latter from a pilot
    whose share is taken as ``(k + 1) / (n + 2)``, so that a stratum without events is not believed to have none. Every
    stratum gets two draws or more. The pilot's own draws must not be counted again: they chose the allocation.

    Examples
    --------
    >>> pilot = [DrawnStratum(weight=0.5, events=10, draws=20), DrawnStratum(weight=0.5, events=0, draws=20)]
    >>> neyman_allocation(pilot, 100)
    (70, 30)
    """
    least = 2
    spare = draws - least * len(pilot)
    if spare < 0:
        raise DataError(f"allocation: {draws} draws for {len(pilot)} strata: give {least * len(pilot)} or more")
    guesses = [(each.events + 1) / (each.draws + 2) for each in pilot]
    worth = [each.weight * math.sqrt(p * (1.0 - p)) for each, p in zip(pilot, guesses, strict=True)]
    exact = [spare * each / sum(worth) for each in worth]
    given = [math.floor(each) for each in exact]
    by_rest = sorted(range(len(exact)), key=lambda index: (given[index] - exact[index], index))
    for index in by_rest[: spare - sum(given)]:
        given[index] += 1
    return tuple(least + each for each in given)


def defensive_mixture(population: ArrayLike, guess: ArrayLike, share: float = 0.2) -> NDArray[np.float64]:
    """Give probabilities to draw with: ``share`` as nature does, the rest where events are expected.

    No weight ``population / drawn`` exceeds ``1 / share`` then, however wrong the guess is (Hesterberg, Technometrics
    37:185, 1995).

    Parameters
    ----------
    population : array_like
        How likely nature strikes each cell; adds up to 1.
    guess : array_like
        How worthwhile each cell seems, 0 or more, in any unit.
    share : float
        Of 0 (exclusive) to 1.
    """
    nature, wanted = np.asarray(population, np.float64), np.asarray(guess, np.float64)
    if not 0.0 < share <= 1.0 or wanted.shape != nature.shape or not (wanted >= 0.0).all() or not wanted.sum() > 0.0:
        raise DataError("importance sampling: give a share of 0 to 1, and a guess of 0 or more for each cell")
    return np.asarray(share * nature + (1.0 - share) * wanted / wanted.sum())


@dataclass(frozen=True, kw_only=True)
class WeightedShare:
    """A share from weighted draws, and what the weights cost.

    ``effective_draws`` is how many plain draws would tell the weights' mean as well: ``sum(w)**2 / sum(w**2)``.
    """

    share: Estimate
    effective_draws: float
    largest_weight: float


def importance_share(
    events: ArrayLike, weights: ArrayLike, most_weight: float, confidence: float = CONFIDENCE
) -> WeightedShare:
    """Give the share of events that nature would see, from draws that were steered.

    ``mean(w * event)`` with ``w = population / drawn`` is unbiased, whatever steered them; the limits are those of
    :func:`bounded_mean`.

    Parameters
    ----------
    events : array_like of bool
        Whether each draw, in the order drawn, had the event.
    weights : array_like of float
        How much likelier nature strikes each draw than it was drawn.
    most_weight : float
        What no weight can exceed; known beforehand (see :func:`defensive_mixture`).
    confidence : float
        Least coverage.
    """
    hits, factors = np.asarray(events, bool), np.asarray(weights, np.float64)
    if hits.shape != factors.shape or not (factors >= 0.0).all() or (factors > most_weight * (1 + 1e-9)).any():
        raise DataError(f"importance sampling: give one weight of 0 to {most_weight} for each draw")
    found = bounded_mean(np.minimum(hits * factors / most_weight, 1.0), confidence).scaled(most_weight)
    return WeightedShare(
        share=found,
        effective_draws=float(factors.sum() ** 2 / (factors**2).sum()) if factors.any() else 0.0,
        largest_weight=float(factors.max(initial=0.0)),
    )


def bounded_mean(values: ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """Give the mean of independent draws that lie between 0 and 1, with limits that hold for every such population.

    For strikes that meet many inputs: each strike counts once, with the share of its inputs that failed. Pairs of
    strike and input are not independent, and counted singly would pretend to more knowledge than there is.

    The limits come from betting against each candidate mean with fractions that follow the variance seen so far
    (Waudby-Smith & Ramdas, J. R. Stat. Soc. B 86:1, 2024, the hedged capital of theorem 3); a candidate is excluded
    once the bets have multiplied the stake by ``2 / (1 - confidence)``. Coverage is at least ``confidence``; the
    limits depend on the order of the draws, which must be the order drawn.

    Examples
    --------
    >>> found = bounded_mean([0.0, 0.1, 0.0, 0.0, 0.2] * 40)
    >>> round(found.best, 3), found.low > 0.04, found.high < 0.09
    (0.06, True, True)
    """
    draws = np.asarray(values, np.float64)
    if draws.ndim != 1 or not ((draws >= 0.0) & (draws <= 1.0)).all():
        raise DataError("bounded mean: give a list of numbers from 0 to 1")
    if not 0.0 < confidence < 1.0:
        raise DataError(f"bounded mean: confidence = {confidence}: give a share between 0 and 1, such as 0.95")
    if draws.size == 0:
        return Estimate(low=0.0, best=0.5, high=1.0)
    best = float(draws.mean())
    bets = _bets(draws, confidence)
    return Estimate(
        low=min(best, _lower_limit(draws, bets, confidence)),
        best=best,
        high=max(best, 1.0 - _lower_limit(1.0 - draws, bets, confidence)),
    )


def _bets(draws: NDArray[np.float64], confidence: float) -> NDArray[np.float64]:
    """Give the stake on each draw; it follows from the draws before it."""
    count = np.arange(1, draws.size + 1)
    means = (0.5 + draws.cumsum()) / (count + 1)
    variances = (0.25 + ((draws - means) ** 2).cumsum()) / (count + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2.0 * math.log(2.0 / (1.0 - confidence)) / (draws.size * before)))


def _lower_limit(draws: NDArray[np.float64], bets: NDArray[np.float64], confidence: float) -> float:
    """Give the largest mean that bets on more than it win against."""
    enough = math.log(2.0 / (1.0 - confidence))

    def wins(mean: float) -> bool:
        stakes = np.minimum(bets, _LARGEST_BET / mean)
        return bool(np.log1p(stakes * (draws - mean)).sum() >= enough)

    low, high = 0.0, 1.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if wins(middle) else (low, middle)
    return low
