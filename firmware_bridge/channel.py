"""A link on a transport: the only file that waits."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from .errors import LinkError, LinkLost
from .link import BATCH_BYTES, Link, Role
from .link_stats import LinkStats
from .transcript import Direction, Recorder
from .transport import Transport
from .waiting import ShortWaits

_REOPEN_S = 0.2
QUIET_S = 5.0
"""A host that has said nothing for so long may have given the line to somebody at a terminal."""
OVERHEARD_BYTES = 65_536


class Channel:
    """Messages both ways over one transport. A context manager that owns the transport; one thread uses it.

    Parameters
    ----------
    transport
        An open line.
    role
        ``"host"`` or ``"node"``.
    clock
        Seconds that never go back.
    recorder
        Writes down what passes; the channel closes it. Without one the environment decides, see
        :data:`firmware_bridge.transcript.FOLDER_VARIABLE`.

    Attributes
    ----------
    heard_s
        The clock's time of the last good frame from the other end, or of the start.
    """

    def __init__(
        self,
        transport: Transport,
        role: Role,
        clock: Callable[[], float] = time.monotonic,
        recorder: Recorder | None = None,
    ) -> None:
        self.transport = transport
        self._clock = clock
        self._link = Link(role, baud=transport.baud)
        self._pending = b""
        self._watched: tuple[int, ...] = ()
        self._waiter = select.poll()
        # The bytes of a line with a clock take their time: waiting for them awake would only cost.
        self._short_waits = ShortWaits() if transport.baud is None else ShortWaits(0.0)
        self._overheard = b"" if role == "node" else None
        self.heard_s = clock()
        self._recorder = recorder or Recorder.from_environment(role, self.heard_s)

    @property
    def stats(self) -> LinkStats:
        """A copy of the link's counters."""
        return self._link.stats

    @property
    def generation(self) -> int:
        """How many sessions have been opened; a new one means that messages under way were given up."""
        return self._link.generation

    @property
    def established(self) -> bool:
        """Whether a session is open."""
        return self._link.established

    @property
    def silent_s(self) -> float:
        """For how long nothing has been heard of the other end."""
        return self._clock() - self.heard_s

    def fileno(self) -> int:
        """The transport's descriptor, for ``select``."""
        return self.transport.fileno()

    def send(self, message: bytes, urgent: bool = False) -> None:
        """Queue a message and hand over what the line takes at once."""
        now_s = self._clock()
        frame = None if self._pending else self._link.send_at_once(message, urgent, now_s)
        if frame is None:
            self._link.send(message, urgent)
        else:
            self._pending = frame
        self._push(now_s, more=frame is None)

    def send_unreliable(self, packet: bytes) -> None:
        """Send a whole Space Packet once, see :meth:`.link.Link.send_unreliable`."""
        self._link.send_unreliable(packet)
        self._push(self._clock())

    def unreliable(self) -> list[bytes]:
        """The packets that the other end sent this way and that :meth:`poll` has taken in since the last call."""
        return self._link.unreliable()

    def probe(self) -> None:
        """Host: ask the node's end of the link for a sign of life."""
        self._link.probe()
        self._push(self._clock())

    def restart(self) -> None:
        """Host: open a new session."""
        self._link.restart()
        self._push(self._clock())

    def reopen(self, open_line: Callable[[], Transport], timeout_s: float) -> None:
        """Host: open the line anew, as often as it takes, and start a new session on it.

        Raises
        ------
        LinkError
            What went wrong the last time, if there is no session after ``timeout_s``.
        """
        end_s = self._clock() + timeout_s
        while True:
            self.transport.close()
            try:
                self.transport = open_line()
                self._pending = b""
                self._link.restart()
                self.heard_s = self._clock()
                if self._recorder is not None:
                    self._recorder.opened(self.heard_s)
                self.wait_established(max(_REOPEN_S, end_s - self._clock()))
                return
            except LinkError:
                if self._clock() >= end_s:
                    raise
                time.sleep(_REOPEN_S)

    def poll(self, timeout_s: float = 0.0, also: Sequence[int] = ()) -> list[bytes]:
        """Keep the link going until messages arrive, a new session begins, or time is over.

        Parameters
        ----------
        timeout_s
            Seconds to wait at most; 0 only does what can be done at once.
        also
            Descriptors of the caller that end the wait, too, when they can be read.

        Raises
        ------
        PortError
            If the transport is gone.
        LinkError
            If the other end speaks another protocol.
        """
        now_s = self._clock()
        end_s = now_s + timeout_s
        link = self._link
        generation = link.generation
        while True:
            asked = self._step(now_s, end_s, also)
            messages = link.received()
            now_s = self._clock()
            if messages or asked or self._overheard or link.generation != generation or now_s >= end_s:
                if self._pending or link.owes_answer:
                    self._push(now_s)  # the caller may now compute for long
                return messages

    def _step(self, now_s: float, end_s: float, also: Sequence[int] = ()) -> bool:
        """One wait until bytes, a timer of the link or ``end_s``; gives whether one of ``also`` is readable."""
        event_s = self._push_due(now_s)
        until_s = end_s if event_s is None or self._pending else min(end_s, event_s)
        began_s = now_s
        if self._short_waits.try_s and not also and not self._pending:
            if self._try(now_s, until_s):
                return False
            now_s = self._clock()
        line = self.transport.fileno()
        readable = [
            descriptor
            for descriptor, event in self._poller(line, also).poll(1e3 * (until_s - now_s) if until_s > now_s else 0)
            if event != select.POLLOUT
        ]
        ours = line in readable
        if ours and (data := self.transport.read()):
            read_s = self._clock()
            self._short_waits.slept(read_s - began_s)
            self._take(data, read_s)
        return len(readable) > ours

    def _try(self, now_s: float, until_s: float) -> bool:
        """Look for bytes again and again for the short time in which they are likely to come; gives whether any did.

        Others who want this processor get it in between: the driver of the line may be one of them.
        """
        stop_s = min(until_s, now_s + self._short_waits.try_s)
        while True:
            data = self.transport.read()
            time_s = self._clock()
            if data or time_s >= stop_s:
                break
            os.sched_yield()
        self._short_waits.tried(time_s - now_s, bool(data))
        if data:
            self._take(data, time_s)
        return bool(data)

    def _poller(self, line: int, also: Sequence[int]) -> select.poll:
        """Give what waits for the line and for ``also``; the last one again where it is the same."""
        watched = (line, bool(self._pending), *also)
        if watched != self._watched:
            self._watched, self._waiter = watched, select.poll()
            for descriptor in also:
                self._waiter.register(descriptor, select.POLLIN)
            self._waiter.register(line, select.POLLIN | select.POLLOUT if self._pending else select.POLLIN)
        return self._waiter

    def _push_due(self, now_s: float) -> float | None:
        """Hand over what the link wants to send by now; gives when it wants to send again."""
        event_s = self._link.next_event(now_s)
        if self._pending or (event_s is not None and event_s <= now_s):
            self._push(now_s)
            event_s = self._link.next_event(now_s)
        return event_s

    def wait_established(self, timeout_s: float) -> None:
        """Host: wait until the node has confirmed the session.

        Raises
        ------
        LinkLost
            If it does not for ``timeout_s``.
        """
        end_s = self._clock() + timeout_s
        while not self._link.established:
            left_s = end_s - self._clock()
            if left_s <= 0:
                stats = self._link.stats
                raise LinkLost(
                    f"no node answers on {self.transport.name} after {timeout_s:g} s "
                    f"({stats.bytes_received} bytes came, {stats.frames_received} good frames): "
                    "check power, wiring, the baud rate on both sides and that the agent runs"
                )
            self.poll(min(left_s, 0.05))

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything sent is acknowledged; messages that arrive meanwhile stay for :meth:`poll`."""
        end_s = self._clock() + timeout_s
        while not self._link.idle and (now_s := self._clock()) < end_s:
            self._step(now_s, end_s)
        return self._link.idle

    def _in_session(self, now_s: float) -> bool:
        return self._link.established and now_s - self.heard_s < QUIET_S

    def overheard(self) -> bytes:
        """Node: what came since the last call while no host was there; it may be somebody at a terminal."""
        data, self._overheard = self._overheard or b"", b"" if self._overheard is not None else None
        return data

    def say(self, text: bytes) -> None:
        """Node: put bytes on the line as they are, for whoever was overheard."""
        self._pending += text
        self._push(self._clock())

    def _take(self, data: bytes, now_s: float) -> None:
        if self._recorder is not None:
            self._recorder.passed(Direction.RECEIVED, data, now_s)
        if self._overheard is not None and not self._in_session(now_s):
            self._overheard = (self._overheard + data)[-OVERHEARD_BYTES:]
        if self._link.receive(data, now_s):
            self.heard_s = now_s

    def _push(self, now_s: float, more: bool = True) -> None:
        """Hand over what is pending, then, if ``more``, what the link has to send by now."""
        while more or self._pending:
            if not self._pending:
                self._pending = self._link.to_transmit(now_s)
                more = len(self._pending) >= BATCH_BYTES
                if not self._pending:
                    return
            taken = self.transport.write_some(self._pending)
            if self._recorder is not None and taken:
                self._recorder.passed(Direction.SENT, self._pending[:taken], now_s)
            if taken < len(self._pending):
                self._pending = self._pending[taken:]
                return
            self._pending = b""

    def close(self) -> None:
        """Close the transport, and the transcript if one is written."""
        self.transport.close()
        if self._recorder is not None:
            self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
