"""What one checkpoint slot holds: a checksummed header, then the payload. Pure functions, no files.

All numbers are little-endian::

    0   8  magic b"FNCKSLOT"
    8   4  version, 1
    12  4  offset of the payload in the file, 4096
    16  8  sequence number, from 1
    24  8  frame: the inference that comes next
    32  8  length of the payload in bytes
    40  4  CRC-32 of the payload
    44  4  CRC-32 of bytes 0 to 43

CRC-32 and no wider sum, because a save waits for it: zlib takes a tenth of the time of the sync for 64 KiB, a
64-bit one by crcmod takes longer than the sync. It finds every flip of one or two bits and every burst of 32, and lets
other damage pass once in 2**32 times.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from firmware_bridge.crc import frame_crc32 as crc32

MAGIC = b"FNCKSLOT"
VERSION = 1
HEADER_BYTES = 48
PAYLOAD_OFFSET = 4096
"""The payload begins on a page of its own, so that writing it never touches the header's sector."""

_FIELDS = struct.Struct("<8sIIQQQI")
_CRC = struct.Struct("<I")


class BadSlot(Exception):
    """What makes a slot unusable, in words."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a slot says of its payload.

    Parameters
    ----------
    sequence : int
        Counts saves; the higher one is the newer slot.
    frame : int
        Number of the inference that comes next.
    length : int
        Bytes of payload.
    payload_crc : int
        CRC-32 of the payload.
    """

    sequence: int
    frame: int
    length: int
    payload_crc: int

    @classmethod
    def of(cls, payload: bytes, sequence: int, frame: int) -> Header:
        """Give the header of a payload."""
        return cls(sequence=sequence, frame=frame, length=len(payload), payload_crc=crc32(payload))

    def pack(self) -> bytes:
        """Give the header's 48 bytes."""
        fields = _FIELDS.pack(MAGIC, VERSION, PAYLOAD_OFFSET, self.sequence, self.frame, self.length, self.payload_crc)
        return fields + _CRC.pack(crc32(fields))

    @classmethod
    def unpack(cls, stored: bytes) -> Header:
        """Read a header.

        Raises
        ------
        BadSlot
            Nothing was ever stored, the bytes are too few or damaged, or another version wrote them.
        """
        if not stored.strip(b"\0"):
            raise BadSlot("empty")
        if len(stored) < HEADER_BYTES:
            raise BadSlot(f"header cut to {len(stored)} of {HEADER_BYTES} bytes")
        if _CRC.unpack_from(stored, _FIELDS.size)[0] != crc32(stored[: _FIELDS.size]):
            raise BadSlot("header damaged: its CRC is wrong")
        magic, version, offset, sequence, frame, length, payload_crc = _FIELDS.unpack_from(stored)
        if (magic, version, offset) != (MAGIC, VERSION, PAYLOAD_OFFSET):
            raise BadSlot(f"not a slot of version {VERSION}: magic {magic!r}, version {version}, offset {offset}")
        return cls(sequence=sequence, frame=frame, length=length, payload_crc=payload_crc)

    def verify(self, payload: bytes) -> None:
        """Raise :class:`BadSlot` unless the payload is the one that was saved."""
        if len(payload) != self.length:
            raise BadSlot(f"payload cut to {len(payload)} of {self.length} bytes")
        if crc32(payload) != self.payload_crc:
            raise BadSlot("payload damaged: its CRC is wrong")
