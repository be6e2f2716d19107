"""Which protection to fly, under one set of rates and by one run: the rule, as pure functions.

At a fixed demand a slower protection is exposed for longer, to upsets and to the board's own crashes. Good enough is
what surely fails not much more often than any other one (by a share of the failures without protection); of those
the cheapest is chosen. Where a cheaper one is neither surely good enough nor surely not, nothing is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from hil.report.rivals import Rival
from hil.stats.intervals import Estimate

MOST_TRIALS_FACTOR = 1000.0


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What happens in one day while the work is done unprotected: strikes on the shared cells, crashes of the board.

    ``label`` says which rates these are, in words.
    """

    label: str
    strikes: float
    crashes: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one run says at one set of rates.

    Parameters
    ----------
    rates : Rates
        At which.
    winner : str or None
        The cheapest protection that is surely as good as any other; None where that is not settled.
    best : str
        The one that failed least.
    open : tuple of str
        Protections that are neither surely good enough nor surely not, up to the one that would win by best values.
    worse : tuple of str
        Protections that surely fail more often than none.
    more_trials : float
        By how much the number of trials has to grow, roughly, before the open ones are settled; 1 where none is.
    """

    rates: Rates
    winner: str | None
    best: str
    open: tuple[str, ...]
    worse: tuple[str, ...]
    more_trials: float = 1.0


def failures(rival: Rival, rates: Rates) -> Estimate:
    """Give a protection's failures per day, the board's own crashes included."""
    crashes, strikes = rival.relative_time * rates.crashes, rival.exposed_time * rates.strikes

    def total(failure: float) -> float:
        return crashes + strikes * failure

    return Estimate(low=total(rival.failure.low), best=total(rival.failure.best), high=total(rival.failure.high))


def excess(rival: Rival, other: Rival, rates: Rates) -> Estimate:
    """Give by how many failures per day one protection exceeds another, pairs of equal strikes taken as such.

    ``t f - u g = u (f - g) + (t - u) f`` with times ``t``, ``u`` and failures per strike ``f``, ``g``.
    """
    slower = rival.exposed_time - other.exposed_time
    difference = rival.exceeds(other)
    own = (rival.failure.low, rival.failure.high)
    extremes = sorted(slower * value for value in own)
    crashes = (rival.relative_time - other.relative_time) * rates.crashes

    def total(difference: float, exposed: float) -> float:
        return crashes + rates.strikes * (other.exposed_time * difference + exposed)

    return Estimate(
        low=total(difference.low, extremes[0]),
        best=total(difference.best, slower * rival.failure.best),
        high=total(difference.high, extremes[1]),
    )


def choose(rivals: Sequence[Rival], rates: Rates, margin: float) -> Choice:
    """Give the choice among rivals, one of which is the unprotected node.

    Parameters
    ----------
    rivals : sequence of Rival
        Of one run.
    rates : Rates
        Strikes and crashes a day.
    margin : float
        Share of the failures without protection by which a cheaper one may fail more often.
    """
    best = min(rivals, key=lambda rival: (failures(rival, rates).best, rival.cost))
    none = next(rival for rival in rivals if rival.is_unprotected)
    tolerated = margin * failures(none, rates).best
    winner: str | None = None
    unsettled: list[str] = []
    more = 1.0
    for rival in sorted(rivals, key=lambda rival: rival.cost):
        differences = [excess(rival, other, rates) for other in rivals if other is not rival]
        if all(difference.high <= tolerated for difference in differences):
            winner = rival.name
            break
        if any(difference.low > tolerated for difference in differences):
            continue
        unsettled.append(rival.name)
        more = max(more, _to_settle(differences, tolerated))
        if all(difference.best <= tolerated for difference in differences):
            break  # it would win: those that cost more do not matter
    worse = (rival.name for rival in rivals if rival is not none and excess(rival, none, rates).low > 0.0)
    return Choice(
        rates=rates,
        winner=None if unsettled else winner,
        best=best.name,
        open=tuple(unsettled),
        worse=tuple(worse),
        more_trials=more if unsettled else 1.0,
    )


def pareto(rivals: Sequence[Rival], rates: Rates) -> tuple[str, ...]:
    """Give the names of those that no other one beats: in failures, time and memory no worse, and better in one.

    Best values are compared, times in steps of 1 %: the front shows what to look at, it decides nothing.
    """
    places = {rival.name: (failures(rival, rates).best, *rival.cost[:2]) for rival in rivals}
    return tuple(
        name
        for name, place in places.items()
        if not any(
            other != place and all(theirs <= mine for theirs, mine in zip(other, place, strict=True))
            for other in places.values()
        )
    )


def _to_settle(differences: Sequence[Estimate], tolerated: float) -> float:
    """Give by how much trials must grow until one protection is settled: by one that beats it, else against all."""
    beaten = [_more_trials(each, tolerated) for each in differences if each.best > tolerated]
    return min(beaten) if beaten else max(_more_trials(each, tolerated) for each in differences)


def _more_trials(difference: Estimate, tolerated: float) -> float:
    """Give by how much trials must grow until the interval, which shrinks with their root, leaves the margin's edge."""
    distance = abs(difference.best - tolerated)
    side = difference.high - difference.best if difference.best <= tolerated else difference.best - difference.low
    if distance == 0.0:
        return MOST_TRIALS_FACTOR
    return min(MOST_TRIALS_FACTOR, max(1.0, float(ceil((side / distance) ** 2))))
