"""Intervals of a whole family: all hold together, and nobody wins by luck more often than promised."""

from __future__ import annotations

import numpy as np
import pytest

from firmware_bridge.errors import DataError
from hil.stats import clopper_pearson, each_confidence

TRIALS = 300


def limits(confidence):
    found = [clopper_pearson(k, TRIALS, confidence) for k in range(TRIALS + 1)]
    return np.array([(e.low, e.high) for e in found])


def campaigns(shares, number, *, correlated):
    """Give events of each protection in ``number`` campaigns; correlated ones meet the same strikes."""
    rng = np.random.default_rng(11)
    if not correlated:
        return rng.binomial(TRIALS, shares, (number, len(shares)))
    strikes = rng.random((number, TRIALS, 1))
    return (strikes < np.array(shares)).sum(axis=1)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("shares", [[0.02] * 6, [0.001, 0.01, 0.05, 0.3], [0.5] * 12])
def test_all_intervals_hold_together(shares, correlated):
    events = campaigns(shares, 5000, correlated=correlated)
    held = limits(each_confidence(len(shares)))[events]
    inside = (held[..., 0] <= shares) & (shares <= held[..., 1])
    assert inside.all(axis=1).mean() >= 0.95


def test_single_intervals_would_not_hold_together():
    shares = [0.5] * 12
    held = limits(0.95)[campaigns(shares, 5000, correlated=False)]
    inside = (held[..., 0] <= shares) & (shares <= held[..., 1])
    assert inside.all(axis=1).mean() < 0.8


def test_equal_protections_rarely_have_a_winner():
    events = campaigns([0.1] * 8, 5000, correlated=False)
    held = limits(each_confidence(8))[np.sort(events, axis=1)]
    assert (held[:, 0, 1] < held[:, 1, 0]).mean() <= 0.05


def test_the_winners_own_interval_is_too_good_and_a_fresh_one_is_not():
    """The winner's curse, which a confirmation cures: the interval of the best of many misses the truth too often."""
    share, number = 0.1, 5000
    best = campaigns([share] * 12, number, correlated=False).min(axis=1)
    fresh = np.random.default_rng(12).binomial(TRIALS, share, number)
    held = limits(0.95)
    cursed, confirmed = (((held[events, 0] <= share) & (share <= held[events, 1])).mean() for events in (best, fresh))
    assert cursed < 0.85
    assert confirmed >= 0.95


@pytest.mark.parametrize(("members", "confidence"), [(0, 0.95), (3, 1.0), (1, 0.0)])
def test_impossible_families_are_refused(members, confidence):
    with pytest.raises(DataError):
        each_confidence(members, confidence)
