import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from firmware_bridge.packets import (
    COUNT_MODULUS,
    HEADER_BYTES,
    IDLE_APID,
    PacketType,
    SequenceFlags,
    SpacePacket,
    decode_packet,
    encode_packet,
)

PACKETS = st.builds(
    SpacePacket,
    st.sampled_from(PacketType),
    st.integers(0, IDLE_APID),
    st.sampled_from(SequenceFlags),
    st.integers(0, COUNT_MODULUS - 1),
    st.binary(min_size=1, max_size=300),
)


@given(PACKETS)
def test_round_trip(packet):
    assert decode_packet(encode_packet(packet)) == packet


@given(PACKETS)
def test_header_bits_are_where_the_standard_puts_them(packet):
    data = encode_packet(packet)
    bits = int.from_bytes(data[:HEADER_BYTES], "big")
    assert bits >> 45 == 0  # version
    assert bits >> 44 & 1 == packet.type
    assert bits >> 43 & 1 == 0  # secondary header flag
    assert bits >> 32 & 0x7FF == packet.apid
    assert bits >> 30 & 3 == packet.flags
    assert bits >> 16 & 0x3FFF == packet.sequence
    assert bits & 0xFFFF == len(packet.data) - 1


@given(PACKETS, st.integers(-3, 3).filter(bool))
def test_a_length_that_does_not_fit_is_refused(packet, change):
    data = bytearray(encode_packet(packet))
    claimed = (len(packet.data) - 1 + change) & 0xFFFF
    data[4:6] = struct.pack(">H", claimed)
    assert decode_packet(bytes(data)) is None


@pytest.mark.parametrize("bit", [0x80, 0x40, 0x20, 0x08], ids=["version 4", "version 2", "version 1", "secondary"])
def test_other_versions_and_secondary_headers_are_not_ours(bit):
    data = bytearray(encode_packet(SpacePacket(1, 0x101, 3, 0, b"x")))
    data[0] |= bit
    assert decode_packet(bytes(data)) is None


@given(st.binary(max_size=HEADER_BYTES))
def test_too_short_for_a_packet(data):
    assert decode_packet(data) is None


@pytest.mark.parametrize(
    "packet",
    [
        SpacePacket(2, 0, 3, 0, b"x"),
        SpacePacket(0, IDLE_APID + 1, 3, 0, b"x"),
        SpacePacket(0, 0, 4, 0, b"x"),
        SpacePacket(0, 0, 3, COUNT_MODULUS, b"x"),
        SpacePacket(0, 0, 3, -1, b"x"),
        SpacePacket(0, 0, 3, 0, b""),
        SpacePacket(0, 0, 3, 0, bytes(65537)),
    ],
)
def test_fields_out_of_range_are_refused(packet):
    with pytest.raises(DataError):
        encode_packet(packet)


def test_the_longest_packet_fits_its_length_field():
    packet = SpacePacket(0, 1, 3, 7, bytes(65536))
    assert decode_packet(encode_packet(packet)) == packet
