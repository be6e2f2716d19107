"""Coverage: every interval that is printed holds the truth at least as often as it says.

Where the number of trials is small, all possible results are enumerated and weighted by their exact probability;
this leaves no chance. Larger ones are simulated, the last of them with real strikes on a memory of known truth.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import stats

from hil.stats import Estimate, PairedCounts, clopper_pearson, paired_difference
from hil.strikes import Cells, FaultSpace, Window, land, preset, sample_strikes

SHARES = np.concatenate([np.geomspace(1e-5, 0.05, 60), np.linspace(0.05, 0.95, 91), 1 - np.geomspace(1e-5, 0.05, 60)])


def exact_coverage(interval, trials, confidence, shares):
    limits = [interval(k, trials, confidence) for k in range(trials + 1)]
    low, high = np.array([(e.low, e.high) for e in limits]).T
    pmf = stats.binom.pmf(np.arange(trials + 1)[:, None], trials, shares)
    return (pmf * ((low[:, None] <= shares) & (shares <= high[:, None]))).sum(axis=0)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("trials", [1, 2, 5, 27, 100, 300])
def test_clopper_pearson_covers_for_every_share(trials, confidence):
    coverage = exact_coverage(clopper_pearson, trials, confidence, SHARES)
    assert coverage.min() >= confidence - 1e-9


def test_this_suite_notices_limits_that_are_a_tenth_too_narrow():
    def narrowed(k, n, confidence):
        exact = clopper_pearson(k, n, confidence)
        low, high = (exact.best + 0.9 * (limit - exact.best) for limit in (exact.low, exact.high))
        return Estimate(low=low, best=exact.best, high=high)

    assert exact_coverage(narrowed, 100, 0.95, SHARES).min() < 0.94


@cache
def paired_tables(trials, confidence):
    tables = [(b, c) for b in range(trials + 1) for c in range(trials + 1 - b)]
    limits = [paired_difference(b, c, trials, confidence) for b, c in tables]
    return np.array(tables), np.array([(e.low, e.high) for e in limits])


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("trials", [4, 15, 40])
def test_the_paired_difference_covers_for_every_pair_of_shares(trials, confidence):
    tables, limits = paired_tables(trials, confidence)
    cells = np.column_stack([tables, trials - tables.sum(axis=1)])
    shares = (0.0, 0.002, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1.0)
    for first in shares:
        for second in shares:
            if first + second > 1.0:
                continue
            pmf = stats.multinomial.pmf(cells, trials, [first, second, max(0.0, 1.0 - first - second)])
            difference = first - second
            covered = (limits[:, 0] <= difference + 1e-12) & (difference - 1e-12 <= limits[:, 1])
            assert pmf[covered].sum() >= confidence - 1e-9, (first, second)


@pytest.mark.parametrize(("first", "second"), [(0.04, 0.0), (0.05, 0.04), (0.002, 0.001), (0.1, 0.1), (0.0, 0.01)])
def test_the_paired_difference_covers_in_thousands_of_campaigns(first, second):
    trials, campaigns = 400, 4000
    drawn = np.random.default_rng(7).multinomial(trials, [first, second, 1 - first - second], campaigns)
    tables, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    held = 0
    for (b, c), count in zip(tables.tolist(), times.tolist(), strict=True):
        estimate = paired_difference(b, c, trials)
        held += count * (estimate.low <= first - second <= estimate.high)
    assert held / campaigns >= 0.95


def test_the_usual_wald_interval_would_fail_this_suite():
    def wald(k, n, confidence):
        half = stats.norm.ppf(0.5 + confidence / 2) * np.sqrt(k / n * (1 - k / n) / n)
        return Estimate(low=k / n - half, best=k / n, high=k / n + half)

    assert exact_coverage(wald, 27, 0.99, np.array([0.01])).min() < 0.3


@pytest.mark.parametrize("model", ["single_bit", "clusters"])
def test_campaigns_of_real_strikes_cover_the_exhaustive_truth(model):
    """Two imaginary protections on a small memory: every cell's fate is known, so the true shares are too."""
    space = FaultSpace(shared=(Cells(region="weights", bits=1536), Cells(region="activations", bits=512)))
    fault_model, window = preset(model), Window(inferences=2, steps=3)
    rng = np.random.default_rng(3)
    hurts_first, hurts_second = rng.random(2048) < 0.12, rng.random(2048) < 0.03

    def fails(trial):
        faults = [
            f for s in sample_strikes("truth", trial, space, fault_model, window) for f in land(s, space, fault_model)
        ]
        bits = [fault.bit + (1536 if fault.region == "activations" else 0) for fault in faults]
        return bool(hurts_first[bits].any()), bool((hurts_first & hurts_second)[bits].any())

    campaigns, trials = 400, 60
    results = np.array([fails(trial) for trial in range(campaigns * trials)])
    truth = results.mean(axis=0)
    if model == "single_bit":
        exhaustive = np.array([hurts_first.mean(), (hurts_first & hurts_second).mean()])
        assert truth == pytest.approx(exhaustive, abs=0.01)
        truth = exhaustive
    held_share, held_difference = 0, 0
    for campaign in results.reshape(campaigns, trials, 2):
        share = clopper_pearson(int(campaign[:, 0].sum()), trials)
        difference = PairedCounts.of(map(tuple, campaign.tolist())).difference()
        held_share += share.low <= truth[0] <= share.high
        held_difference += difference.low <= truth[0] - truth[1] <= difference.high
    # 400 campaigns: with a true coverage of 95 % fewer than 368 would be a 1-in-200 accident
    assert held_share >= 368
    assert held_difference >= 368
