"""The memory's own correction: every single and double error, a slow twin on whole codewords, the chain to faults."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError
from firmware_bridge.messages import FaultKind
from hil.strikes import HARDWARE_ECC, Cells, FaultModel, FaultSpace, HardwareEcc, Strike, land
from tests.naive import linear_code

SEC, SECDED = HARDWARE_ECC["sec_136_128"], HARDWARE_ECC["secded_72_64"]
CODES = pytest.mark.parametrize("code", HARDWARE_ECC.values(), ids=list(HARDWARE_ECC))


@CODES
def test_the_lengths_are_those_of_the_name(code):
    n, k = map(int, code.name.split("_")[1:])
    assert (code.data_bits, code.data_bits + code.check_bits) == (k, n)


@CODES
def test_every_single_error_is_corrected_in_silence(code):
    assert all(code.decode([bit]) == ((), False) for bit in range(code.data_bits))


def test_hsiao_columns_have_odd_weight_and_balanced_rows():
    assert {column.bit_count() for column in SECDED.columns} == {3, 5}
    rows = [sum(column >> row & 1 for column in SECDED.columns) for row in range(8)]
    assert rows == [26] * 8  # (56*3 + 8*5) / 8, as Hsiao 1970 gives for (72,64)


def test_every_double_error_alarms_secded_and_stays_as_it_is():
    for pair in itertools.combinations(range(64), 2):
        assert SECDED.decode(pair) == (pair, True)


def test_no_double_error_is_corrected_on_the_die_and_nobody_hears_of_it():
    left = [SEC.decode(pair) for pair in itertools.combinations(range(128), 2)]
    assert not any(residue.detected for residue in left)
    sizes = [len(residue.bits) for residue in left]
    assert set(sizes) == {2, 3}
    # 254 syndromes are left for a pair, 126 of them are those of innocent data bits
    assert 0.4 < sizes.count(3) / len(sizes) < 0.6


@CODES
@pytest.mark.parametrize("weight", [1, 2, 3, 4, 7])
def test_the_residue_is_that_of_a_whole_codeword(code, weight):
    draw = random.Random(weight)
    h = linear_code.parity_check(code.columns, code.check_bits)
    for _ in range(40):
        wrong = sorted(draw.sample(range(code.data_bits), weight))
        data = np.array([draw.randrange(2) for _ in range(code.data_bits)])
        received = linear_code.encode(h, data)
        received[wrong] ^= 1
        repaired, verdict = linear_code.decode(h, received)
        remaining = tuple(np.flatnonzero(repaired[: code.data_bits] != data).tolist())
        assert code.decode(wrong) == (remaining, code.raises_alarm and verdict == "detected")


@given(wrong=st.sets(st.integers(0, 999), max_size=12))
def test_a_region_is_its_codewords_one_by_one(wrong):
    residue = SEC.decode_region(wrong, 1000)
    expected = set()
    for word in range(8):
        inside = SEC.decode([bit - 128 * word for bit in wrong if bit // 128 == word]).bits
        expected |= {128 * word + bit for bit in inside}
    assert residue.bits == tuple(sorted(bit for bit in expected if bit < 1000))


@pytest.mark.parametrize("columns", [(3, 3), (3, 4), (0, 3), (3, 256)])
def test_columns_that_make_no_code_are_refused(columns):
    with pytest.raises(ConfigError, match="distinct"):
        HardwareEcc(name="x", check_bits=8, columns=columns, raises_alarm=False)


# ---- the chain -------------------------------------------------------------------------------------------------------

SPACE = FaultSpace(
    shared=(Cells(region="weights", bits=640), Cells(region="activations", bits=256)),
    own=(Cells(region="checkpoint", bits=512, technology="flash"),),
)


def strike(*cells, kind="flip", space="shared", technology="dram"):
    return Strike(trial=0, number=4, technology=technology, space=space, cells=cells, kind=kind, inference=1, step=2)


def landed(hit, **settings):
    return land(hit, SPACE, FaultModel(name="x", **settings))


def test_a_corrected_strike_leaves_no_fault():
    assert landed(strike(7), hardware_ecc="sec_136_128") == ()
    assert landed(strike(127, 128), hardware_ecc="sec_136_128") == ()  # one in each of two codewords
    assert landed(strike(639, 640), hardware_ecc="secded_72_64") == ()  # one in each of two regions


def test_an_alarm_ends_the_process_at_the_moment_of_the_strike():
    (fault,) = landed(strike(7, 8), hardware_ecc="secded_72_64")
    assert (fault.region, fault.bit, fault.kind, fault.strike) == ("process", 0, FaultKind.INTERRUPT, 4)
    assert (fault.inference, fault.step) == (1, 2)


def test_an_alarm_that_nobody_hears_delivers_the_wrong_word():
    faults = landed(strike(7, 8), hardware_ecc="secded_72_64", hardware_alarm="deliver")
    assert [(fault.region, fault.bit) for fault in faults] == [("weights", 7), ("weights", 8)]


def test_interleaving_spares_the_memory_s_own_code():
    assert landed(strike(0, 1, 2, 3), hardware_ecc="secded_72_64", interleave=4) == ()


def test_a_miscorrection_is_a_fault_of_the_same_strike():
    pair = next(p for p in itertools.combinations(range(128), 2) if len(SEC.decode(p).bits) == 3)
    faults = landed(strike(*pair), hardware_ecc="sec_136_128")
    assert tuple(fault.bit for fault in faults) == SEC.decode(pair).bits
    assert {fault.kind for fault in faults} == {FaultKind.FLIP}


def test_stuck_cells_are_never_joined_by_a_miscorrection():
    pair = next(p for p in itertools.combinations(range(128), 2) if len(SEC.decode(p).bits) == 3)
    faults = landed(strike(*pair, kind="stuck_at_1"), hardware_ecc="sec_136_128")
    assert tuple(fault.bit for fault in faults) == pair


def test_storage_of_another_technology_has_no_such_code():
    hit = strike(7, space="checkpoint", technology="flash")
    assert len(landed(hit, hardware_ecc="sec_136_128")) == 1


def test_the_code_on_the_die_is_the_shortened_cyclic_hamming_code():
    """An independent source for its columns: the powers of the primitive element of GF(256), by galois."""
    galois = pytest.importorskip("galois")
    field = galois.GF(256, irreducible_poly="x^8 + x^4 + x^3 + x^2 + 1")
    powers = [int(field.primitive_element**n) for n in range(136)]
    assert powers[:8] == [1 << n for n in range(8)]
    assert tuple(powers[8:]) == SEC.columns
