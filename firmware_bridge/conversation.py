"""The messages in a transcript, put together from the frames of both directions without taking part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import codec
from . import messages as m
from .apids import APID_SYNC, DATA, STREAM_OF
from .framing import FrameDecoder
from .packets import PacketType, SpacePacket, decode_packet
from .session import Sync, SyncKind
from .streams import Receiver
from .transcript import Direction, Transcript


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """One message: by whom, when it was whole, and the number of the frame that completed it, counted from 1."""

    frame: int
    time_us: int
    from_host: bool
    request_id: int
    message: m.Message


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A request and its reply; ``reply`` is None where the transcript has none."""

    request: Spoken
    reply: Spoken | None

    @property
    def asked(self) -> m.Request:
        """The request's message."""
        message = self.request.message
        assert isinstance(message, m.Request)
        return message


def frames_of(transcript: Transcript) -> Iterator[tuple[int, int, SpacePacket]]:
    """Every good frame of the transcript: its number from 1, its time in microseconds, its packet."""
    listeners = {direction: FrameDecoder() for direction in Direction}
    number = 0
    for record in transcript.records:
        if record.direction is Direction.OPENED:
            listeners = {direction: FrameDecoder() for direction in Direction}
        for body in listeners[record.direction].feed(record.data):
            number += 1
            packet = decode_packet(body)
            if packet is not None:
                yield number, record.time_us, packet


def listen(transcript: Transcript) -> Iterator[Spoken]:
    """Every message of both ends, each once, in the order in which they became whole."""
    nonce: int | None = None
    receivers = {PacketType.TELECOMMAND: Receiver(), PacketType.TELEMETRY: Receiver()}
    for frame, time_us, packet in frames_of(transcript):
        if packet.apid == APID_SYNC:
            sync = Sync.decode(packet.data)
            if sync is not None and sync.kind == SyncKind.CONFIRM and sync.nonce != nonce:
                nonce = sync.nonce
                receivers = {kind: Receiver() for kind in receivers}
            continue
        stream = STREAM_OF.get(packet.apid)
        if stream is None or nonce is None or len(packet.data) <= DATA.size:
            continue
        tag, transmission = DATA.unpack_from(packet.data)
        if tag != nonce & 0xFFFF:
            continue
        kind = PacketType(packet.type)
        receivers[kind].receive(stream, packet.sequence, packet.flags, transmission, packet.data[DATA.size :])
        for body in receivers[kind].take():
            message, request_id = codec.decode(body)
            from_host = kind is PacketType.TELECOMMAND
            yield Spoken(frame=frame, time_us=time_us, from_host=from_host, request_id=request_id, message=message)


def exchanges(spoken: Iterable[Spoken]) -> list[Exchange]:
    """Requests in the order in which they were first made, each with its reply; progress is left out."""
    requests: dict[int, Spoken] = {}
    replies: dict[int, Spoken] = {}
    for said in spoken:
        if said.from_host and isinstance(said.message, m.Request):
            requests.setdefault(said.request_id, said)
        elif not said.from_host and not isinstance(said.message, m.Progress):
            replies.setdefault(said.request_id, said)
    return [Exchange(request=said, reply=replies.get(number)) for number, said in requests.items()]
