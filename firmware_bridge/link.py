"""Reliable delivery over a line that flips, loses and repeats bytes, as a state machine without I/O.

Bytes and the time go in, bytes and messages come out; see PROTOCOL.md for the wire format. Every message arrives
exactly once and in the order of its stream, or the session ends and both ends know.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Literal

from .apids import APID_ACK, APID_SYNC, DATA, PART, STREAM_OF, UNRELIABLE
from .estimate import FrameSize, RoundTrip
from .framing import DELIMITER, FrameDecoder, encode_frame
from .link_stats import LinkStats, gathered
from .outbound import FrameMaker
from .pacing import Pace
from .packets import (
    COUNT_MODULUS,
    HEADER_BYTES,
    PacketType,
    SequenceFlags,
    SpacePacket,
    decode_packet,
    encode_packet,
)
from .sender import Sender
from .session import Sync, SyncKind, check_peer
from .streams import Receiver, Stream

Role = Literal["host", "node"]

UNRELIABLE_KEPT = 64
"""So many of them wait for a program that does not fetch them; the oldest go first."""

ACK_DELAY_S = 0.005
ACK_EVERY = 16
"""An acknowledgement is sent :data:`ACK_DELAY_S` after a packet, or at once after this many."""
RIDE_DELAY_S = 0.016
"""On a paced line an acknowledgement rides along with the last packet of data that goes out so soon: both ends are
woken half as often, and make fewer of them. Timeouts are longer by as much there."""
ABANDONED_S = 60.0
"""A node stops repeating itself to a host it has not heard for so long: the session is over."""
BATCH_BYTES = 4096
"""What :meth:`Link.to_transmit` gives at a time, but for the frame that crosses this line."""

_SYNC_REPEAT_S = 0.1
_SYNC_REPEAT_LIMIT_S = 0.5
_NEVER = float("inf")
_OLD_SESSIONS = 16


class Link:
    """One end of the link.

    Parameters
    ----------
    role
        ``"host"`` opens sessions, ``"node"`` confirms them and is silent until then.
    baud
        Bits per second of the line. Frames are then handed out at that pace, so that an urgent message waits for
        one frame at most and not behind a full transmit buffer. None hands out what the window allows.
    timeout_floor_s
        The shortest time to wait for an acknowledgement, but for :data:`RIDE_DELAY_S` more on a line with a rate.
    nonce
        Gives a fresh 32-bit number for each session; random unless a test wants it otherwise.

    Examples
    --------
    >>> host, node = Link("host"), Link("node")
    >>> host.send(b"ping")
    >>> for now_s in (0.0, 0.01):
    ...     frames_at_node = node.receive(host.to_transmit(now_s), now_s)
    ...     frames_at_host = host.receive(node.to_transmit(now_s), now_s)
    >>> node.received()
    [b'ping']
    """

    def __init__(
        self,
        role: Role,
        *,
        baud: float | None = None,
        timeout_floor_s: float = 0.02,
        nonce: Callable[[], int] = lambda: secrets.randbits(32),
    ) -> None:
        self._is_host = role == "host"
        self._out_type = PacketType.TELECOMMAND if self._is_host else PacketType.TELEMETRY
        self._frames = FrameMaker(self._out_type)
        self._in_streams = {(1 - self._out_type) << 12 | apid: stream for apid, stream in STREAM_OF.items()}
        self._pace = Pace(baud)
        self._nonce_source = nonce
        self._decoder = FrameDecoder()
        self._stats = LinkStats()
        self._size = FrameSize()
        self._round_trip = RoundTrip(timeout_floor_s + (RIDE_DELAY_S if self._pace.limited else 0.0))
        self._nonce = nonce() if self._is_host else 0
        self._open = False
        self._old_nonces: deque[int] = deque(maxlen=_OLD_SESSIONS)
        self._control: list[bytes] = []
        self._unreliable: deque[bytes] = deque(maxlen=UNRELIABLE_KEPT)
        self._sync_at_s: float | None = 0.0 if self._is_host else None
        self._sync_repeat_s = _SYNC_REPEAT_S
        self._ack_at_s: float | None = None
        self._heard_s = 0.0
        self._start_streams()

    def _start_streams(self) -> None:
        self._sender = Sender(self._size, self._round_trip, PART.size)
        self._receiver = Receiver()
        self._ack_at_s = None

    # ---- what the caller sees ----------------------------------------------------------------------------------

    @property
    def established(self) -> bool:
        """Whether a session is open."""
        return self._open

    @property
    def generation(self) -> int:
        """How many sessions have been opened; messages not yet delivered end with theirs."""
        return self._stats.sessions

    @property
    def owes_answer(self) -> bool:
        """Whether the other end waits for something that can go out at once."""
        return bool(self._control) or self._receiver.urgent_ack or self._receiver.unacknowledged >= ACK_EVERY

    @property
    def idle(self) -> bool:
        """Whether everything sent has been acknowledged."""
        return not self._sender.unacknowledged

    @property
    def stats(self) -> LinkStats:
        """A copy of the counters."""
        return gathered(self._stats, self._decoder, self._sender, self._receiver, self._size, self._round_trip)

    def send(self, message: bytes, urgent: bool = False) -> None:
        """Queue a message. A node without a session has nobody to send to: it counts ``unsent``."""
        if not self._is_host and not self._open:
            self._stats.unsent += 1
            return
        self._sender.send(message, Stream.URGENT if urgent else Stream.BULK)
        self._stats.messages_sent += 1

    def send_at_once(self, message: bytes, urgent: bool, now_s: float) -> bytes | None:
        """Give the frame of a message that can go out alone and now; None leaves it to :meth:`send`."""
        ack_s, stream = self._ack_at_s, Stream.URGENT if urgent else Stream.BULK
        if not self._open or self._control or (ack_s is not None and (ack_s <= now_s or self._pace.limited)):
            return None
        if not self._pace.has_room(0, now_s) or (numbers := self._sender.at_once(message, stream, now_s)) is None:
            return None
        frame = self._frames.part(stream, SequenceFlags.UNSEGMENTED, numbers, self._nonce, message)
        self._stats.messages_sent += 1
        self._count_sent(1, len(frame), now_s)
        return frame

    def received(self) -> list[bytes]:
        """The messages that arrived since the last call."""
        messages = self._receiver.take()
        self._stats.messages_received += len(messages)
        return messages

    def send_unreliable(self, packet: bytes) -> None:
        """Send a whole Space Packet of an APID in :data:`UNRELIABLE` once; without a session nobody hears it."""
        if self._open:
            self._control.append(encode_frame(packet))

    def unreliable(self) -> list[bytes]:
        """The packets of that kind that arrived since the last call, whole."""
        packets = list(self._unreliable)
        self._unreliable.clear()
        return packets

    def restart(self) -> None:
        """Host: open a new session. What was sent and not yet delivered is given up."""
        self._nonce = self._nonce_source()
        self._leave_session()
        self._sync_at_s = 0.0
        self._sync_repeat_s = _SYNC_REPEAT_S

    def probe(self) -> None:
        """Host: ask the node for a sign of life. The session goes on."""
        if self._open:
            self._control.append(self._frames.sync(SyncKind.PROBE, self._nonce))

    def _leave_session(self) -> None:
        self._open = False
        self._stats.retransmitted += self._sender.retransmitted
        self._stats.duplicates += self._receiver.duplicates
        self._stats.refused += self._receiver.refused
        self._start_streams()

    # ---- bytes in ----------------------------------------------------------------------------------------------

    def receive(self, data: bytes, now_s: float) -> int:
        """Take in bytes of the line; gives how many good frames of the other end were in them.

        Raises
        ------
        LinkError
            If the other end speaks another version of the protocol.
        """
        self._stats.bytes_received += len(data)
        heard = 0
        for body in self._decoder.feed(data):
            if len(body) > PART.size and self._open:
                ident, control, length, tag, transmission = PART.unpack_from(body)
                stream = self._in_streams.get(ident)
                if stream is not None and tag == self._nonce & 0xFFFF and length == len(body) - HEADER_BYTES - 1:
                    heard += 1
                    count = control & (COUNT_MODULUS - 1)
                    self._receiver.receive(stream, count, control >> 14, transmission, body[PART.size :])
                    continue
            packet = decode_packet(body)
            if packet is None:
                self._stats.bad_packets += 1
            elif packet.type == self._out_type:
                self._stats.echoes += 1
            else:
                heard += 1
                self._dispatch(packet, now_s)
        if heard:
            self._heard_s = now_s
        receiver = self._receiver
        if receiver.urgent_ack or receiver.unacknowledged >= ACK_EVERY:
            self._ack_at_s = now_s
        elif receiver.unacknowledged and self._ack_at_s is None:
            rides_along = self._pace.limited and self._sender.ready
            self._ack_at_s = now_s + (RIDE_DELAY_S if rides_along else ACK_DELAY_S)
        return heard

    def _dispatch(self, packet: SpacePacket, now_s: float) -> None:
        """What is not a part of a message of this session."""
        if packet.apid == APID_SYNC:
            self._on_sync(packet.data, now_s)
        elif packet.apid in UNRELIABLE:
            self._unreliable.append(encode_packet(packet))
        elif len(packet.data) <= DATA.size or packet.apid not in (APID_ACK, *STREAM_OF):
            self._stats.bad_packets += 1
        elif not self._open or int.from_bytes(packet.data[:2], "big") != self._nonce & 0xFFFF:
            self._stats.stale += 1
            if not self._is_host:
                self._say_unknown(int.from_bytes(packet.data[:2], "big"))
        else:
            self._stats.acks_received += 1
            echo = int.from_bytes(packet.data[2:4], "big")
            self._sender.acknowledged(echo, packet.data[4:], now_s)

    def _on_sync(self, data: bytes, now_s: float) -> None:
        sync = Sync.decode(data)
        if sync is None:
            self._stats.bad_packets += 1
            return
        kind, nonce = sync.kind, sync.nonce
        if self._is_host:
            if kind == SyncKind.CONFIRM and nonce == self._nonce:
                check_peer(sync)
                self._size.restrict(sync.max_body)
                self._on_confirmed()
            elif kind == SyncKind.UNKNOWN and self._open and nonce == self._nonce & 0xFFFF:
                self.restart()
                self._sync_at_s = now_s
        elif kind == SyncKind.OPEN and nonce not in self._old_nonces:
            self._size.restrict(sync.max_body)
            self._accept_session(nonce)
        elif kind == SyncKind.PROBE and self._open and nonce == self._nonce:
            self._control.append(self._frames.sync(SyncKind.CONFIRM, nonce))
        else:
            self._say_unknown(nonce & 0xFFFF)

    def _on_confirmed(self) -> None:
        if not self._open:
            self._open = True
            self._sync_at_s = None
            self._stats.sessions += 1

    def _accept_session(self, nonce: int) -> None:
        if not self._open or nonce != self._nonce:
            if self._open:
                self._old_nonces.append(self._nonce)
            self._leave_session()
            self._nonce = nonce
            self._open = True
            self._control = []
            self._stats.sessions += 1
        self._control.append(self._frames.sync(SyncKind.CONFIRM, nonce))

    def _say_unknown(self, tag: int) -> None:
        if not self._control:
            self._control.append(self._frames.sync(SyncKind.UNKNOWN, tag))

    # ---- bytes out ---------------------------------------------------------------------------------------------

    def to_transmit(self, now_s: float) -> bytes:
        """The bytes to put on the line now; if they are :data:`BATCH_BYTES` or more, call again."""
        if self._sender.unanswered_since_s is not None and self._is_abandoned(now_s):
            self._old_nonces.append(self._nonce)
            self._leave_session()
        self._sender.expire(now_s)
        out = self._due_control(now_s)
        control = size = sum(map(len, out)) if out else 0
        while self._open and size < BATCH_BYTES and self._pace.has_room(size - control, now_s):
            chosen = self._sender.transmit(now_s)
            if chosen is None:
                break
            packet, transmission = chosen
            numbers = packet.count, transmission
            frame = self._frames.part(packet.stream, packet.flags, numbers, self._nonce, packet.data)
            if packet.tries > 1:
                frame = DELIMITER + frame  # the delimiter of the frame before may be what was lost
            out.append(frame)
            size += len(frame)
        if self._sender.stuck:
            self._give_up_session()
        self._count_sent(len(out), size, now_s)
        return b"".join(out) if len(out) != 1 else out[0]

    def _count_sent(self, frames: int, size: int, now_s: float) -> None:
        self._pace.sent(size, now_s)
        self._stats.frames_sent += frames
        self._stats.bytes_sent += size

    def _is_abandoned(self, now_s: float) -> bool:
        since_s = self._sender.unanswered_since_s
        if self._is_host or since_s is None:
            return False
        return now_s - max(since_s, self._heard_s) > ABANDONED_S

    def next_event(self, now_s: float) -> float | None:
        """When :meth:`to_transmit` will have something without any bytes coming in; None if never."""
        if self._control or (self._open and self._receiver.urgent_ack):
            return now_s
        first_s = _NEVER if self._sync_at_s is None else self._sync_at_s
        if self._ack_at_s is not None and self._ack_at_s < first_s:
            first_s = self._ack_at_s
        if self._open:
            timer_s = self._sender.timer()
            if timer_s is not None and timer_s < first_s:
                first_s = timer_s
            if self._sender.ready:
                first_s = min(first_s, self._pace.room_s)
        return None if first_s == _NEVER else max(now_s, first_s)

    def _may_ride(self, now_s: float) -> bool:
        """Whether a packet of data goes out now, and the next one too late for the acknowledgement that is due."""
        if not self._pace.limited or self._ack_at_s is None:
            return False
        next_s = now_s + self._pace.takes_s(self._size.body_bytes)
        return next_s >= self._ack_at_s and self._sender.ready and self._pace.has_room(0, now_s)

    def _due_control(self, now_s: float) -> list[bytes]:
        out: list[bytes] = []
        if self._control:
            out, self._control = self._control, out
        if self._sync_at_s is not None and now_s >= self._sync_at_s:
            out.append(self._frames.sync(SyncKind.OPEN, self._nonce))
            self._sync_at_s = now_s + self._sync_repeat_s
            self._sync_repeat_s = min(_SYNC_REPEAT_LIMIT_S, self._sync_repeat_s * 1.5)
        if self._receiver.urgent_ack:
            self._ack_at_s = now_s
        if self._open and self._ack_at_s is not None and (now_s >= self._ack_at_s or self._may_ride(now_s)):
            self._ack_at_s = None
            blocks = self._receiver.acknowledgement()
            if blocks is not None:
                out.append(self._frames.acknowledgement(self._nonce, blocks))
                self._stats.acks_sent += 1
        return out

    def _give_up_session(self) -> None:
        """Packets that never get through were cut too long for what the line has become."""
        if self._is_host:
            self.restart()
            return
        tag = self._nonce & 0xFFFF
        self._old_nonces.append(self._nonce)
        self._leave_session()
        self._say_unknown(tag)
