"""The digest of memory against its slow twin, zlib, crcmod and published values; by multiplication and by tables."""

import zlib

import crcmod
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from node.digest import CRC_32, CRC_32C, Crc
from node.kernels.codes import crc
from tests.naive.crc import crc as slow

ETHERNET, CASTAGNOLI = Crc(CRC_32), Crc(CRC_32C)
FOLD = crc.FOLD_BYTES or 256
SIZES = (0, 1, 15, 16, 17, FOLD - 1, FOLD, 2 * FOLD - 1, 2 * FOLD, 2 * FOLD + 1, 3 * FOLD, 5000, 70001)


def random_bytes(size, seed=0):
    return np.random.default_rng([seed, size]).integers(0, 256, size, dtype=np.uint8)


# RFC 3720, B.4, and the check values of the catalogues.
@pytest.mark.parametrize(
    ("digest", "data", "expected"),
    (
        (ETHERNET, b"123456789", 0xCBF43926),
        (CASTAGNOLI, b"123456789", 0xE3069283),
        (CASTAGNOLI, bytes(32), 0x8A9136AA),
        (CASTAGNOLI, b"\xff" * 32, 0x62A8AB43),
        (CASTAGNOLI, bytes(range(32)), 0x46DD794E),
    ),
)
def test_known_answers(digest, data, expected):
    array = np.frombuffer(data, np.uint8)
    assert digest(array) == digest.by_tables(array) == expected


@pytest.mark.parametrize("size", SIZES)
def test_both_ways_equal_zlib_from_any_start(size):
    data = random_bytes(size)
    for value in (0, 1, 0x80000000, 0xFFFFFFFF, 0xDEADBEEF):
        assert ETHERNET(data, value) == ETHERNET.by_tables(data, value) == zlib.crc32(data, value)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 0xFFFFFFFF), st.integers(0, 6 * FOLD), st.integers(0, 0xFFFFFFFF))
def test_any_generator_equals_crcmod(generator, size, value):
    digest, data = Crc(generator), random_bytes(size)
    other = crcmod.mkCrcFun(1 << 32 | generator, initCrc=0, rev=True, xorOut=0xFFFFFFFF)
    assert digest(data, value) == digest.by_tables(data, value) == other(data.tobytes(), value)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 0xFFFFFFFF), st.binary(max_size=40), st.integers(0, 0xFFFFFFFF))
def test_the_tables_equal_the_slow_twin(generator, data, value):
    assert Crc(generator)(np.frombuffer(data, np.uint8), value) == slow(generator, data, value)


def test_every_struck_bit_changes_it():
    data = random_bytes(3 * FOLD + 5)
    golden = CASTAGNOLI(data)
    for bit in range(8 * data.size):
        data[bit >> 3] ^= 1 << (bit & 7)
        assert CASTAGNOLI(data) != golden
        data[bit >> 3] ^= 1 << (bit & 7)


@given(st.integers(0, 3000), st.integers(0, 3000))
@settings(max_examples=50, deadline=None)
def test_it_goes_on_where_it_stopped(first, second):
    data = random_bytes(first + second)
    assert ETHERNET(data[first:], ETHERNET(data[:first])) == ETHERNET(data)


def test_words_of_any_kind_are_taken_by_their_bytes():
    data = random_bytes(1600)
    assert ETHERNET(data.view(np.float64).reshape(10, -1)) == ETHERNET(data)


@pytest.mark.parametrize("generator", (0, -1, 1 << 32, 0x104C11DB7))
def test_a_generator_that_is_none_is_refused(generator):
    with pytest.raises(DataError, match="generator"):
        Crc(generator)
