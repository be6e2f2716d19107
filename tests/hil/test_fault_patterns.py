"""Patterns of one strike: bytes, rows, columns, strides and random values, at every place and at the edges."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError
from hil.campaign.record import TrialRow
from hil.strikes import PRESETS, Cells, FaultModel, FaultSpace, Stream, Window, preset, sample_strikes
from hil.strikes.pattern import struck_cells
from tests.campaigns import campaign, run

BITS = 40_000


def cells(model, seed, bits=BITS, key="x"):
    return struck_cells(Stream(key, seed), model, seed, bits)


def model(**settings):
    return FaultModel(name="x", **settings)


@given(st.integers(0, BITS - 1))
def test_a_byte_is_the_aligned_one_that_was_hit(seed):
    assert cells(model(pattern="byte"), seed) == tuple(range(seed // 8 * 8, seed // 8 * 8 + 8))


@given(st.integers(0, BITS - 1))
def test_a_row_is_all_of_its_cells(seed):
    found = cells(model(pattern="row", row_bits=512), seed)
    start = seed // 512 * 512
    assert found == tuple(range(start, min(start + 512, BITS)))


@given(st.integers(0, BITS - 1))
def test_a_column_is_the_same_cell_of_following_rows(seed):
    found = cells(model(pattern="column", row_bits=1024, count=5), seed)
    assert found[0] == seed
    assert {cell % 1024 for cell in found} == {seed % 1024}
    assert [cell // 1024 for cell in found] == list(range(seed // 1024, seed // 1024 + len(found)))
    assert len(found) == min(5, (BITS - 1 - seed) // 1024 + 1)


@given(st.integers(0, BITS - 1))
def test_a_stride_keeps_the_bit_of_the_byte(seed):
    found = cells(preset("stride"), seed)
    gaps = {later - cell for cell, later in pairwise(found)}
    assert found[0] == seed
    assert len(gaps) <= 1
    assert all(gap % 16 == 0 and (gap // 8).bit_count() == 1 and gap <= 8 * 4096 for gap in gaps)


def test_every_stride_is_as_likely():
    drawn = Counter()
    for trial in range(6000):
        first, second, *_ = struck_cells(Stream("strides", trial), preset("stride"), 0, 10**6)
        drawn[(second - first) // 8] += 1
    assert set(drawn) == {1 << n for n in range(1, 13)}
    assert all(400 < count < 600 for count in drawn.values())


def test_random_values_flip_half_of_the_cells_and_never_none():
    sizes = [len(cells(preset("byte"), 0, key=f"byte {trial}")) for trial in range(4000)]
    assert min(sizes) == 1
    assert max(sizes) == 8
    assert sum(sizes) / len(sizes) == pytest.approx(4 / (1 - 2**-8), abs=0.1)


def test_a_random_value_of_one_cell_is_its_flip():
    assert cells(model(kind="random"), 77) == (77,)


@pytest.mark.parametrize("name", list(PRESETS))
def test_strikes_of_every_preset_are_sound(name):
    space = FaultSpace(shared=(Cells(region="weights", bits=5000),))
    for trial in range(60):
        (strike,) = sample_strikes("key", trial, space, preset(name), Window(inferences=2, steps=3))
        assert strike.cells == tuple(sorted(set(strike.cells)))
        assert 0 <= strike.cells[0] <= strike.cells[-1] < 5000
        assert strike.kind in ("flip", "stuck_at_0", "stuck_at_1")


def test_what_plays_no_part_stands_in_no_key():
    """Patterns are an addition: the keys of all clusters, and so their strikes, are those that they were before."""
    assert preset("clusters").to_json() == (
        '{"across_rows":0.25,"cluster_sizes":{"1":0.723,"2":0.2216,"3":0.0369,"6":0.0185},"interleave":1,'
        '"kind":"flip","name":"clusters","row_bits":8192}'
    )


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"pattern": "rows"}, "did you mean 'row'"),
        ({"pattern": "column"}, "count = 1"),
        ({"pattern": "column", "count": 5000}, "count = 5000"),
        ({"pattern": "row", "count": 3, "row_bits": 512}, "count = 3"),
        ({"count": 3}, "leave it out"),
        ({"pattern": "row"}, "row_bits = 8192"),
        ({"pattern": "byte", "interleave": 2}, "interleave = 2"),
        ({"pattern": "stride", "count": 4}, "strides belong"),
        ({"strides_bytes": [4]}, "strides belong"),
        ({"pattern": "stride", "count": 4, "strides_bytes": [3]}, "strides_bytes holds 3"),
        ({"pattern": "stride", "count": 4, "strides_bytes": [8192]}, "strides_bytes holds 8192"),
        ({"pattern": "stride", "count": 4, "strides_bytes": ["4"]}, "strides_bytes holds '4'"),
        ({"hardware_ecc": "secded"}, "did you mean 'secded_72_64'"),
        ({"hardware_alarm": "ignore"}, "hardware_alarm = 'ignore'"),
        ({"kind": "randm"}, "did you mean 'random'"),
    ],
)
def test_bad_patterns_name_the_key(table, words):
    with pytest.raises(ConfigError, match="fault model") as caught:
        FaultModel.from_mapping({"name": "x"} | table)
    assert words in str(caught.value)


# ---- in a campaign ---------------------------------------------------------------------------------------------------

NONE_ONLY = '\n[[protection]]\nname = "none"\ncode = "none"\n'


def outcomes(tmp_path, name, trials=25):
    described = campaign(tmp_path, trials=trials, fault_model=name, protections=NONE_ONLY)
    rows = [row for row in run(described, tmp_path / "run") if isinstance(row, TrialRow)]
    assert {row.outcome for row in rows if row.protection in ("null", "restore")} == {"MASKED"}
    return [row for row in rows if row.protection == "none"]


@pytest.mark.parametrize("name", ["byte", "row", "column", "stride"])
def test_patterns_strike_a_node(tmp_path, name):
    rows = outcomes(tmp_path, name)
    assert max(len(row.faults) for row in rows) > 1


def test_on_die_correction_leaves_only_what_it_cannot_correct(tmp_path):
    rows = outcomes(tmp_path, "clusters_on_die_ecc", trials=60)
    sizes = Counter(len(row.faults) for row in rows)
    assert sizes[0] > 30
    assert sum(sizes.values()) > sizes[0]
    assert all(row.outcome == "MASKED" for row in rows if not row.faults)


def test_the_alarm_of_the_memory_is_a_crash_of_the_node(tmp_path):
    rows = outcomes(tmp_path, "clusters_secded", trials=40)
    alarms = [row for row in rows if any(fault.region == "process" for fault in row.faults)]
    assert alarms
    assert {row.outcome for row in alarms} == {"CRASH"}
    assert {row.outcome for row in rows if not row.faults} == {"MASKED"}
