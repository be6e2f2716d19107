"""The sending end of the streams: messages cut into packets, each sent again until it is acknowledged."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import exp

from .errors import DataError
from .estimate import FrameSize, RoundTrip
from .packets import COUNT_MODULUS, SequenceFlags
from .streams import MAX_MESSAGE, WINDOW, Stream, read_blocks

GIVE_UP_TRIES = 40
"""After so many transmissions of a packet longer than what the line now carries best, cutting anew is better."""
HARSH_BIT_ERROR_RATE = 1e-3
"""Up to here no session is lost on a line that does not get worse while packets are under way."""

_FLAGS = (
    (SequenceFlags.CONTINUATION, SequenceFlags.LAST),
    (SequenceFlags.FIRST, SequenceFlags.UNSEGMENTED),
)
"""Of a part that begins its message or not, and ends it or not."""
_BACKOFF_LIMIT_S = 0.5


def patience(body_bytes: int) -> float:
    """After how many transmissions a body of that length is given up.

    One that passes the harshest line within :data:`GIVE_UP_TRIES` on average has twenty times the average, so that
    it fails with a chance of exp(-20); a longer one cannot be meant to pass it.
    """
    average = exp(8 * body_bytes * HARSH_BIT_ERROR_RATE)
    return 20 * average if average < GIVE_UP_TRIES else GIVE_UP_TRIES


@dataclass(slots=True, eq=False)
class _Packet:
    stream: Stream
    count: int
    flags: int
    data: bytes
    transmission: int = -1
    sent_s: float = 0.0
    tries: int = 0


@dataclass(slots=True)
class _Outgoing:
    """One stream on its way out. Counts run on without wrapping; the wire carries them modulo 2**14."""

    messages: deque[bytes] = field(default_factory=deque)
    offset: int = 0
    base: int = 0
    next: int = 0
    credit_end: int = WINDOW
    flight: dict[int, _Packet] = field(default_factory=dict)
    lost: deque[_Packet] = field(default_factory=deque)

    @property
    def ready(self) -> bool:
        """Whether there is something to send, and credit for it."""
        if self.messages and self.next < self.credit_end and self.next < self.base + WINDOW:
            return True
        # What the other end refused for want of room is "lost" too; without credit it would be refused again.
        return bool(self.lost) and self.lost[0].count < self.credit_end


class Sender:
    """Cuts messages into packets, and sends each again until it is acknowledged.

    Attributes
    ----------
    retransmitted, stuck
        Packets sent more than once; whether one is hopelessly long for what the line has become.
    unanswered_since_s
        Since when packets have been under way without any of them being acknowledged; None if there are none.
    """

    def __init__(self, size: FrameSize, round_trip: RoundTrip, header_bytes: int) -> None:
        self._size = size
        self._round_trip = round_trip
        self._header_bytes = header_bytes
        self._streams = (_Outgoing(), _Outgoing())
        self._by_priority = tuple(zip(Stream, self._streams, strict=True))
        self._next_transmission = 0
        self._order: dict[int, _Packet] = {}
        self._timer_s: float | None = None
        self._backoff = 1
        self.retransmitted = 0
        self.stuck = False
        self.unanswered_since_s: float | None = None

    def send(self, message: bytes, stream: Stream) -> None:
        """Queue a message.

        Raises
        ------
        DataError
            If it is empty or longer than :data:`MAX_MESSAGE`.
        """
        if not 0 < len(message) <= MAX_MESSAGE:
            raise DataError(f"a message has 1 to {MAX_MESSAGE} bytes, not {len(message)}: send it in chunks")
        self._streams[stream].messages.append(message)

    def at_once(self, message: bytes, stream: Stream, now_s: float) -> tuple[int, int] | None:
        """Take a message that fits one packet for sent, if it may go before all else; gives count and transmission."""
        urgent, bulk = self._streams
        out = self._streams[stream]
        count = out.next
        if (
            bulk.messages
            or urgent.messages
            or bulk.lost
            or urgent.lost
            or not 0 < len(message) <= self._size.body_bytes - self._header_bytes
            or count >= out.credit_end
            or count >= out.base + WINDOW
            or (self._timer_s is not None and self._timer_s <= now_s)
        ):
            return None
        transmission = self._next_transmission
        packet = _Packet(stream, count, SequenceFlags.UNSEGMENTED, message, transmission, now_s, 1)
        out.next = count + 1
        out.flight[count] = self._order[transmission] = packet
        self._next_transmission = transmission + 1
        if self._timer_s is None:
            self._restart_timer(now_s)
        if self.unanswered_since_s is None:
            self.unanswered_since_s = now_s
        return count, transmission

    @property
    def unacknowledged(self) -> bool:
        """Whether anything waits to be sent or to be acknowledged."""
        urgent, bulk = self._streams
        return bool(bulk.flight or urgent.flight or bulk.messages or urgent.messages)

    @property
    def ready(self) -> bool:
        """Whether :meth:`transmit` has something to give."""
        urgent, bulk = self._streams
        if not (bulk.messages or urgent.messages or bulk.lost or urgent.lost):
            return False
        return bulk.ready or urgent.ready

    def transmit(self, now_s: float) -> tuple[_Packet, int] | None:
        """The packet that is to go out next, with its transmission number."""
        urgent, bulk = self._streams
        if not (bulk.messages or urgent.messages or bulk.lost or urgent.lost):
            return None
        packet = self._choose()
        if packet is None:
            if self._timer_s is None and self.unacknowledged:
                self._restart_timer(now_s)  # no credit: ask for it after a while
            return None
        if packet.tries:
            self.retransmitted += 1
        packet.tries += 1
        if packet.tries > GIVE_UP_TRIES and len(packet.data) > self._size.body_bytes:
            self.stuck |= packet.tries > patience(len(packet.data) + self._header_bytes)
        packet.transmission = self._next_transmission
        packet.sent_s = now_s
        self._order[packet.transmission] = packet
        self._next_transmission += 1
        if self._timer_s is None:
            self._restart_timer(now_s)
        if self.unanswered_since_s is None:
            self.unanswered_since_s = now_s
        return packet, packet.transmission

    def _choose(self) -> _Packet | None:
        for stream, out in self._by_priority:
            while out.lost and out.lost[0].count < out.credit_end:
                packet = out.lost.popleft()
                if packet.count in out.flight:
                    return packet
            if out.messages and out.ready:
                return self._cut(stream, out)
        return None

    def _cut(self, stream: Stream, out: _Outgoing) -> _Packet:
        data = out.messages[0]
        start = out.offset
        end = start + self._size.body_bytes - self._header_bytes
        whole = end >= len(data)
        if whole:
            out.messages.popleft()
        if start or not whole:
            data = data[start:end]
        packet = _Packet(stream, out.next, _FLAGS[start == 0][whole], data)
        out.offset = 0 if whole else end
        out.flight[packet.count] = packet
        out.next += 1
        return packet

    def acknowledged(self, echo: int, blocks: bytes, now_s: float) -> None:
        """Take in an acknowledgement: the newest transmission number seen, and one block per stream."""
        newest = self._unwrap_transmission(echo)
        if newest is None:
            return
        progress = False
        for stream, next_count, credit, bitmap in read_blocks(blocks):
            progress |= self._clear(self._streams[stream], next_count, credit, bitmap)
        echoed = self._order.get(newest)
        if echoed is not None and echoed.transmission == newest:
            self._round_trip.measured(now_s - echoed.sent_s)
        lost = self._collect_lost(newest)
        if progress or lost:
            self.unanswered_since_s = now_s
            self._backoff = 1
            self._restart_timer(now_s)
        if not self.unacknowledged:
            self._timer_s = self.unanswered_since_s = None

    def _unwrap_transmission(self, echo: int) -> int | None:
        """The full transmission number of a 16-bit echo; None for one never made."""
        newest = self._next_transmission - 1
        unwrapped = newest - ((newest - echo) & 0xFFFF)
        return unwrapped if unwrapped >= 0 else None

    def _clear(self, out: _Outgoing, next_count: int, credit: int, bitmap: int) -> bool:
        step = (next_count - out.base) & (COUNT_MODULUS - 1)
        if step > out.next - out.base:
            return False  # an older acknowledgement than one already seen
        before = len(out.flight)
        for count in range(out.base, out.base + step):
            out.flight.pop(count, None)
        out.base += step
        out.credit_end = out.base + credit
        count = out.base + 1
        while bitmap:
            if bitmap & 1:
                out.flight.pop(count, None)
            bitmap >>= 1
            count += 1
        return len(out.flight) < before

    def _collect_lost(self, newest: int) -> int:
        """Everything transmitted before ``newest`` either is acknowledged by now or is lost."""
        sent_bytes = lost = 0
        while self._order:
            number = next(iter(self._order))
            if number > newest:
                break
            packet = self._order.pop(number)
            if packet.transmission != number:
                continue
            sent_bytes += len(packet.data) + self._header_bytes
            out = self._streams[packet.stream]
            if packet.count in out.flight and number < newest:
                lost += 1
                out.lost.append(packet)
        if sent_bytes:
            self._size.observed(sent_bytes, lost)
        return lost

    def _restart_timer(self, now_s: float) -> None:
        self._timer_s = now_s + min(_BACKOFF_LIMIT_S, self._round_trip.timeout_s * self._backoff)

    def timer(self) -> float | None:
        """When :meth:`expire` wants to be called next, or None."""
        return self._timer_s

    def expire(self, now_s: float) -> None:
        """Nothing came for too long: send the oldest packet again; its echo tells what else was lost."""
        if self._timer_s is None or now_s < self._timer_s:
            return
        self._backoff = min(self._backoff * 2, 64)
        self._restart_timer(now_s)
        flying = [packet for out in self._streams for packet in out.flight.values()]
        if flying:
            oldest = min(flying, key=lambda packet: packet.transmission)
            out = self._streams[oldest.stream]
            out.credit_end = max(out.credit_end, oldest.count + 1)
            self._size.observed(len(oldest.data) + self._header_bytes, 1)
            if oldest not in out.lost:
                out.lost.appendleft(oldest)
            return
        for out in self._streams:
            if out.messages:
                out.credit_end = max(out.credit_end, out.next + 1)  # the answer tells the credit
