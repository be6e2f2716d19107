"""Selective repeat: what one end remembers of the messages it sends and of those it receives.

Each direction has two streams, URGENT and BULK, each a sequence of packets with its own 14-bit count. A line
never changes the order of bytes, so every frame also carries a transmission number, and each acknowledgement
returns the newest one seen: whatever was transmitted before it and is not acknowledged is lost for certain.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from .packets import COUNT_MODULUS, SequenceFlags

WINDOW = 64
"""Packets of one stream that may be under way."""
MAX_MESSAGE = 1 << 20
"""Longest message, in bytes."""
INBOX_BYTES = 1 << 18
"""A receiver gives no credit while it holds more than this in messages nobody has taken."""

_HALF = 1 << 15
_BLOCK = struct.Struct(">BHHB")


class Stream(IntEnum):
    """Packets of URGENT go before those of BULK."""

    URGENT = 0
    BULK = 1


@dataclass(slots=True)
class _Incoming:
    """One stream on its way in: ``held`` are packets behind a gap, ``parts`` those of an unfinished message."""

    next: int = 0
    held: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    parts_bytes: int = 0


class Receiver:
    """Puts packets back in order and messages back together.

    Attributes
    ----------
    inbox
        Whole messages nobody has taken yet.
    duplicates, refused
        Packets that came again; packets dropped because they are outside the window or the inbox is full.
    """

    def __init__(self) -> None:
        self._streams = tuple(_Incoming() for _ in Stream)
        self._newest_transmission: int | None = None
        self.inbox: list[bytes] = []
        self._inbox_bytes = 0
        self.unacknowledged = 0
        self.urgent_ack = False
        self.duplicates = 0
        self.refused = 0

    def receive(self, stream: Stream, count: int, flags: int, transmission: int, data: bytes) -> None:
        """Take in one packet."""
        newest = self._newest_transmission
        if newest is None or (transmission - newest) & 0xFFFF < _HALF:
            self._newest_transmission = transmission
        self.unacknowledged += 1
        incoming = self._streams[stream]
        if (
            flags == SequenceFlags.UNSEGMENTED
            and count == incoming.next & (COUNT_MODULUS - 1)
            and not incoming.held
            and self._inbox_bytes <= INBOX_BYTES
        ):
            incoming.next += 1
            self._deliver(data)
            return
        ahead = (count - incoming.next) & (COUNT_MODULUS - 1)
        if ahead >= WINDOW or incoming.next + ahead in incoming.held:
            self.urgent_ack = True
            if ahead >= COUNT_MODULUS - WINDOW or ahead < WINDOW:
                self.duplicates += 1
            else:
                self.refused += 1
            return
        if self._inbox_bytes > INBOX_BYTES:
            self.refused += 1
            self.urgent_ack = True
            return
        if ahead:
            incoming.held[incoming.next + ahead] = (flags, data)
            self.urgent_ack = True
            return
        self._accept(incoming, flags, data)
        while incoming.held and incoming.next in incoming.held:
            self._accept(incoming, *incoming.held.pop(incoming.next))

    def _accept(self, incoming: _Incoming, flags: int, data: bytes) -> None:
        incoming.next += 1
        if flags == SequenceFlags.UNSEGMENTED:
            self._deliver(data)
            return
        if flags == SequenceFlags.FIRST:
            incoming.parts = []
            incoming.parts_bytes = 0
        incoming.parts_bytes += len(data)
        if incoming.parts_bytes > MAX_MESSAGE:
            incoming.parts = []  # a peer that breaks the rule loses its message, not our memory
            self.refused += 1
            return
        incoming.parts.append(data)
        if flags == SequenceFlags.LAST:
            self._deliver(b"".join(incoming.parts))
            incoming.parts = []

    def _deliver(self, message: bytes) -> None:
        self.inbox.append(message)
        self._inbox_bytes += len(message)

    def take(self) -> list[bytes]:
        """The whole messages, in order; they are the caller's now."""
        messages, self.inbox = self.inbox, []
        if self._inbox_bytes > INBOX_BYTES:
            self.urgent_ack = True  # the other end waits for credit
        self._inbox_bytes = 0
        return messages

    def acknowledgement(self) -> bytes | None:
        """Newest transmission number and one block per stream; None before the first packet."""
        if self._newest_transmission is None:
            return None
        self.unacknowledged = 0
        self.urgent_ack = False
        credit = 0 if self._inbox_bytes > INBOX_BYTES else WINDOW
        out = [self._newest_transmission.to_bytes(2, "big")]
        for stream, incoming in enumerate(self._streams):
            bits = 0
            for count in incoming.held:
                bits |= 1 << (count - incoming.next - 1)
            bitmap = bits.to_bytes((bits.bit_length() + 7) // 8, "little")
            wire_next = incoming.next & (COUNT_MODULUS - 1)
            out.append(_BLOCK.pack(stream, wire_next, credit, len(bitmap)) + bitmap)
        return b"".join(out)


def read_blocks(data: bytes) -> list[tuple[Stream, int, int, int]]:
    """The blocks of an acknowledgement: stream, next count expected, credit, bitmap as a number.

    Reading stops at a block that is cut short or names an unknown stream.
    """
    blocks = []
    at = 0
    while at + _BLOCK.size <= len(data):
        stream, next_count, credit, size = _BLOCK.unpack_from(data, at)
        at += _BLOCK.size
        if stream > Stream.BULK or at + size > len(data):
            break
        blocks.append((Stream(stream), next_count, credit, int.from_bytes(data[at : at + size], "little")))
        at += size
    return blocks
