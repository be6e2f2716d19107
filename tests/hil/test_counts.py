"""Counts: results that add, one outcome a trial."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from hil.stats import Estimate, OutcomeCounts, PairedCounts, clopper_pearson, mcnemar_p_value, paired_difference

OUTCOMES = st.lists(st.sampled_from(["MASKED", "CORRECTED", "DUE", "SDC_CRITICAL"]), max_size=40)
PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40)


@given(OUTCOMES, OUTCOMES)
def test_counts_of_shards_add_up_to_the_whole(first, second):
    assert OutcomeCounts.of(first) + OutcomeCounts.of(second) == OutcomeCounts.of([*second, *first])


@given(OUTCOMES)
def test_every_trial_counts_once(outcomes):
    counts = OutcomeCounts.of(outcomes)
    assert counts.trials == len(outcomes)
    assert all(counts[name] == outcomes.count(name) for name in ("MASKED", "CORRECTED", "DUE", "SDC_CRITICAL"))
    assert counts["CRASH"] == 0


def test_counts_are_values():
    counts = OutcomeCounts.of(["DUE", "MASKED", "MASKED"])
    assert counts == OutcomeCounts(counts=(("MASKED", 2), ("HANG", 0), ("DUE", 1)))
    assert pickle.loads(pickle.dumps(counts)) == counts
    assert len({counts, OutcomeCounts.of(["MASKED", "DUE", "MASKED"])}) == 1
    assert OutcomeCounts().trials == 0


def test_estimates_are_clopper_pearson_over_trials():
    counts = OutcomeCounts.of(["MASKED"] * 90 + ["SDC_TOLERABLE"] * 7 + ["SDC_CRITICAL"] * 3)
    assert counts.estimate("SDC_CRITICAL") == clopper_pearson(3, 100)
    assert counts.estimate("SDC_CRITICAL", "SDC_TOLERABLE") == clopper_pearson(10, 100)
    assert counts.estimate("SDC_CRITICAL", "SDC_CRITICAL") == clopper_pearson(3, 100)
    assert counts.estimate("SDC_CRITICAL", confidence=0.99) == clopper_pearson(3, 100, 0.99)


def test_an_outcome_never_seen_has_its_upper_limit():
    estimates = OutcomeCounts.of(["MASKED"] * 50).estimates(["MASKED", "CRASH"])
    assert estimates == {"MASKED": clopper_pearson(50, 50), "CRASH": clopper_pearson(0, 50)}
    assert estimates["CRASH"].high > 0.05


def test_no_trials_say_nothing():
    assert OutcomeCounts().estimate("DUE") == Estimate(low=0.0, best=0.5, high=1.0)


def test_negative_counts_are_refused():
    with pytest.raises(DataError, match="DUE = -1"):
        OutcomeCounts(counts=(("DUE", -1),))
    with pytest.raises(DataError, match="paired counts"):
        PairedCounts(both=0, only_first=0, only_second=-2, neither=1)


@given(PAIRS, PAIRS)
def test_pairs_of_shards_add_up_to_the_whole(first, second):
    assert PairedCounts.of(first) + PairedCounts.of(second) == PairedCounts.of([*second, *first])


@given(PAIRS)
def test_every_pair_stands_in_one_field(pairs):
    counts = PairedCounts.of(pairs)
    assert counts.trials == len(pairs)
    assert counts.both + counts.only_first == sum(first for first, _ in pairs)
    assert counts.both + counts.only_second == sum(second for _, second in pairs)
    assert counts.neither == pairs.count((False, False))


def test_paired_results_come_from_the_discordant_pairs():
    counts = PairedCounts(both=200, only_first=30, only_second=9, neither=761)
    assert counts.difference() == paired_difference(30, 9, 1000)
    assert counts.difference(0.99) == paired_difference(30, 9, 1000, 0.99)
    assert counts.p_value() == mcnemar_p_value(30, 9)
