"""Strikes: one fluence unit a trial, the same on shared cells for every protection, true exposure for the rest."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from firmware_bridge.errors import ConfigError, DataError
from hil.strikes import (
    SHARED,
    Cells,
    FaultModel,
    FaultSpace,
    Strike,
    Window,
    land,
    preset,
    sample_strikes,
    strike_key,
)
from hil.strikes.strike import _stream_code

WEIGHTS, ACTIVATIONS = Cells(region="weights", bits=80_000), Cells(region="activations", bits=16_000)
CHECK = Cells(region="check.weights", bits=40_000)
PADDING = Cells(region="padding", bits=96_000)
CHECKPOINT = Cells(region="checkpoint", bits=48_000, technology="flash")
BARE = FaultSpace(shared=(WEIGHTS, ACTIVATIONS))
SINGLE, CLUSTERS = preset("single_bit"), preset("clusters")
WINDOW = Window(inferences=4, steps=6)
KEY = strike_key("workload", "flat", CLUSTERS, 1)


def with_own(*own: Cells) -> FaultSpace:
    return replace(BARE, own=own)


def sample(trials: int, space: FaultSpace, model: FaultModel = SINGLE, window: Window = WINDOW) -> list[Strike]:
    return [strike for trial in range(trials) for strike in sample_strikes(KEY, trial, space, model, window)]


# ---- numbers that never change -------------------------------------------------------------------------------


def test_the_key_never_changes():
    assert KEY == "4f465afbfb3b770415ad9fafcec6d6951b8000c1dc1a46875cd560449834c717"


def test_the_key_depends_on_each_of_its_parts():
    keys = {
        KEY,
        strike_key("other", "flat", CLUSTERS, 1),
        strike_key("workload", "saa", CLUSTERS, 1),
        strike_key("workload", "flat", SINGLE, 1),
        strike_key("workload", "flat", CLUSTERS, 2),
        strike_key("workloadflat", "", CLUSTERS, 1),
    }
    assert len(keys) == 6


def test_the_strikes_of_a_trial_never_change():
    space, window = with_own(CHECK, PADDING), replace(WINDOW, slowdown=1.5)
    strikes = sample_strikes("golden", 17, space, CLUSTERS, window)
    assert [(s.number, s.space, s.cells, s.inference, s.step) for s in strikes] == [
        (0, "shared", (41907, 41908), 3, 3),
        (3909812224, "check.weights", (5363,), 3, 5),
        (3909812225, "check.weights", (25379, 25380, 25381), 1, 1),
        (637730816, "padding", (43374,), 3, 6),
        (899022848, "padding", (36111,), 2, 0),
    ]


# ---- the rule: one shared strike -----------------------------------------------------------------------------


def test_every_protection_receives_the_same_shared_strike():
    variants = [
        (BARE, WINDOW),
        (with_own(CHECK), WINDOW),
        (with_own(PADDING, CHECK, CHECKPOINT), WINDOW),
        (with_own(CHECK), replace(WINDOW, slowdown=3.0)),
    ]
    for trial in range(200):
        firsts = {sample_strikes(KEY, trial, space, CLUSTERS, window)[0] for space, window in variants}
        assert len(firsts) == 1
        assert firsts.pop().id == f"{trial}:0"
    assert all(len(sample_strikes(KEY, trial, BARE, CLUSTERS, WINDOW)) == 1 for trial in range(200))


def test_protections_that_share_an_own_region_receive_the_same_strikes_there():
    one, other = with_own(CHECK), with_own(Cells(region="check.steps", bits=9000), CHECK, CHECKPOINT)
    seen = 0
    for trial in range(300):
        first, second = (
            [s for s in sample_strikes(KEY, trial, space, CLUSTERS, WINDOW) if s.space == "check.weights"]
            for space in (one, other)
        )
        assert first == second
        seen += len(first)
    assert seen > 80


def test_a_slower_node_receives_the_strikes_of_the_fast_one_and_more():
    space = with_own(CHECK)
    added = 0
    for trial in range(300):
        fast = sample_strikes(KEY, trial, space, CLUSTERS, WINDOW)
        slow = sample_strikes(KEY, trial, space, CLUSTERS, replace(WINDOW, slowdown=2.0))
        assert set(fast) <= set(slow)
        assert all(strike.step == 0 for strike in set(slow) - set(fast))
        added += len(slow) - len(fast)
    assert added > 300


def test_order_and_process_do_not_matter():
    space, trials = with_own(CHECK, PADDING), list(range(120))
    in_order = {trial: sample_strikes(KEY, trial, space, CLUSTERS, WINDOW) for trial in trials}
    random.Random(5).shuffle(trials)
    assert {trial: sample_strikes(KEY, trial, space, CLUSTERS, WINDOW) for trial in trials} == in_order
    assert len({strikes[0].cells for strikes in in_order.values()}) > 110


# ---- distributions -------------------------------------------------------------------------------------------


def test_shared_strikes_are_uniform_over_cells_and_moments():
    strikes = sample(12_000, BARE)
    cells = np.array([strike.cells[0] for strike in strikes])
    moments = Counter((strike.inference, strike.step) for strike in strikes)
    assert stats.chisquare(np.histogram(cells, bins=96, range=(0, 96_000))[0]).pvalue > 1e-3
    assert len(moments) == 4 * 7
    assert stats.chisquare(list(moments.values())).pvalue > 1e-3
    low_bits = np.bincount(cells % 64, minlength=64)
    assert stats.chisquare(low_bits).pvalue > 1e-3


def test_padding_is_struck_in_proportion_to_its_bits():
    trials = 4000
    landed = Counter(land(s, with_own(PADDING), SINGLE)[0].region for s in sample(trials, with_own(PADDING)))
    assert landed["weights"] + landed["activations"] == trials
    per_bit = {cells.region: landed[cells.region] / cells.bits for cells in (WEIGHTS, ACTIVATIONS, PADDING)}
    for cells in (WEIGHTS, ACTIVATIONS, PADDING):
        expected = trials / BARE.shared_bits
        assert per_bit[cells.region] == pytest.approx(expected, abs=4 * sqrt(expected / cells.bits))


@pytest.mark.parametrize(
    ("cells", "rates", "slowdown", "mean"),
    [
        (CHECK, {}, 1.0, 40 / 96),
        (CHECK, {}, 2.5, 2.5 * 40 / 96),
        (CHECKPOINT, {}, 1.0, 0.5),
        (CHECKPOINT, {"dram": 1.0, "flash": 4.0}, 1.0, 2.0),
        (CHECKPOINT, {"dram": 1.0, "flash": 0.0}, 3.0, 0.0),
    ],
)
def test_own_strikes_have_their_poisson_mean(cells, rates, slowdown, mean):
    space, trials = replace(with_own(cells), technology_rates=tuple(rates.items())), 3000
    window = replace(WINDOW, slowdown=slowdown)
    counts = np.array(
        [
            sum(strike.space == cells.region for strike in sample_strikes(KEY, trial, space, SINGLE, window))
            for trial in range(trials)
        ]
    )
    assert counts.mean() == pytest.approx(mean, abs=4 * sqrt(mean / trials))
    assert counts.var() == pytest.approx(mean, abs=0.2 * mean)
    total = 1.0 + mean + (slowdown - 1.0)
    assert space.exposure(slowdown) == pytest.approx(total)


def test_idle_time_adds_shared_strikes_at_idle_moments():
    trials, slowdown = 3000, 1.75
    strikes = sample(trials, BARE, window=replace(WINDOW, slowdown=slowdown))
    idle = [strike for strike in strikes if strike.number != 0]
    assert {(strike.space, strike.step) for strike in idle} == {(SHARED, 0)}
    assert len(idle) / trials == pytest.approx(0.75, abs=4 * sqrt(0.75 / trials))
    assert stats.chisquare(list(Counter(strike.inference for strike in idle).values())).pvalue > 1e-3


def test_further_copies_add_shared_and_own_strikes_at_moments_of_their_own():
    trials, copies = 2000, 3
    window, space = replace(WINDOW, copies=copies), with_own(PADDING)
    strikes = sample(trials, space, window=window)
    once = sample(trials, space)
    moments = WINDOW.steps + 1
    assert [strike for strike in strikes if strike.step < moments] == once, "the first copy is struck as a single one"
    for copy in range(1, copies):
        added = [strike for strike in strikes if strike.step // moments == copy]
        mean = space.exposure()
        assert len(added) / trials == pytest.approx(mean, abs=4 * sqrt(mean / trials))
        assert {strike.space for strike in added} == {SHARED, PADDING.region}
        counts = Counter(strike.step % moments for strike in added if strike.space == SHARED)
        assert len(counts) == moments
        assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    assert max(strike.step for strike in strikes) < copies * moments


def test_the_mean_over_all_streams_is_the_exposure():
    space, trials = with_own(CHECK, PADDING, CHECKPOINT), 2000
    window = replace(WINDOW, slowdown=1.4)
    exposure = space.exposure(1.4)
    mean = len(sample(trials, space, window=window)) / trials
    assert mean == pytest.approx(exposure, abs=4 * sqrt(exposure / trials))


def test_strikes_of_different_streams_do_not_follow_each_other():
    space, trials = with_own(Cells(region="padding", bits=96_000)), 4000
    pairs = []
    for trial in range(trials):
        shared, *own = sample_strikes(KEY, trial, space, SINGLE, WINDOW)
        pairs += [(shared.cells[0], strike.cells[0]) for strike in own[:1]]
    table, *_ = np.histogram2d(*np.array(pairs).T, bins=4)
    assert stats.chi2_contingency(table).pvalue > 1e-3


# ---- clusters ------------------------------------------------------------------------------------------------


def test_cluster_sizes_follow_their_table():
    space = FaultSpace(shared=(Cells(region="weights", bits=8192 * 1000),))
    sizes = Counter(len(strike.cells) for strike in sample(8000, space, CLUSTERS))
    inside = {size: sizes[size] for size in (1, 2, 3, 6)}
    expected = np.array([weight for _, weight in CLUSTERS.cluster_sizes]) * sum(inside.values())
    assert stats.chisquare(list(inside.values()), expected).pvalue > 1e-3
    assert sum(sizes.values()) - sum(inside.values()) < 20  # a few lose cells at the end of a row


def test_across_rows_moves_that_share_of_the_further_cells():
    model = FaultModel(name="x", cluster_sizes=((5, 1.0),), across_rows=0.25, row_bits=1024)
    space = FaultSpace(shared=(Cells(region="weights", bits=1024 * 5000),))
    strikes = [strike for strike in sample(3000, space, model) if len(strike.cells) == 5]
    lower = sum(cell // 1024 != strike.cells[0] // 1024 for strike in strikes for cell in strike.cells)
    draws = 4 * len(strikes)
    assert lower / draws == pytest.approx(0.25, abs=4 * sqrt(0.25 * 0.75 / draws))


@settings(max_examples=60)
@given(
    bits=st.integers(1, 700).map(lambda n: 8 * n),
    size=st.integers(1, 40),
    across=st.sampled_from([0.0, 0.3, 1.0]),
    row_bits=st.sampled_from([64, 100, 1024]),
    trial=st.integers(0, 10_000),
)
def test_clusters_stay_inside_their_rows_and_their_memory(bits, size, across, row_bits, trial):
    model = FaultModel(name="x", cluster_sizes=((size, 1.0),), across_rows=across, row_bits=row_bits)
    space = FaultSpace(shared=(Cells(region="weights", bits=bits),))
    (strike,) = sample_strikes("edges", trial, space, model, WINDOW)
    rows = sorted({cell // row_bits for cell in strike.cells})
    seed = strike.cells[0]
    assert len(set(strike.cells)) == len(strike.cells) <= size
    assert strike.cells[-1] < bits
    assert rows in ([seed // row_bits], [seed // row_bits, seed // row_bits + 1])
    for row in rows:
        columns = [cell % row_bits for cell in strike.cells if cell // row_bits == row]
        assert columns == list(range(seed % row_bits, seed % row_bits + len(columns)))


def test_a_cluster_at_the_edge_loses_cells_and_never_wraps():
    model = FaultModel(name="x", cluster_sizes=((4, 1.0),), across_rows=0.0, row_bits=64)
    space = FaultSpace(shared=(Cells(region="weights", bits=128),))
    lengths = {strike.cells[0] % 64: len(strike.cells) for strike in sample(1500, space, model)}
    assert lengths == {column: min(4, 64 - column) for column in range(64)}


def test_interleaving_spreads_a_cluster_over_words():
    model = FaultModel(name="x", cluster_sizes=((4, 1.0),), across_rows=0.0, row_bits=1024)
    space = FaultSpace(shared=(Cells(region="weights", bits=1024 * 64),))
    for strike in sample(300, space, model):
        words = {fault.bit // 64 for fault in land(strike, space, model)}
        spread = {fault.bit // 64 for fault in land(strike, space, replace(model, interleave=4))}
        assert len(words) <= 2
        assert len(spread) == len(strike.cells)


# ---- kinds, values, errors -----------------------------------------------------------------------------------


def test_stuck_at_draws_both_values_and_fixed_kinds_stay():
    kinds = Counter(strike.kind for strike in sample(2000, BARE, preset("stuck_at")))
    assert set(kinds) == {"stuck_at_0", "stuck_at_1"}
    assert stats.binomtest(kinds["stuck_at_0"], 2000).pvalue > 1e-3
    fixed = FaultModel(name="x", kind="stuck_at_1")
    assert {strike.kind for strike in sample(50, BARE, fixed)} == {"stuck_at_1"}


def test_strikes_go_both_ways_as_json():
    for strike in sample(100, with_own(CHECK, CHECKPOINT), CLUSTERS):
        assert Strike.from_json(strike.to_json()) == strike


def test_json_of_something_else_is_refused():
    with pytest.raises(DataError, match="not a strike"):
        Strike.from_json('{"trial": 1}')


@pytest.mark.parametrize(
    "bad", [{"kind": "flop"}, {"cells": ()}, {"cells": (3, 3)}, {"cells": (4, 1)}, {"cells": (-1,)}]
)
def test_a_strike_is_checked_when_made(bad):
    with pytest.raises(DataError, match="strike 0:0"):
        replace(sample(1, BARE)[0], **bad)


def test_a_strike_names_the_technology_of_its_cells():
    seen = {(strike.space, strike.technology) for strike in sample(60, with_own(CHECK, CHECKPOINT))}
    assert seen == {(SHARED, "dram"), ("check.weights", "dram"), ("checkpoint", "flash")}


def test_ids_are_unique_within_a_trial_and_fit_the_wire():
    window = replace(WINDOW, slowdown=4.0)
    for trial in range(50):
        strikes = sample_strikes(KEY, trial, with_own(CHECK, PADDING, CHECKPOINT), CLUSTERS, window)
        assert len({strike.id for strike in strikes}) == len(strikes)
        assert all(0 <= strike.number < 1 << 32 for strike in strikes)


ADDED_TIME = ("", ", idle", ", copy 1", ", copy 2")


def test_the_streams_of_all_known_regions_have_different_codes():
    checks = ("check.weights", "check.steps", "check.activations", "check.abft", "check.ranges")
    names = (*checks, "padding", "checkpoint", SHARED)
    codes = {_stream_code(name + idle) for name in names for idle in ADDED_TIME}
    assert len(codes) == len(names) * len(ADDED_TIME)
    assert 0 not in codes


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"inferences": 0}, "inferences = 0"),
        ({"inferences": 65_537}, "inferences = 65537"),
        ({"steps": -1}, "steps = -1"),
        ({"steps": 65_536}, "steps = 65536"),
        ({"slowdown": 0.5}, "full speed"),
        ({"copies": 0}, "1 or more"),
        ({"copies": 3, "steps": 30_000}, "give 0 to 21844"),
        ({"slowdown": float("inf")}, "full speed"),
        ({"slowdown": float("nan")}, "full speed"),
    ],
)
def test_a_window_is_checked_when_made(bad, words):
    with pytest.raises(ConfigError, match=words):
        replace(WINDOW, **bad)


def test_an_absurd_exposure_is_refused():
    with pytest.raises(ConfigError, match=r"padding.*at most 1000"):
        sample_strikes(KEY, 0, with_own(Cells(region="padding", bits=96_000 * 2000)), SINGLE, WINDOW)
