"""Keeps a computer at work: one request at a time, a watchdog, restarts, and the boot id that tells of them.

Everything here is decided without waiting: the loop that waits (:mod:`node.serve`) hands in what came over the
line and asks :meth:`Supervisor.advance` to go on. Time is read from a clock given at the start.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from firmware_bridge import codec
from firmware_bridge.errors import DataError, FlightNodeError
from firmware_bridge.loading import LoadBegin, LoadChunk, LoadStatus
from firmware_bridge.messages import (
    Abnormal,
    AbnormalKind,
    Configure,
    Done,
    Failed,
    Hello,
    HelloRequest,
    Message,
    Progress,
    SetTemperature,
    SetThrottleLimits,
    Telemetry,
    TelemetryRequest,
    TimeReport,
    TimeRequest,
)
from firmware_bridge.responder import Replies
from firmware_bridge.streams import MAX_MESSAGE
from firmware_bridge.telemetry import housekeeping_packet
from node.assurance import Assurance
from node.blob_store import BlobStore, Holding
from node.runners import Ended, Event, Runner
from node.version import agent_version

UNASKED = 0
"""Request id of what no request asked for."""
PREPARATION_S = 300.0
"""Longest silence while a computer starts or loads: a module may take minutes to compile on a small board."""
MAX_FAILED_STARTS = 5
MAX_WAITING = 200
MAX_DETAIL = 2000
"""Characters of a child's words that a reply carries."""
REMEMBERED = (LoadBegin, Configure, SetTemperature, SetThrottleLimits)
"""What a restarted computer is told again."""


class State(Enum):
    """What the computer is doing, as :class:`~firmware_bridge.messages.Hello` says it."""

    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    DOWN = "down"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A message for the computer; without a ``request_id`` it is the supervisor's own."""

    message: Message
    request_id: int | None


class Supervisor:
    """The light parent of one computer.

    Parameters
    ----------
    runner : Runner
        What carries the computer; the supervisor starts it.
    store : BlobStore
        Where uploads go.
    send : callable
        Takes each encoded reply for the line, and whether it may overtake others.
    log : callable
        Takes one line about each thing out of the ordinary.
    send_packet : callable
        Takes each telemetry packet that nobody asked for.
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    uart : str
        The kind of UART that is served, for whoever asks who is there.
    """

    def __init__(
        self,
        runner: Runner,
        store: BlobStore,
        *,
        send: Callable[[bytes, bool], None],
        log: Callable[[str], None],
        send_packet: Callable[[bytes], None] = lambda _packet: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._store = store
        self._send = send
        self._send_packet = send_packet
        self._packets = 0
        self._log = log
        self._clock = clock
        self._replies = Replies()
        self.uart = ""
        self._agent_id = _random_id()
        self._boot_id = 0
        self._state = State.DOWN
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._deadline_s: float | None = None
        self._request_s = Configure(protection="").deadline_ms / 1000
        self._overdue = False
        self._assurance = Assurance()
        self._failed_starts = 0
        self._held: dict[object, Message] = {}

    @property
    def boot_id(self) -> int:
        """Drawn anew at each start of the computer."""
        return self._boot_id

    # ---- from the host ---------------------------------------------------------------------------------------

    def take(self, body: bytes) -> None:
        """Take one message from the line: answer it, queue it, or answer as before if it is a repetition."""
        received_s = self._clock()
        try:
            message, request_id = codec.decode(body)
        except DataError as error:
            self._unreadable(body, error)
            return
        if isinstance(message, HelloRequest):
            self._send_hello(request_id)  # never from memory: what it says changes
        elif isinstance(message, TimeRequest):
            self._send_time(request_id, received_s)
        elif self._replies.admit(request_id):
            self._dispatch(message, request_id)
        elif (known := self._replies.answer(request_id)) is not None:
            self._send(known, False)

    def _unreadable(self, body: bytes, error: DataError) -> None:
        """Refuse a message of another protocol, if at least its request id can be read."""
        self._log(f"message that cannot be read: {error}")
        if len(body) >= codec.ENVELOPE.size:
            self._reply(
                Failed(text=f"{error}: use the same flightnode on both ends"), codec.ENVELOPE.unpack_from(body)[1]
            )

    def _dispatch(self, message: Message, request_id: int) -> None:
        try:
            match message:
                case LoadBegin():
                    self._stored(self._store.begin(message), request_id)
                case LoadChunk():
                    self._stored(self._store.add(message), request_id)
                case _:
                    self._queue(message, request_id)
        except FlightNodeError as error:
            self._reply(Failed(text=str(error)), request_id)

    def _stored(self, holding: Holding, request_id: int) -> None:
        if holding.whole:
            self._queue(holding.begin, request_id)
        else:
            self._reply(LoadStatus(received=holding.received, complete=False), request_id)

    def _queue(self, message: Message, request_id: int) -> None:
        job = Job(message=message, request_id=request_id)
        if len(self._waiting) >= MAX_WAITING:
            self._reply(Failed(text=f"{MAX_WAITING} requests wait already: wait for replies"), request_id)
        elif isinstance(message, TelemetryRequest):  # overtakes other requests, not what a restart repeats
            own = sum(1 for waiting in self._waiting if waiting.request_id is None)
            self._waiting.insert(own, job)
        else:
            self._waiting.append(job)

    def _send_hello(self, request_id: int) -> None:
        hello = Hello(
            agent_version=agent_version(),
            agent_id=self._agent_id,
            boot_id=self._boot_id,
            state=self._state.value,
            uart=self.uart,
        )
        self._send(codec.encode(hello, request_id), True)

    def _send_time(self, request_id: int, received_s: float) -> None:
        report = TimeReport(received_ns=round(received_s * 1e9), replied_ns=round(self._clock() * 1e9))
        self._send(codec.encode(report, request_id), True)

    def _reply(self, message: Message, request_id: int) -> None:
        body = codec.encode(message, request_id)
        if len(body) > MAX_MESSAGE:
            text = f"the reply has {len(body)} bytes, the link carries {MAX_MESSAGE}: ask for less at a time"
            body = codec.encode(Failed(text=text), request_id)
        self._replies.finish(request_id, body)
        self._send(body, isinstance(message, Telemetry))

    # ---- the computer ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the computer; host requests wait until it is ready."""
        self._boot_id = _random_id()
        self._state = State.STARTING
        self._deadline_s = self._clock() + PREPARATION_S
        self._assurance.begin(self._clock())
        self._overdue = False
        self._runner.start()

    def advance(self) -> bool:
        """Take in what the computer said, watch its deadline and give it the next job; True if anything happened."""
        events = self._runner.events()
        for event in events:
            self._on_event(event)
        return self._bark() or self._assure() or self._next_job() or bool(events)

    def _assure(self) -> bool:
        """Tell a host that waits for a job which may have to compile that it is still in hand."""
        word = self._assurance.word(self._clock())
        if word is not None:
            self._say(word)
        return word is not None

    def _say(self, progress: Progress) -> None:
        request_id = self._current.request_id if self._current else None
        self._send(codec.encode(progress, request_id or UNASKED), False)

    def _bark(self) -> bool:
        """Kill a computer that has been silent for too long."""
        if self._deadline_s is None or self._overdue or self._clock() < self._deadline_s:
            return False
        self._overdue = True
        self._runner.kill()
        return True

    def keep_house(self) -> None:
        """Ask the computer for the telemetry that goes out unasked, unless that is under way or it cannot answer."""
        asked = any(job.request_id is None for job in self._waiting)
        if self._state in (State.READY, State.BUSY) and not asked:
            self._waiting.appendleft(Job(message=TelemetryRequest(), request_id=None))

    def next_event_s(self) -> float | None:
        """Give the time at which :meth:`advance` is due even if nothing is heard, or None."""
        times = [time_s for time_s in (self._deadline_s, self._assurance.due_s) if time_s is not None]
        return min(times) if times and not self._overdue else None

    def close(self) -> None:
        """End the computer."""
        self._runner.close()

    def _next_job(self) -> bool:
        if not self._waiting:
            return False
        if self._state is State.DOWN:  # somebody asks again: try again
            self._failed_starts = 0
            self.start()
            return True
        if self._state is not State.READY or self._overdue:  # one that was killed takes no more
            return False
        self._current = self._waiting.popleft()
        self._state = State.BUSY
        self._deadline_s = self._clock() + self._patience_s(self._current)
        if isinstance(self._current.message, REMEMBERED):
            self._assurance.begin(self._clock())
        self._runner.submit(self._current.message)
        return True

    def _patience_s(self, job: Job | None) -> float:
        """Give how long a job, or a start, may be silent: loading and configuring may have to compile."""
        if job is None:
            return PREPARATION_S
        return max(self._request_s, PREPARATION_S) if isinstance(job.message, REMEMBERED) else self._request_s

    def _on_event(self, event: Event) -> None:
        match event:
            case Progress():
                if self._deadline_s is not None:
                    self._deadline_s = self._clock() + self._patience_s(self._current)
                self._say(event)
            case Abnormal():
                self._rebooted(event)
            case Ended():
                self._ended(event)
            case _ if self._current is None:
                self._started()
            case _:
                self._answered(self._current, event)

    def _started(self) -> None:
        """Tell a fresh computer what the one before it held."""
        for message in reversed(self._held.values()):
            self._waiting.appendleft(Job(message=message, request_id=None))
        self._idle()
        self._send_hello(UNASKED)

    def _idle(self) -> None:
        self._current = None
        self._deadline_s = None
        self._assurance.end()
        self._state = State.READY

    def _answered(self, job: Job, reply: Message) -> None:
        self._idle()
        if isinstance(job.message, REMEMBERED) and not isinstance(reply, Failed):
            self._remember(job.message)
        if job.request_id is None:
            if isinstance(reply, Failed):
                self._log(f"after a restart: {type(job.message).__name__}: {reply.text}")
            if isinstance(reply, Telemetry):
                self._send_packet(housekeeping_packet(reply, self._boot_id, self._packets))
                self._packets += 1
            return
        self._failed_starts = 0
        if isinstance(job.message, LoadBegin) and isinstance(reply, Done):
            reply = LoadStatus(received=job.message.size, complete=True)
        self._reply(reply, job.request_id)

    def _remember(self, message: Message) -> None:
        """Keep what a restart has to repeat, in the order in which it was last said."""
        key = message.kind if isinstance(message, LoadBegin) else type(message)
        self._held.pop(key, None)
        self._held[key] = message
        if isinstance(message, Configure):
            self._request_s = message.deadline_ms / 1000
        if isinstance(message, LoadBegin):
            self._store.keep_only(message)

    # ---- abnormal ends ---------------------------------------------------------------------------------------

    def _rebooted(self, trap: Abnormal) -> None:
        """The computer was made anew inside its process."""
        self._boot_id = _random_id()
        self._give_up(self._put_down(), trap.kind, trap.detail)
        self._started()

    def _ended(self, end: Ended) -> None:
        """The process is gone, by itself or because the watchdog killed it."""
        kind, detail = AbnormalKind.CRASH, end.detail
        if self._overdue:
            kind, detail = AbnormalKind.HANG, f"no answer within {1000 * self._patience_s(self._current):.0f} ms"
            if self._current is None or isinstance(self._current.message, REMEMBERED):
                detail += "; if it was compiling: `flightnode warm-up` on the board does that ahead"
        at_work = self._current is not None and self._current.request_id is not None
        self._log(f"the computer ended while {self._state.value}: {detail}")
        self._failed_starts = 0 if at_work else self._failed_starts + 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            self._stay_down(end, detail)
            return
        job = self._put_down()
        self.start()
        self._give_up(job, kind, detail)

    def _put_down(self) -> Job | None:
        """Take the current job away, and the supervisor's own ones that wait, since they start over."""
        job, self._current = self._current, None
        self._waiting = deque(waiting for waiting in self._waiting if waiting.request_id is not None)
        return job

    def _give_up(self, job: Job | None, kind: AbnormalKind, detail: str) -> None:
        if job is not None and job.request_id is not None:
            abnormal = Abnormal(kind=kind, detail=detail[:MAX_DETAIL], boot_id=self._boot_id)
            self._reply(abnormal, job.request_id)

    def _stay_down(self, end: Ended, detail: str) -> None:
        """Stop trying: refuse what waits, and forget what was held, since it may be the cause."""
        self._state = State.DOWN
        self._deadline_s = None
        self._assurance.end()
        self._current = None
        self._held.clear()
        text = f"computer does not start: {MAX_FAILED_STARTS} attempts, the last ended with {detail}"
        if end.last_words:
            text += f"; its last words: {' / '.join(end.last_words)[-MAX_DETAIL:]}"
        self._log(text)
        waiting, self._waiting = self._waiting, deque()
        for job in waiting:
            if job.request_id is not None:
                self._reply(Failed(text=f"{text}; load the image again to retry"), job.request_id)


def _random_id() -> int:
    """Give 64 random bits that are not all zero."""
    return int.from_bytes(os.urandom(8), "big") | 1
