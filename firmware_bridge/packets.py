"""CCSDS Space Packets, what is inside a frame.

The primary header of CCSDS 133.0-B-2 has six bytes: version (3 bits, 0), type (1), secondary header flag (1, 0),
APID (11), sequence flags (2), sequence count (14), and the length of the data field minus one (16).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from .errors import DataError

HEADER_BYTES = 6
COUNT_MODULUS = 1 << 14
IDLE_APID = 0x7FF

_HEADER = struct.Struct(">HHH")
_unpack_header = _HEADER.unpack_from
_as_tuple = tuple.__new__


class PacketType(IntEnum):
    """Telemetry comes from the node, telecommands come from the host."""

    TELEMETRY = 0
    TELECOMMAND = 1


class SequenceFlags(IntEnum):
    """Which part of a message the packet holds."""

    CONTINUATION = 0
    FIRST = 1
    LAST = 2
    UNSEGMENTED = 3


class SpacePacket(NamedTuple):
    """One packet. A tuple, because thousands a second are made."""

    type: int
    apid: int
    flags: int
    sequence: int
    data: bytes


def encode_packet(packet: SpacePacket) -> bytes:
    """The packet's bytes.

    Raises
    ------
    DataError
        If a field is out of its range or there is no data.

    Examples
    --------
    >>> encode_packet(SpacePacket(PacketType.TELECOMMAND, 0x101, SequenceFlags.UNSEGMENTED, 5, b"x")).hex(" ")
    '11 01 c0 05 00 00 78'
    """
    kind, apid, flags, sequence, data = packet
    if not (0 <= kind <= 1 and 0 <= apid <= IDLE_APID and 0 <= flags <= 3 and 0 <= sequence < COUNT_MODULUS):
        raise DataError(f"Space Packet field out of range: type {kind}, APID {apid}, flags {flags}, count {sequence}")
    if not 1 <= len(data) <= 65536:
        raise DataError(f"a Space Packet carries 1 to 65536 bytes, not {len(data)}")
    return join_packet(kind, apid, flags, sequence, data)


def join_packet(kind: int, apid: int, flags: int, sequence: int, data: bytes) -> bytes:
    """As :func:`encode_packet`, for fields whose ranges the caller knows to be right."""
    return _HEADER.pack(kind << 12 | apid, flags << 14 | sequence, len(data) - 1) + data


def decode_packet(body: bytes) -> SpacePacket | None:
    """The packet in ``body``, or None where the header is not ours or the length is not what it says."""
    size = len(body)
    if size <= HEADER_BYTES:
        return None
    ident, control, length = _unpack_header(body)
    if ident & 0xE800 or length != size - HEADER_BYTES - 1:
        return None
    fields = (ident >> 12, ident & 0x7FF, control >> 14, control & 0x3FFF, body[HEADER_BYTES:])
    return _as_tuple(SpacePacket, fields)  # half the time of SpacePacket(...)
