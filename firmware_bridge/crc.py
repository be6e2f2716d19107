"""The one place where checksums are made, and which says how fast its engine is.

The checksum of the protocol is CRC-32 ISO-HDLC (the one of zlib, Ethernet and PNG). ``crcmod`` computes it; a
build of crcmod without its C extension works but is some sixty times slower, so :func:`engine` tells which one
is in use. Frames are short and many: :func:`frame_crc32` is zlib's routine for the same checksum, and a test
holds the two against each other.
"""

from __future__ import annotations

import zlib

import crcmod.crcmod
import crcmod.predefined

CHECK_VALUE = 0xCBF43926
"""CRC-32 of ``b"123456789"``, from the catalogue entry CRC-32/ISO-HDLC."""

COMPILED = "crcmod C"

_crc32 = crcmod.predefined.mkCrcFun("crc-32")

frame_crc32 = zlib.crc32
"""CRC-32 of a short frame: same polynomial, start value and result as :func:`crc32`."""


def crc32(data: bytes, value: int = 0) -> int:
    """CRC-32 ISO-HDLC of ``data``, continued from ``value``.

    Parameters
    ----------
    data
        Any bytes-like object.
    value
        The checksum of what came before ``data``; 0 starts anew.

    Examples
    --------
    >>> hex(crc32(b"123456789"))
    '0xcbf43926'
    >>> crc32(b"6789", crc32(b"12345")) == crc32(b"123456789")
    True
    """
    return int(_crc32(data, value))


def engine() -> str:
    """Which implementation of crcmod is loaded: :data:`COMPILED` or ``"crcmod pure Python"``."""
    return COMPILED if crcmod.crcmod._usingExtension else "crcmod pure Python"
