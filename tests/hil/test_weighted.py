"""Weighted draws against exhaustive truth: every limit covers it, steering and strata pay off, nothing is biased."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gamma

from firmware_bridge.errors import DataError
from hil.stats import clopper_pearson
from hil.stats.poisson import gamma_quantile
from hil.stats.weighted import (
    DrawnStratum,
    bounded_mean,
    defensive_mixture,
    importance_share,
    neyman_allocation,
    stratified_share,
)

CAMPAIGNS = 3000


# ---- strata ----------------------------------------------------------------------------------------------------------


def stratified_limits(weights, shares, sizes, campaigns=CAMPAIGNS, seed=1):
    """The method of ``stratified_share`` for thousands of campaigns at once, with the gamma distributions of scipy."""
    weights, shares, sizes = map(np.array, (weights, shares, sizes))
    events = np.random.default_rng(seed).binomial(sizes, shares, (campaigns, len(weights)))
    worth = weights / sizes
    seen = (worth * events).sum(axis=1)
    flipped = seen > 0.5
    counted = np.where(flipped[:, None], sizes - events, events)
    best = (worth * counted).sum(axis=1)
    variance = (worth**2 * counted).sum(axis=1)
    safe = np.where(best > 0, best, 1.0)
    scale = np.where(best > 0, variance / safe, 1.0)
    lower = np.where(best > 0, gamma.ppf(0.025, safe / scale) * scale, 0.0)
    more, wider = best + worth.max(), variance + worth.max() ** 2
    upper = np.minimum(1.0, gamma.ppf(0.975, more**2 / wider) * wider / more)
    low, high = np.where(flipped, 1 - upper, lower), np.where(flipped, 1 - lower, upper)
    return events, low, seen, high


# layers of different size x bit classes that hurt differently, as exhaustive runs of small networks show them
NETWORK = ([0.02, 0.02, 0.21, 0.2, 0.3, 0.25], [0.3, 0.01, 0.08, 0.0005, 0.002, 0.0], [30, 30, 60, 60, 80, 80])


@pytest.mark.parametrize(
    ("weights", "shares", "sizes"),
    [
        NETWORK,
        ([0.5, 0.5], [0.0, 0.0], [40, 40]),
        ([0.167, 0.256, 0.577], [0.01, 0.003, 0.0001], [161, 60, 177]),
        ([0.9, 0.1], [0.001, 0.5], [100, 10]),
        ([0.1] * 10, [0.02] * 10, [20] * 10),
        ([0.05] * 20, [0.01] * 20, [20] * 20),
        ([0.1] * 10, [0.5] * 10, [20] * 10),
        ([0.25] * 4, [0.9, 0.99, 1.0, 0.5], [15] * 4),
    ],
)
def test_stratified_limits_cover_the_exhaustive_truth(weights, shares, sizes):
    _, lower, best, upper = stratified_limits(weights, shares, sizes)
    truth = float(np.dot(weights, shares))
    assert ((lower - 1e-12 <= truth) & (truth <= upper + 1e-12)).mean() >= 0.95
    assert best.mean() == pytest.approx(truth, abs=4 * best.std() / np.sqrt(CAMPAIGNS) + 1e-12)


def test_stratified_limits_cover_at_random_truths():
    draw = np.random.default_rng(2)
    for seed in range(30):
        strata = int(draw.integers(2, 12))
        weights = draw.dirichlet(np.full(strata, draw.choice([0.3, 1.0, 5.0])))
        shares = draw.choice([0, 1e-4, 0.003, 0.03, 0.1, 0.5, 1], strata)
        _, lower, _, upper = stratified_limits(weights, shares, draw.integers(3, 120, strata), 2000, seed)
        truth = float(weights @ shares)
        assert ((lower - 1e-12 <= truth) & (truth <= upper + 1e-12)).mean() >= 0.95


def test_the_function_is_the_method_that_was_tested():
    events, lower, best, upper = stratified_limits(*NETWORK, campaigns=50)
    for row in range(50):
        strata = [
            DrawnStratum(weight=w, events=int(k), draws=n)
            for w, k, n in zip(NETWORK[0], events[row], NETWORK[2], strict=True)
        ]
        found = stratified_share(strata)
        assert (found.low, found.best, found.high) == pytest.approx((lower[row], best[row], upper[row]), rel=1e-9)


@given(st.floats(0.01, 500), st.floats(1e-6, 1 - 1e-6))
def test_gamma_quantiles_are_those_of_scipy(shape, q):
    assert gamma_quantile(q, shape) == pytest.approx(gamma.ppf(q, shape), rel=1e-9, abs=1e-290)


def test_neyman_allocation_after_a_pilot_narrows_the_interval():
    weights, shares, _ = NETWORK
    rng = np.random.default_rng(3)
    widths = {"neyman": [], "by size": []}
    for _ in range(20):
        pilot = [
            DrawnStratum(weight=w, events=int(rng.binomial(40, p)), draws=40)
            for w, p in zip(weights, shares, strict=True)
        ]
        by_size = [max(2, round(2000 * w)) for w in weights]
        for name, sizes in (("neyman", neyman_allocation(pilot, 2000)), ("by size", by_size)):
            _, lower, _, upper = stratified_limits(weights, shares, sizes, 20, int(rng.integers(1 << 30)))
            widths[name].append(float((upper - lower).mean()))
    assert np.mean(widths["neyman"]) < 0.95 * np.mean(widths["by size"])


@given(st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 9)), min_size=1, max_size=20), st.integers(40, 5000))
def test_an_allocation_spends_all_draws_and_forgets_no_stratum(pilot, draws):
    total = sum(weight for weight, _ in pilot)
    strata = [DrawnStratum(weight=weight / total, events=events, draws=9) for weight, events in pilot]
    given_draws = neyman_allocation(strata, draws)
    assert sum(given_draws) == draws
    assert min(given_draws) >= 2


# ---- means of bounded draws: clusters --------------------------------------------------------------------------------


def clusters(rng, strikes, inputs=10):
    """Strikes that hit nothing, or a few, or all inputs: events of one strike go together."""
    harm = rng.choice([0.0, 0.3, 1.0], strikes, p=[0.9, 0.07, 0.03])
    return rng.binomial(inputs, harm) / inputs


POPULATIONS = {
    "clusters": (clusters, 0.9 * 0.0 + 0.07 * 0.3 + 0.03),
    "rare": (lambda rng, n: (rng.random(n) < 0.01).astype(float), 0.01),
    "half": (lambda rng, n: (rng.random(n) < 0.5).astype(float), 0.5),
    "smooth": (lambda rng, n: rng.beta(2, 30, n), 2 / 32),
    "constant": (lambda _, n: np.full(n, 0.25), 0.25),
}


@pytest.mark.parametrize("name", list(POPULATIONS))
@pytest.mark.parametrize("draws", [30, 300])
def test_the_mean_of_bounded_draws_is_covered(name, draws):
    sample, truth = POPULATIONS[name]
    rng = np.random.default_rng(4)
    found = [bounded_mean(sample(rng, draws)) for _ in range(400)]
    # 400 campaigns: with a true coverage of 95 % fewer than 368 would be a 1-in-200 accident
    assert sum(each.low <= truth <= each.high for each in found) >= 368


def test_pairs_of_strike_and_input_counted_singly_would_not_cover():
    rng = np.random.default_rng(5)
    truth = POPULATIONS["clusters"][1]
    strikes = [clusters(rng, 300) for _ in range(400)]
    singly = [clopper_pearson(round(each.sum() * 10), 3000) for each in strikes]
    assert sum(each.low <= truth <= each.high for each in singly) < 280
    by_strike = [bounded_mean(each) for each in strikes]
    assert sum(each.low <= truth <= each.high for each in by_strike) >= 368


def test_more_draws_narrow_the_limits_and_none_say_nothing():
    rng = np.random.default_rng(6)
    widths = [(e := bounded_mean(rng.beta(2, 30, n))).high - e.low for n in (50, 500, 5000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[2] < 0.01
    assert (bounded_mean([]).low, bounded_mean([]).high) == (0.0, 1.0)


# ---- steered draws ---------------------------------------------------------------------------------------------------


def memory():
    """A memory of known truth: 2000 cells, harm is rare and sits where the guess says, mostly."""
    rng = np.random.default_rng(7)
    likely = rng.random(2000) < 0.05
    hurts = np.where(likely, rng.random(2000) < 0.4, rng.random(2000) < 0.002)
    return np.full(2000, 1 / 2000), likely.astype(float), hurts


def steered(rng, draws, share=0.2):
    nature, guess, hurts = memory()
    drawn_with = defensive_mixture(nature, guess, share)
    cells = rng.choice(2000, draws, p=drawn_with)
    return importance_share(hurts[cells], (nature / drawn_with)[cells], 1 / share), float(hurts.mean())


def test_steered_draws_are_unbiased_and_covered():
    rng = np.random.default_rng(8)
    found = [steered(rng, 300) for _ in range(400)]
    truth = found[0][1]
    best = np.array([each.share.best for each, _ in found])
    assert best.mean() == pytest.approx(truth, abs=4 * best.std() / 20)
    assert sum(each.share.low <= truth <= each.share.high for each, _ in found) >= 368
    plain = np.sqrt(truth * (1 - truth) / 300)
    assert best.std() < 0.6 * plain
    effective = [each.effective_draws for each, _ in found]
    assert 10 < min(effective) <= max(effective) < 300
    assert max(each.largest_weight for each, _ in found) <= 5.0 * (1 + 1e-9)


def test_a_wrong_guess_costs_width_and_never_truth():
    nature, guess, hurts = memory()
    rng = np.random.default_rng(9)
    drawn_with = defensive_mixture(nature, 1.0 - guess, 0.2)
    held = 0
    for _ in range(400):
        cells = rng.choice(2000, 300, p=drawn_with)
        found = importance_share(hurts[cells], (nature / drawn_with)[cells], 5.0).share
        held += found.low <= hurts.mean() <= found.high
    assert held >= 368


def test_draws_as_nature_draws_have_their_full_number():
    found = importance_share([True, False] * 20, [1.0] * 40, 1.0)
    assert (found.effective_draws, found.largest_weight, found.share.best) == (40.0, 1.0, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: DrawnStratum(weight=0.5, events=3, draws=2),
        lambda: DrawnStratum(weight=1.5, events=0, draws=2),
        lambda: stratified_share([DrawnStratum(weight=0.5, events=0, draws=2)]),
        lambda: neyman_allocation([DrawnStratum(weight=1.0, events=0, draws=2)], 1),
        lambda: defensive_mixture([0.5, 0.5], [1.0]),
        lambda: defensive_mixture([0.5, 0.5], [1.0, -1.0]),
        lambda: defensive_mixture([0.5, 0.5], [0.0, 0.0]),
        lambda: defensive_mixture([0.5, 0.5], [1.0, 1.0], 0.0),
        lambda: importance_share([True], [6.0], 5.0),
        lambda: importance_share([True], [1.0, 1.0], 5.0),
        lambda: bounded_mean([0.5, 1.5]),
        lambda: bounded_mean([0.5], 1.0),
    ],
)
def test_impossible_figures_are_refused(wrong):
    with pytest.raises(DataError):
        wrong()
