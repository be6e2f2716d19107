"""The packet that opens, confirms and denies sessions, and what two ends must agree on."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple, Self

from .codec import catalogue_crc
from .errors import LinkError
from .framing import MAX_BODY

LINK_VERSION = 1
ANY_CATALOGUE = 0
"""Sent by an end that does not want its message catalogue compared."""

_SYNC = struct.Struct(">BBIIH")


class SyncKind(IntEnum):
    """The host opens a session or asks for a sign of life; the node confirms, or does not know the session."""

    OPEN = 0
    CONFIRM = 1
    UNKNOWN = 2
    PROBE = 3


class Sync(NamedTuple):
    """The data of a SYNC packet. In UNKNOWN, ``nonce`` holds only its low 16 bits, the tag of a packet."""

    kind: int
    version: int
    nonce: int
    catalogue: int
    max_body: int

    @classmethod
    def ours(cls, kind: SyncKind, nonce: int) -> Self:
        """What this release says of itself."""
        return cls(kind, LINK_VERSION, nonce, catalogue_crc(), MAX_BODY)

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """The fields in ``data``; None if it has another length."""
        return cls(*_SYNC.unpack(data)) if len(data) == _SYNC.size else None

    def encode(self) -> bytes:
        """The packet's data."""
        return _SYNC.pack(*self)


def check_peer(sync: Sync) -> None:
    """See that the other end speaks as we do.

    Raises
    ------
    LinkError
        If its link version or its message catalogue is another one.
    """
    if sync.version != LINK_VERSION:
        raise LinkError(
            f"the node speaks link version {sync.version}, this host {LINK_VERSION}: install the same release on both"
        )
    if sync.catalogue not in (ANY_CATALOGUE, catalogue_crc()):
        raise LinkError(
            f"the node's message catalogue is {sync.catalogue:08x}, this host's {catalogue_crc():08x}: "
            "install the same release on both"
        )
