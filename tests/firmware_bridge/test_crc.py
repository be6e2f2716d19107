import zlib

import crcmod.predefined
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import crc


def naive_crc32(data: bytes) -> int:
    """Bit by bit, from the catalogue entry: reflected polynomial, all ones in, inverted out."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def test_the_catalogue_check_value():
    assert crc.crc32(b"123456789") == crc.CHECK_VALUE == 0xCBF43926
    assert crc.frame_crc32(b"123456789") == crc.CHECK_VALUE


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_crcmod_and_the_frame_routine_agree_with_the_definition(first, second):
    whole = first + second
    assert crc.crc32(whole) == crc.frame_crc32(whole) == naive_crc32(whole)
    assert crc.crc32(second, crc.crc32(first)) == crc.crc32(whole)
    assert crc.frame_crc32(second, crc.frame_crc32(first)) == crc.crc32(whole)


def test_bytes_like_objects_are_taken():
    assert crc.crc32(memoryview(b"123456789")) == crc.crc32(bytearray(b"123456789")) == crc.CHECK_VALUE


@pytest.mark.parametrize(("extension", "name"), [(True, "crcmod C"), (False, "crcmod pure Python")])
def test_engine_tells_which_implementation_is_in_use(monkeypatch, extension, name):
    monkeypatch.setattr(crcmod.crcmod, "_usingExtension", extension)
    assert crc.engine() == name


def test_zlib_is_an_independent_witness():
    assert zlib.crc32(bytes(range(256)) * 9) == crc.crc32(bytes(range(256)) * 9)
