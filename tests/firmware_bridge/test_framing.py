from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.crc import crc32
from firmware_bridge.framing import (
    CRC_BYTES,
    MAX_BODY,
    MAX_ENCODED,
    MIN_BODY,
    FrameDecoder,
    cobs_decode,
    cobs_encode,
    encode_frame,
)

BODIES = st.binary(min_size=MIN_BODY, max_size=MAX_BODY)
GUARDED_BODY = 371
"""CRC-32 finds every 4 flips in a body of this many bytes, and not in a longer one."""


def naive_cobs(data: bytes) -> bytes:
    """COBS as the paper words it: one code byte before each stretch without zeros."""
    out = bytearray()
    block = bytearray()
    for byte in data:
        if byte == 0:
            out += bytes([len(block) + 1]) + block
            block = bytearray()
            continue
        block.append(byte)
        if len(block) == 254:
            out += b"\xff" + block
            block = bytearray()
    if block or not data or data[-1] == 0 or len(out) == 0:
        out += bytes([len(block) + 1]) + block
    return bytes(out)


# Examples of the COBS article in the encyclopedia; the last three sit at the limit of one block.
COBS_VECTORS = [
    ("", "01"),
    ("00", "01 01"),
    ("00 00", "01 01 01"),
    ("00 11 00", "01 02 11 01"),
    ("11 22 00 33", "03 11 22 02 33"),
    ("11 22 33 44", "05 11 22 33 44"),
    ("11 00 00 00", "02 11 01 01 01"),
    (bytes(range(1, 255)).hex(), "ff" + bytes(range(1, 255)).hex()),
    (bytes(range(255)).hex(), "01 ff" + bytes(range(1, 255)).hex()),
    (bytes(range(1, 256)).hex(), "ff" + bytes(range(1, 255)).hex() + "02 ff"),
]


@pytest.mark.parametrize(("plain", "encoded"), COBS_VECTORS)
def test_cobs_published_vectors(plain, encoded):
    assert cobs_encode(bytes.fromhex(plain)) == bytes.fromhex(encoded)
    assert cobs_decode(bytes.fromhex(encoded)) == bytes.fromhex(plain)


@given(st.binary(max_size=1100) | st.integers(0, 800).map(lambda n: b"\x07" * n) | st.integers(0, 800).map(bytes))
def test_cobs_round_trip_without_zeros(data):
    encoded = cobs_encode(data)
    assert 0 not in encoded
    assert len(encoded) <= len(data) + 1 + len(data) // 254
    assert cobs_decode(encoded) == data


@given(st.lists(st.sampled_from([0, 1, 255]), max_size=300).map(bytes), st.integers(245, 262))
def test_cobs_agrees_with_the_definition(data, run):
    for text in (data, data + b"\x09" * run, data + b"\x09" * run + data, data + b"\x09" * (2 * run)):
        encoded = naive_cobs(text)
        assert cobs_decode(encoded) == text
        assert cobs_encode(text) == encoded


@given(st.binary(max_size=400).map(lambda data: data.replace(b"\x00", b"\x01")))
def test_cobs_decode_takes_anything(data):
    plain = cobs_decode(data)
    assert plain is None or len(plain) < len(data)


def test_cobs_decode_sees_a_short_last_block():
    assert cobs_decode(b"\x05abc") is None
    assert cobs_decode(b"\xffabc") is None
    assert cobs_decode(b"") is None


@given(st.lists(BODIES, max_size=6), st.integers(0, 2**32))
def test_frames_round_trip_however_they_are_cut(bodies, seed):
    wire = b"".join(map(encode_frame, bodies))
    random = Random(seed)
    decoder = FrameDecoder()
    got = []
    while wire:
        size = random.choice((1, 2, 5, 64, 700))
        got += decoder.feed(wire[:size])
        wire = wire[size:]
    assert got == bodies
    assert decoder.frames == len(bodies)
    assert decoder.noise_bytes == 0


@pytest.mark.parametrize("size", [MIN_BODY - 1, MAX_BODY + 1])
def test_a_body_of_impossible_size_is_refused(size):
    with pytest.raises(ValueError, match=str(size)):
        encode_frame(b"x" * size)


def test_the_longest_frame_has_the_promised_size():
    assert max(len(encode_frame(b"\x01" * MAX_BODY)), len(encode_frame(bytes(MAX_BODY)))) - 1 <= MAX_ENCODED
    decoder = FrameDecoder()
    frame = encode_frame(b"\x01" * MAX_BODY)
    assert [decoder.feed(bytes([byte])) for byte in frame][-1] == [b"\x01" * MAX_BODY]


BOOT_LOG = (
    b"[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd083]\r\n"
    b"[    1.531024] fe201000.serial: ttyAMA0 at MMIO 0xfe201000 (irq = 36, base_baud = 0) is a PL011 rev2\r\n"
    b"Raspbian GNU/Linux 12 raspberrypi ttyAMA0\r\n\r\nraspberrypi login: "
)


@pytest.mark.parametrize(
    "noise",
    [b"AT\r\nAT\r\n", b"login: ", BOOT_LOG, BOOT_LOG * 40, b"\xff" * 5000, b"\x00" * 50, bytes(range(256)) * 20],
    ids=["modem", "prompt", "boot", "long boot", "line low", "line high", "all bytes"],
)
def test_noise_is_counted_and_the_next_frame_is_found(noise):
    decoder = FrameDecoder()
    frame = encode_frame(b"good packet")
    assert decoder.feed(frame + noise) == [b"good packet"]
    assert decoder.feed(b"\x00" + frame) == [b"good packet"]
    zeros = noise.count(0)
    assert decoder.noise_bytes == len(noise) - zeros
    rejected = decoder.bad_crc + decoder.bad_cobs + decoder.too_short + decoder.too_long
    assert (rejected > 0) == (zeros < len(noise))


@given(st.binary(max_size=3000), st.lists(st.integers(1, 900), max_size=8))
def test_any_bytes_are_survived_and_accounted_for(noise, cuts):
    decoder = FrameDecoder()
    at = 0
    for cut in [*cuts, len(noise)]:
        decoder.feed(noise[at : at + cut])
        at += cut
    assert decoder.feed(b"\x00") is not None
    good = decoder.feed(encode_frame(b"good packet"))
    assert good == [b"good packet"]
    assert decoder.noise_bytes == min(at, len(noise)) - noise[:at].count(0)


def test_a_runaway_is_dropped_without_being_kept():
    decoder = FrameDecoder()
    for _ in range(1000):
        assert decoder.feed(b"\x55" * 1000) == []
        assert len(decoder._tail) <= MAX_ENCODED
    assert decoder.too_long == 1
    assert decoder.feed(b"\x00" + encode_frame(b"good packet")) == [b"good packet"]
    assert decoder.noise_bytes == 1_000_000


def test_attaching_in_the_middle_finds_the_second_frame():
    frames = [encode_frame(bytes([index]) * 40) for index in range(1, 6)]
    stream = b"".join(frames)
    for start in range(1, len(frames[0])):
        assert FrameDecoder().feed(stream[start:]) == [bytes([index]) * 40 for index in range(2, 6)]


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_truncated_frame_costs_itself_and_at_most_the_next(lost):
    first, second, third = (encode_frame(bytes([index]) * 60) for index in (1, 2, 3))
    assert FrameDecoder().feed(first[:lost] + second + third)[-1] == bytes([3]) * 60
    assert FrameDecoder().feed(first[:lost] + b"\x00" + second + third) == [bytes([2]) * 60, bytes([3]) * 60]


def test_short_stretches_are_not_frames():
    decoder = FrameDecoder()
    tiny = b"123"
    short = cobs_encode(tiny + crc32(tiny).to_bytes(4, "big")) + b"\x00"
    assert decoder.feed(short) == []
    assert decoder.too_short == 1


# ---- what the checksum finds ----------------------------------------------------------------------------------


def flip_syndromes(body_bytes: int) -> np.ndarray:
    """What each single flip in (body | CRC) changes in (CRC computed xor CRC received): CRCs are linear."""
    zero = crc32(bytes(body_bytes))
    syndromes = []
    for bit in range(8 * body_bytes):
        flipped = bytearray(body_bytes)
        flipped[bit // 8] = 1 << bit % 8
        syndromes.append(crc32(flipped) ^ zero)
    syndromes += [1 << (8 * (CRC_BYTES - 1 - bit // 8) + bit % 8) for bit in range(8 * CRC_BYTES)]
    return np.array(syndromes, dtype=np.uint32)


def pair_syndromes(syndromes: np.ndarray) -> np.ndarray:
    return np.sort(np.concatenate([one ^ syndromes[at + 1 :] for at, one in enumerate(syndromes)]))


def test_every_pattern_of_up_to_four_flips_in_any_guarded_body_is_found():
    one = flip_syndromes(GUARDED_BODY)
    for shorter in (7, 100, GUARDED_BODY - 1):  # counted from the end, its flips are among those of the longest
        assert (flip_syndromes(shorter) == one[-8 * (shorter + CRC_BYTES) :]).all()
    two = pair_syndromes(one)
    assert one.all(), "a single flip goes unseen"
    assert two[0] != 0, "two flips cancel"
    assert (two[np.searchsorted(two, one) % len(two)] != one).all(), "three flips cancel"
    assert (np.diff(two) != 0).all(), "four flips cancel"


def test_the_guarantee_ends_exactly_there():
    two = pair_syndromes(flip_syndromes(GUARDED_BODY + 1))
    assert (np.diff(two) == 0).any()


def decode_with_flips(body: bytes, bits: tuple[int, ...]) -> list[bytes]:
    plain = bytearray(body + crc32(body).to_bytes(CRC_BYTES, "big"))
    for bit in bits:
        plain[bit // 8] ^= 1 << bit % 8
    return FrameDecoder().feed(cobs_encode(bytes(plain)) + b"\x00")


def test_flips_are_found_by_the_decoder_itself():
    random = Random(4)
    body = random.randbytes(GUARDED_BODY)
    bits = range(8 * (GUARDED_BODY + CRC_BYTES))
    assert decode_with_flips(body, ()) == [body]
    assert all(decode_with_flips(body, (bit,)) == [] for bit in bits)
    for count in (2, 3, 4):
        for _ in range(2000):
            assert decode_with_flips(body, tuple(random.sample(bits, count))) == []


def test_all_pairs_in_a_short_frame_are_found_by_the_decoder_itself():
    body = b"short frame"
    for pair in combinations(range(8 * (len(body) + CRC_BYTES)), 2):
        assert decode_with_flips(body, pair) == []


def test_flips_on_the_wire_are_found():
    """A flip in a code byte, or one that makes or unmakes a zero, shifts the frame."""
    random = Random(5)
    body = random.randbytes(120)
    frame = encode_frame(body)
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert FrameDecoder().feed(bytes(damaged) + b"\x00") == []
    for _ in range(4000):
        damaged = bytearray(frame)
        for bit in random.sample(range(8 * len(frame)), random.randint(2, 12)):
            damaged[bit // 8] ^= 1 << bit % 8
        assert FrameDecoder().feed(bytes(damaged) + b"\x00") == []
