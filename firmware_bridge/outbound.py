"""The frames that one end of the link makes: parts of messages, acknowledgements, and what opens sessions."""

from __future__ import annotations

from .apids import APID_ACK, APID_SYNC, PART, STREAM_OF
from .framing import DELIMITER, encode_frame
from .packets import COUNT_MODULUS, HEADER_BYTES, PacketType, SequenceFlags, join_packet
from .session import Sync, SyncKind
from .streams import Stream


class FrameMaker:
    """Makes the frames of one end.

    Parameters
    ----------
    kind
        The type of its packets: telecommands of a host, telemetry of a node.
    """

    def __init__(self, kind: PacketType) -> None:
        self._kind = kind
        self._idents = [kind << 12 | apid for apid in STREAM_OF]
        self._counts = {APID_SYNC: 0, APID_ACK: 0}

    def part(self, stream: Stream, flags: int, numbers: tuple[int, int], nonce: int, data: bytes) -> bytes:
        """Part of a message; ``numbers`` are its count in the stream and the number of the transmission."""
        count, transmission = numbers
        control, length = flags << 14 | count & (COUNT_MODULUS - 1), len(data) + PART.size - HEADER_BYTES - 1
        head = PART.pack(self._idents[stream], control, length, nonce & 0xFFFF, transmission & 0xFFFF)
        return encode_frame(head + data)

    def acknowledgement(self, nonce: int, blocks: bytes) -> bytes:
        """What has arrived, see :meth:`.streams.Receiver.acknowledgement`."""
        return self._numbered(APID_ACK, (nonce & 0xFFFF).to_bytes(2, "big") + blocks)

    def sync(self, kind: SyncKind, nonce: int) -> bytes:
        """A word about sessions; the delimiter before it ends whatever noise came before."""
        return DELIMITER + self._numbered(APID_SYNC, Sync.ours(kind, nonce).encode())

    def _numbered(self, apid: int, data: bytes) -> bytes:
        count = self._counts[apid]
        self._counts[apid] = (count + 1) % COUNT_MODULUS
        return encode_frame(join_packet(self._kind, apid, SequenceFlags.UNSEGMENTED, count, data))
