"""The rate over two strata covers the truth, whatever the two shares are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from firmware_bridge.errors import DataError
from hil.stats import Stratum, clopper_pearson, events_per_shared_strike

TRIALS = 40


def covered(shared: float, added: float, weight: float) -> float:
    """Give the exact probability that the interval holds the truth, by enumeration of everything that can be seen.

    The number of added strikes is a Poisson number with mean ``weight * TRIALS``, as it is in a campaign.
    """
    truth = shared + weight * added
    first = stats.binom.pmf(np.arange(TRIALS + 1), TRIALS, shared)
    mean = weight * TRIALS
    total = 0.0
    for strikes in range(int(stats.poisson.ppf(1 - 1e-9, mean)) + 1):
        seen = stats.poisson.pmf(strikes, mean)
        second = stats.binom.pmf(np.arange(strikes + 1), strikes, added)
        for events, p_events in enumerate(second):
            for hits, p_hits in enumerate(first):
                if p_events * p_hits * seen < 1e-9:
                    continue
                estimate = events_per_shared_strike(
                    Stratum(events=hits, strikes=TRIALS), Stratum(events=events, strikes=strikes), weight
                )
                total += seen * p_events * p_hits * (estimate.low <= truth <= estimate.high)
    return total


@pytest.mark.parametrize("shared", [0.0, 0.02, 0.3])
@pytest.mark.parametrize(("added", "weight"), [(0.0, 0.1), (0.5, 0.1), (1.0, 0.25)])
def test_coverage_is_at_least_nominal(shared: float, added: float, weight: float) -> None:
    assert covered(shared, added, weight) >= 0.95 - 1e-6


def test_one_stratum_is_the_plain_interval() -> None:
    plain = clopper_pearson(7, 50)
    assert events_per_shared_strike(Stratum(events=7, strikes=50), Stratum(events=0, strikes=0), 0.0) == plain


def test_unseen_added_strikes_may_all_be_events() -> None:
    estimate = events_per_shared_strike(Stratum(events=0, strikes=50), Stratum(events=0, strikes=0), 0.2)
    assert estimate.best == 0.0
    assert estimate.high > 0.2


def test_rates_above_one_event_per_strike_are_possible() -> None:
    estimate = events_per_shared_strike(Stratum(events=50, strikes=50), Stratum(events=150, strikes=150), 3.0)
    assert estimate.best == 4.0
    assert estimate.high == 4.0


@pytest.mark.parametrize(("events", "strikes"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(events: int, strikes: int) -> None:
    with pytest.raises(DataError):
        Stratum(events=events, strikes=strikes)


def test_negative_exposure_is_refused() -> None:
    with pytest.raises(DataError):
        events_per_shared_strike(Stratum(events=0, strikes=5), Stratum(events=0, strikes=5), -0.1)
