"""Intervals: scipy and published tables are the oracle."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from firmware_bridge.errors import DataError
from hil.stats import (
    Estimate,
    clopper_pearson,
    mcnemar_p_value,
    paired_difference,
    planned_half_width,
    sample_size,
)
from hil.stats.binomial import beta_cdf, beta_quantile, binomial_cdf

COUNTS = [(k, n) for n in (1, 2, 3, 10, 27, 100, 1000, 54_321, 10**6) for k in sorted({0, 1, 2, n // 7, n // 2, n})]
COUNTS = [(k, n) for k, n in COUNTS if k <= n]


def scipy_limits(events: int, trials: int, confidence: float) -> tuple[float, float]:
    tail = (1.0 - confidence) / 2
    low = stats.beta.ppf(tail, events, trials - events + 1) if events else 0.0
    high = stats.beta.ppf(1.0 - tail, events + 1, trials - events) if events < trials else 1.0
    return float(low), float(high)


# ---- beta and binomial ---------------------------------------------------------------------------------------


@given(x=st.floats(0, 1), a=st.floats(0.5, 5000, allow_subnormal=False), b=st.floats(0.5, 5000, allow_subnormal=False))
def test_the_incomplete_beta_function_agrees_with_scipy(x, a, b):
    assert beta_cdf(x, a, b) == pytest.approx(float(special.betainc(a, b, x)), abs=1e-10)


@given(k=st.integers(-1, 400), n=st.integers(1, 400), p=st.floats(0, 1))
def test_the_binomial_tail_agrees_with_scipy(k, n, p):
    assert binomial_cdf(k, n, p) == pytest.approx(float(stats.binom.cdf(k, n, p)), abs=1e-11)


@given(q=st.floats(1e-6, 1 - 1e-6), a=st.integers(1, 2000), b=st.integers(1, 2000))
def test_the_quantile_inverts_the_distribution(q, a, b):
    x = beta_quantile(q, a, b)
    assert 0.0 <= x <= 1.0
    assert float(special.betainc(a, b, x)) == pytest.approx(q, abs=1e-9)


# ---- shares --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99, 0.9999])
@pytest.mark.parametrize(("events", "trials"), COUNTS)
def test_clopper_pearson_agrees_with_scipy(events, trials, confidence):
    low, high = scipy_limits(events, trials, confidence)
    estimate = clopper_pearson(events, trials, confidence)
    assert estimate.best == events / trials
    assert estimate.low == pytest.approx(low, abs=1e-10, rel=1e-6)
    assert estimate.high == pytest.approx(high, abs=1e-10, rel=1e-6)


@given(n=st.integers(1, 3000), share=st.floats(0, 1), confidence=st.floats(0.5, 0.9999))
def test_limits_are_symmetric_and_in_order(n, share, confidence):
    k = round(n * share)
    estimate, mirror = clopper_pearson(k, n, confidence), clopper_pearson(n - k, n, confidence)
    assert 0.0 <= estimate.low <= k / n <= estimate.high <= 1.0
    assert estimate.high == pytest.approx(1.0 - mirror.low, abs=1e-10)
    assert (estimate.low == 0.0) == (k == 0)
    assert (estimate.high == 1.0) == (k == n)


def test_zero_events_always_have_an_upper_limit():
    assert clopper_pearson(0, 1000).high == pytest.approx(1.0 - 0.025 ** (1 / 1000), rel=1e-12)
    assert clopper_pearson(0, 0) == Estimate(low=0.0, best=0.5, high=1.0)


@pytest.mark.parametrize(
    ("events", "trials", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 0.0), (1, 5, 1.0), (1, 5, 95)]
)
def test_impossible_counts_are_refused(events, trials, confidence):
    with pytest.raises(DataError, match="counts"):
        clopper_pearson(events, trials, confidence)


# ---- pairs ---------------------------------------------------------------------------------------------------


@given(b=st.integers(0, 300), c=st.integers(0, 300))
def test_mcnemar_is_the_exact_sign_test(b, c):
    reference = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar_p_value(b, c) == pytest.approx(reference, abs=1e-11)


def test_mcnemar_agrees_with_a_sum_of_whole_numbers():
    exact = 2 * sum(math.comb(90, k) for k in range(31)) / 2**90
    assert mcnemar_p_value(30, 60) == pytest.approx(exact, rel=1e-10)


@given(n=st.integers(1, 2000), data=st.data())
def test_the_paired_difference_is_antisymmetric_and_holds_the_best_value(n, data):
    b = data.draw(st.integers(0, n))
    c = data.draw(st.integers(0, n - b))
    forward, backward = paired_difference(b, c, n), paired_difference(c, b, n)
    assert -1.0 <= forward.low <= (b - c) / n <= forward.high <= 1.0
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low), abs=1e-9)


def test_without_discordant_pairs_the_difference_is_bounded_by_their_share():
    estimate = paired_difference(0, 0, 1000)
    share = clopper_pearson(0, 1000, 0.975).high
    assert estimate == Estimate(low=-share, best=0.0, high=share)
    assert paired_difference(0, 0, 0) == Estimate(low=-1.0, best=0.0, high=1.0)


def test_pairing_tells_more_than_two_separate_shares():
    paired = paired_difference(40, 10, 1000)  # 300 and 270 failures, most of them on the same strikes
    first, second = clopper_pearson(300, 1000), clopper_pearson(270, 1000)
    assert paired.low > 0.0
    assert first.low - second.high < 0.0


@pytest.mark.parametrize(("b", "c", "n"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_impossible_pairs_are_refused(b, c, n):
    with pytest.raises(DataError, match="counts"):
        paired_difference(b, c, n)


def test_mcnemar_refuses_negative_counts():
    with pytest.raises(DataError, match="counts"):
        mcnemar_p_value(-1, 4)


# ---- plans ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("population", "published"),
    [
        (27_648, 10_389),
        (147_456, 14_954),
        (294_912, 15_752),
        (589_824, 16_184),
        (17_174_144, 16_625),
        (4_608, 3_609),
        (18_432, 8_746),
    ],
)
def test_sample_sizes_equal_the_published_table(population, published):
    # Per-layer and whole-network sizes of a published ResNet-20 campaign, at e = 1 %, t = 2.58, p = 0.5.
    assert sample_size(population, 0.01, t=2.58, p=0.5) == published


@pytest.mark.parametrize(("t", "limit"), [(2.58, 16_641), (2.576, 16_589)])
def test_the_sample_size_of_an_endless_population(t, limit):
    assert sample_size(10**12, 0.01, t=t) == limit


@given(population=st.integers(1, 10**7), margin=st.floats(0.001, 0.2), p=st.floats(0.01, 0.99))
def test_a_sample_is_no_larger_than_the_population(population, margin, p):
    assert 0 <= sample_size(population, margin, p=p) <= sample_size(population, margin) <= population


@pytest.mark.parametrize("bad", [{"population": 0}, {"margin": 0.0}, {"t": -1.0}, {"p": 0.0}, {"p": 1.0}])
def test_impossible_plans_are_refused(bad):
    with pytest.raises(DataError, match="sample size"):
        sample_size(**({"population": 100, "margin": 0.01} | bad))


@pytest.mark.parametrize(("trials", "p"), [(200, 0.3), (1000, 0.01), (1000, 0.5), (5000, 0.1)])
def test_the_planned_half_width_is_what_campaigns_get(trials, p):
    counts = np.random.default_rng(1).binomial(trials, p, 200)
    widths = [clopper_pearson(int(k), trials) for k in counts]
    mean = np.mean([0.5 * (estimate.high - estimate.low) for estimate in widths])
    assert planned_half_width(trials, p) == pytest.approx(mean, rel=0.05)


def test_a_plan_for_rare_events_is_never_narrower_than_the_zero_event_limit():
    assert planned_half_width(100, 0.0) == pytest.approx(0.5 * (1.0 - 0.025 ** (1 / 100)))
    assert planned_half_width(100, 1.0) == pytest.approx(planned_half_width(100, 0.0))
    with pytest.raises(DataError, match="plan"):
        planned_half_width(100, 1.1)


# ---- estimates -----------------------------------------------------------------------------------------------


def test_estimates_change_their_unit():
    estimate = Estimate(low=0.001, best=0.002, high=0.004)
    assert estimate.per_million() == Estimate(low=1000.0, best=2000.0, high=4000.0)
    assert estimate.scaled(0.5) == Estimate(low=0.0005, best=0.001, high=0.002)
    assert pickle.loads(pickle.dumps(estimate)) == estimate


@pytest.mark.parametrize("factor", [-1.0, math.nan])
def test_a_unit_is_never_negative(factor):
    with pytest.raises(DataError, match="scale"):
        Estimate(low=0.0, best=0.0, high=1.0).scaled(factor)


@pytest.mark.parametrize("values", [(1, 0, 2), (0, 2, 1), (math.nan, 0, 1), (0, math.nan, 1)])
def test_estimates_are_in_order(values):
    low, best, high = values
    with pytest.raises(DataError, match="low <= best <= high"):
        Estimate(low=low, best=best, high=high)
