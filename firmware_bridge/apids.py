"""Which kind of packet carries what, by its APID."""

from __future__ import annotations

import struct

from .streams import Stream

APID_SYNC = 0x100
APID_ACK = 0x101
APID_URGENT = 0x110
APID_BULK = 0x111

UNRELIABLE = range(0x120, 0x130)
"""APIDs of packets that are sent once and never again: telemetry that is soon out of date."""

STREAM_OF = {APID_URGENT: Stream.URGENT, APID_BULK: Stream.BULK}
DATA = struct.Struct(">HH")
"""What stands before each part of a message: the session's tag, and the transmission number."""
PART = struct.Struct(">HHHHH")
"""The same with the header of its packet before it."""
