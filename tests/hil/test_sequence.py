"""Confidence sequences hold at all looks together, whatever rule stops the trials; fixed intervals do not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln, xlog1py, xlogy

from hil.stats import (
    OutcomeCounts,
    OutcomeStrata,
    PairedCounts,
    Stratum,
    anytime,
    anytime_p_value,
    clopper_pearson,
    events_per_shared_strike,
    paired_difference,
)

LONGEST = 1500
CAMPAIGNS = 3000


def log_ratios(share, campaigns=CAMPAIGNS, longest=LONGEST, seed=5):
    """The mixture's likelihood ratio at the true share, after every trial of every campaign; scipy's, not ours."""
    rng = np.random.default_rng(seed)
    events = (rng.random((campaigns, longest)) < share).cumsum(axis=1)
    n = np.arange(1, longest + 1)
    return events, betaln(0.5 + events, 0.5 + n - events) - betaln(0.5, 0.5) - xlogy(events, share) - xlog1py(
        n - events, -share
    )


@pytest.mark.parametrize("share", [0.002, 0.05, 0.3, 0.5])
def test_the_truth_is_inside_at_every_look_at_once(share):
    _, ratios = log_ratios(share)
    ever_outside = (ratios >= np.log(20.0)).any(axis=1).mean()
    assert ever_outside <= 0.05


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize(("events", "trials"), [(0, 1), (0, 300), (1, 40), (17, 200), (199, 200), (7, 7)])
def test_limits_are_where_the_ratio_reaches_its_threshold(events, trials, confidence):
    found = anytime(events, trials, confidence)

    def ratio(p):
        mixture = betaln(0.5 + events, 0.5 + trials - events) - betaln(0.5, 0.5)
        return mixture - xlogy(events, p) - xlog1py(trials - events, -p)

    threshold = -np.log1p(-confidence)
    assert found.low == 0.0 if events == 0 else ratio(found.low) == pytest.approx(threshold, abs=1e-6)
    assert found.high == 1.0 if events == trials else ratio(found.high) == pytest.approx(threshold, abs=1e-6)
    assert found.low <= found.best <= found.high


def test_it_is_wider_than_one_look_but_not_much():
    for events in (0, 3, 50, 500):
        one, all_ = clopper_pearson(events, 1000), anytime(events, 1000)
        assert all_.low <= one.low
        assert one.high <= all_.high
        assert all_.high - all_.low < 2.2 * (one.high - one.low)


def test_without_trials_nothing_is_known():
    assert (anytime(0, 0).low, anytime(0, 0).high) == (0.0, 1.0)


def stop_when_half_is_excluded(limits):
    """The rule of whoever wants a result: look after every 10 trials, stop once 1/2 lies outside; 1/2 is true."""
    events, _ = log_ratios(0.5, campaigns=600, longest=400)
    table = {}
    held = 0
    for campaign in events[:, 9::10]:
        for look, count in enumerate(campaign, 1):
            key = (int(count), 10 * look)
            if key not in table:
                found = limits(*key, 0.95)
                table[key] = found.low <= 0.5 <= found.high
            if not table[key]:
                break
        else:
            held += 1
    return held / len(events)


def test_stopping_when_it_pleases_breaks_fixed_intervals_and_not_these():
    assert stop_when_half_is_excluded(clopper_pearson) < 0.87
    assert stop_when_half_is_excluded(anytime) >= 0.95


def test_the_p_value_holds_at_every_look():
    events, _ = log_ratios(0.5, campaigns=300, longest=200)
    smallest = [min(anytime_p_value(int(e), n) for n, e in enumerate(row, 1)) for row in events[:, :200]]
    assert np.mean(np.array(smallest) <= 0.05) <= 0.05
    assert anytime_p_value(0, 40) < 1e-9


def test_strata_and_pairs_use_them_where_counts_decide_when_to_stop():
    shared, added = OutcomeCounts.of(["DUE"] * 5 + ["MASKED"] * 95), OutcomeCounts.of(["DUE", "MASKED"])
    fixed, sequential = (
        OutcomeStrata(shared=shared, added=added, added_per_shared=0.02, sequential=each).estimate("DUE")
        for each in (False, True)
    )
    strata = (Stratum(events=5, strikes=100), Stratum(events=1, strikes=2), 0.02, 0.95)
    assert fixed == events_per_shared_strike(*strata)
    assert sequential == events_per_shared_strike(*strata, anytime)
    assert sequential.high > fixed.high
    pairs = PairedCounts.of([(True, False)] * 12 + [(False, False)] * 60, sequential=True)
    assert pairs.difference() == paired_difference(12, 0, 72, 0.95, anytime)
    assert pairs.p_value() == anytime_p_value(12, 12)
    assert (pairs + pairs).sequential


def test_whole_campaigns_that_stop_when_narrow_enough_cover_the_truth():
    """Two strata, three protections, looks as a campaign has them: all limits hold at once."""
    truths, added_truth, weight, target = (0.02, 0.05, 0.1), 0.5, 0.1, 0.11
    rng = np.random.default_rng(9)
    looks = [50, 63, 79, 99, 124, 155, 194, 243, 304, 400]
    cache: dict[tuple[int, int, int, int], tuple[float, float]] = {}

    def limits(key):
        if key not in cache:
            events, strikes, added_events, added = key
            found = events_per_shared_strike(
                Stratum(events=events, strikes=strikes),
                Stratum(events=added_events, strikes=added),
                weight,
                1 - 0.05 / 3,
                anytime,
            )
            cache[key] = (found.low, found.high)
        return cache[key]

    held = stopped = 0
    for _ in range(250):
        drawn = [(rng.random(400) < share, rng.poisson(weight, 400)) for share in truths]
        added = [[rng.random(n) < added_truth for n in counts] for _, counts in drawn]
        for look in looks:
            found = [
                limits(
                    (
                        int(shared[:look].sum()),
                        look,
                        sum(int(each.sum()) for each in hits[:look]),
                        int(counts[:look].sum()),
                    )
                )
                for (shared, counts), hits in zip(drawn, added, strict=True)
            ]
            if max(high - low for low, high in found) <= 2 * target:
                stopped += 1
                break
        held += all(
            low <= share + weight * added_truth <= high for (low, high), share in zip(found, truths, strict=True)
        )
    assert stopped > 200
    assert held / 250 >= 0.95
