"""Landing: the interleave map is a bijection, and a cluster hits the words that it should."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault, FaultKind
from hil.strikes import Cells, FaultModel, FaultSpace, Strike, land, logical_bit, physical_cell

SPACE = FaultSpace(
    shared=(Cells(region="weights", bits=2048), Cells(region="activations", bits=1000)),
    own=(Cells(region="check.weights", bits=256, technology="flash"),),
)


def strike(*cells: int, space: str = "shared", kind: str = "flip") -> Strike:
    return Strike(trial=3, number=9, technology="dram", space=space, cells=cells, kind=kind, inference=2, step=5)


def model(interleave: int = 1) -> FaultModel:
    return FaultModel(name="test", interleave=interleave)


@given(n_bytes=st.integers(1, 600), interleave=st.integers(1, 20))
def test_the_interleave_map_is_a_bijection(n_bytes, interleave):
    bits = 8 * n_bytes
    logical = [logical_bit(cell, bits, interleave) for cell in range(bits)]
    assert sorted(logical) == list(range(bits))
    assert [physical_cell(bit, bits, interleave) for bit in logical] == list(range(bits))


@given(words=st.integers(1, 60), interleave=st.integers(1, 20), data=st.data())
def test_neighbouring_bits_of_a_word_lie_the_interleave_distance_apart(words, interleave, data):
    bits, word = 64 * words, data.draw(st.integers(0, words - 1))
    group = word // interleave
    distance = min(interleave, words - group * interleave)  # the last group may be smaller
    cells = [physical_cell(64 * word + bit, bits, interleave) for bit in range(64)]
    assert {later - cell for cell, later in pairwise(cells)} == {distance}


@given(start=st.integers(0, 64 * 16 - 8), interleave=st.sampled_from([8, 16]))
def test_up_to_interleave_neighbouring_cells_belong_to_different_words(start, interleave):
    bits = 64 * 16
    words = [logical_bit(cell, bits, interleave) // 64 for cell in range(start, start + 8)]
    assert len(set(words)) == 8


def test_without_interleave_bits_stay_where_they_are():
    assert [logical_bit(cell, 1000, 1) for cell in range(1000)] == list(range(1000))


def test_bits_that_fill_no_word_stay_where_they_are():
    bits = 4 * 64 + 2 * 64 + 24  # a full group of four words, one of two words, three bytes
    assert [logical_bit(cell, bits, 4) for cell in range(384, 408)] == list(range(384, 408))
    assert [logical_bit(cell, bits, 4) for cell in range(256, 260)] == [256, 320, 257, 321]


def test_a_fault_carries_the_strike_and_its_moment():
    (fault,) = land(strike(2047), SPACE, model())
    assert fault == Fault(strike=9, region="weights", bit=2047, kind=FaultKind.FLIP, inference=2, step=5)


def test_a_cluster_may_cross_from_one_region_into_the_next():
    faults = land(strike(2046, 2047, 2048, 2049), SPACE, model())
    assert [(fault.region, fault.bit) for fault in faults] == [
        ("weights", 2046),
        ("weights", 2047),
        ("activations", 0),
        ("activations", 1),
    ]


def test_words_are_counted_from_the_start_of_each_region():
    faults = land(strike(2048, 2049, 2050), SPACE, model(interleave=4))
    assert [(fault.region, fault.bit) for fault in faults] == [
        ("activations", 0),
        ("activations", 64),
        ("activations", 128),
    ]


@pytest.mark.parametrize(
    ("kind", "landed"),
    [("flip", FaultKind.FLIP), ("stuck_at_0", FaultKind.STUCK_AT_0), ("stuck_at_1", FaultKind.STUCK_AT_1)],
)
def test_the_kind_lands_as_it_is(kind, landed):
    assert {fault.kind for fault in land(strike(1, 2, kind=kind), SPACE, model())} == {landed}


def test_a_strike_on_an_own_region_lands_there():
    (fault,) = land(strike(255, space="check.weights"), SPACE, model())
    assert (fault.region, fault.bit) == ("check.weights", 255)


@pytest.mark.parametrize(("cell", "space"), [(3048, "shared"), (256, "check.weights"), (0, "padding")])
def test_a_strike_from_another_layout_is_refused(cell, space):
    with pytest.raises(DataError, match="this layout"):
        land(strike(cell, space=space), SPACE, model())


@given(st.sets(st.integers(0, 3047), min_size=1, max_size=40), st.integers(1, 16))
def test_distinct_cells_land_on_distinct_bits(cells, interleave):
    faults = land(strike(*sorted(cells)), SPACE, model(interleave))
    assert len({(fault.region, fault.bit) for fault in faults}) == len(cells)
