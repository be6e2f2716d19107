"""Bridge, the host's client: one method a command."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from . import codec
from . import messages as m
from .channel import Channel
from .clock_sync import ClockSample, ClockSync, synchronise
from .crc import crc32
from .errors import DataError, LinkError, LinkLost, PortError, Refused
from .link_stats import LinkStats
from .loading import BlobKind, LoadBegin, LoadChunk, LoadStatus
from .measuring import Measure, Measured
from .transport import Transport, open_transport

CHUNK_BYTES = 4096
CHUNKS_UNDER_WAY = 8
SILENCE_S = 5.0
REPLY_S = 180.0
WATCHDOG_MARGIN_S = 30.0
"""From a missed deadline to the word of the restarted computer."""

R = TypeVar("R")
Q = TypeVar("Q", bound=m.Request)


class Bridge:
    """Commands to one node, and their replies. A context manager that owns the channel.

    Requests are idempotent by id: when the link has to start a new session, every request without a reply is
    sent again, and the node answers those it has carried out from memory.

    Parameters
    ----------
    channel
        A channel in the role ``"host"``.
    silence_s
        The link is lost when no frame at all is heard for so long, though the node's end of the link is asked.
    reply_s
        The node is lost when a request gets neither a reply nor progress for so long, though the link is alive.
    reopen
        Opens the same line again after it is lost; None if it cannot be.
    recover_s
        For how long a lost line is tried again before the error is raised; requests under way then go on.

    Attributes
    ----------
    boot_ids
        The boot ids seen, each once in order: a new one is a restarted computer.
    progress
        Called with every :class:`~firmware_bridge.messages.Progress` that comes, if set.
    housekeeping
        Called with every telemetry packet that the node sends unasked, if set; see :mod:`.telemetry`.

    Examples
    --------
    ::

        with Bridge.connect("serial:///dev/ttyUSB0?baud=921600") as bridge:
            bridge.load(BlobKind.IMAGE, image.to_bytes())
            bridge.set_temperature(61.0)
            print(bridge.telemetry().clock_ratio)
    """

    def __init__(
        self,
        channel: Channel,
        *,
        silence_s: float = SILENCE_S,
        reply_s: float = REPLY_S,
        reopen: Callable[[], Transport] | None = None,
        recover_s: float = 0.0,
    ) -> None:
        self._channel = channel
        self._reopen = reopen
        self._recover_s = recover_s
        self._silence_s = silence_s
        self._reply_s = reply_s
        # A new host must not meet replies meant for an earlier one, so ids start anywhere.
        self._next_id = secrets.randbits(32)
        self._pending: dict[int, tuple[bytes, bool]] = {}
        self._replies: dict[int, m.Message] = {}
        self._generation = channel.generation
        self._last_message_s = time.monotonic()
        self._agent_id: int | None = None
        self.boot_ids: list[int] = []
        self.progress: Callable[[m.Progress], None] | None = None
        self.housekeeping: Callable[[bytes], None] | None = None

    @classmethod
    def connect(
        cls, url: str, timeout_s: float = 10.0, *, silence_s: float = SILENCE_S, recover_s: float = 0.0
    ) -> Self:
        """Open the line, start a session and check who is there.

        See :class:`Bridge` for ``silence_s`` and ``recover_s``.

        Raises
        ------
        PortError
            If the port cannot be opened.
        LinkLost
            If no node answers for ``timeout_s``.
        LinkError
            If the node speaks another protocol.
        """

        def open_line() -> Transport:
            return open_transport(url, timeout_s)

        channel = Channel(open_line(), "host")
        try:
            channel.wait_established(timeout_s)
            bridge = cls(channel, silence_s=silence_s, reopen=open_line, recover_s=recover_s)
            bridge.hello()
        except BaseException:
            channel.close()
            raise
        return bridge

    # ---- commands ----------------------------------------------------------------------------------------------

    def hello(self) -> m.Hello:
        """Who is there.

        Raises
        ------
        LinkError
            If the node speaks another version of the messages.
        """
        reply = self._ask(m.HelloRequest(), m.Hello, urgent=True)
        if reply.protocol != m.PROTOCOL_VERSION:
            raise LinkError(
                f"the node speaks protocol {reply.protocol} (agent {reply.agent_version}), this host "
                f"{m.PROTOCOL_VERSION}: install the same release on both"
            )
        return reply

    def load(self, kind: BlobKind, data: bytes, progress: Callable[[int, int], None] | None = None) -> LoadStatus:
        """Upload a blob, from where an earlier upload of the same one stopped.

        Parameters
        ----------
        kind
            Image or inputs.
        data
            The blob's bytes.
        progress
            Called with (bytes held by the node, size).

        Raises
        ------
        Refused
            If the node does not take it.
        LinkError
            If all bytes arrived and the node still does not hold them.
        """
        size = len(data)
        status = self._ask(LoadBegin(kind=kind, size=size, crc32=crc32(data)), LoadStatus)
        if not status.complete:
            status = self._upload(kind, data, status.received, progress)
        if not status.complete:
            raise LinkError(f"the node holds {status.received} of {size} bytes after a full upload: load again")
        return status

    def _upload(
        self, kind: BlobKind, data: bytes, start: int, progress: Callable[[int, int], None] | None
    ) -> LoadStatus:
        chunks = (
            LoadChunk(kind=kind, offset=offset, data=data[offset : offset + CHUNK_BYTES])
            for offset in range(start, len(data), CHUNK_BYTES)
        )
        status = LoadStatus(received=start, complete=False)
        for _, reply in self.ask_many(chunks, CHUNKS_UNDER_WAY):
            status = _expect(reply, LoadStatus)
            if progress is not None:
                progress(status.received, len(data))
        return status

    def configure(self, protection_json: str, deadline_ms: int = 60_000) -> None:
        """Set the protection and the watchdog's deadline for one request.

        Replies are waited for at least as long as the watchdog needs to notice that one does not come.
        """
        self._reply_s = max(self._reply_s, deadline_ms / 1000 + WATCHDOG_MARGIN_S)
        self._ask(m.Configure(protection=protection_json, deadline_ms=deadline_ms), m.Done)

    def inject(self, faults: Iterable[m.Fault]) -> tuple[m.Readback, ...]:
        """Strike memory now; one readback per fault."""
        return self._ask(m.Inject(faults=tuple(faults)), m.Injected).readbacks

    def set_temperature(self, celsius: float) -> None:
        """Tell the node how hot the plant is."""
        self._ask(m.SetTemperature(celsius=celsius), m.Done)

    def set_throttle_limits(self, soft_c: float, hard_c: float) -> None:
        """Set where throttling starts and where it is full."""
        self._ask(m.SetThrottleLimits(soft_c=soft_c, hard_c=hard_c), m.Done)

    def run(self, run: m.Run) -> m.RunResult | m.Abnormal:
        """Carry out one run."""
        return _expect_run(self._collect(self._submit(run)))

    def run_many(self, runs: Iterable[m.Run], window: int = 8) -> Iterator[tuple[m.Run, m.RunResult | m.Abnormal]]:
        """Carry out many runs with ``window`` of them under way; results come in the order of ``runs``."""
        if window < 1:
            raise DataError(f"a window of {window} runs never runs any: give 1 or more")
        for run, reply in self.ask_many(runs, window):
            yield run, _expect_run(reply)

    def scrub(self) -> m.ScrubReport:
        """Check and correct every protected region once."""
        return self._ask(m.Scrub(), m.ScrubReport)

    def checkpoint(self) -> m.CheckpointReport:
        """Save the state."""
        return self._ask(m.Checkpoint(), m.CheckpointReport)

    def restore(self) -> m.CheckpointReport:
        """Load the newest checkpoint that verifies."""
        return self._ask(m.Restore(), m.CheckpointReport)

    def telemetry(self) -> m.Telemetry:
        """Temperatures, clocks, load and counters. Overtakes what is queued."""
        return self._ask(m.TelemetryRequest(), m.Telemetry, urgent=True)

    def infer(self, data: bytes, count: int = 1, warm_up: int = 0) -> m.Inferred:
        """Compute with the loaded model on the bytes of its input tensors, ``count`` times after ``warm_up`` more."""
        return self._ask(m.Infer(data=data, count=count, warm_up=warm_up), m.Inferred)

    def measure(self, request: Measure) -> Measured:
        """Have the node time what it does."""
        return self._ask(request, Measured)

    def synchronise(self, samples: int = 8) -> ClockSync:
        """Compare the node's clock (``time.monotonic`` there) with this host's, see :mod:`.clock_sync`."""
        taken = []
        for _ in range(samples):
            sent_s = time.monotonic()
            report = self._ask(m.TimeRequest(), m.TimeReport, urgent=True)
            times = {"sent_s": sent_s, "returned_s": time.monotonic()}
            taken.append(ClockSample(received_s=report.received_ns / 1e9, replied_s=report.replied_ns / 1e9, **times))
        return synchronise(taken, time.monotonic())

    def reset(self) -> None:
        """Put memory and counters back to their state after loading."""
        self._ask(m.Reset(), m.Done)

    # ---- requests and replies ----------------------------------------------------------------------------------

    def _ask(self, request: m.Request, expected: type[R], *, urgent: bool = False) -> R:
        return _expect(self._collect(self._submit(request, urgent=urgent)), expected)

    def ask_many(self, requests: Iterable[Q], window: int = CHUNKS_UNDER_WAY) -> Iterator[tuple[Q, m.Message]]:
        """Any requests and their replies as they come, in order, ``window`` of them under way."""
        under_way: deque[tuple[Q, int]] = deque()
        try:
            for request in requests:
                under_way.append((request, self._submit(request)))
                if len(under_way) >= window:
                    yield under_way[0][0], self._collect(under_way[0][1])
                    under_way.popleft()
            while under_way:
                yield under_way[0][0], self._collect(under_way[0][1])
                under_way.popleft()
        finally:
            for _, request_id in under_way:  # nobody waits for these any more
                self._pending.pop(request_id, None)
                self._replies.pop(request_id, None)

    def _submit(self, request: m.Request, *, urgent: bool = False) -> int:
        request_id = self._draw_id()
        data = codec.encode(request, request_id)
        if not self._pending:
            self._last_message_s = time.monotonic()
        self._pending[request_id] = (data, urgent)
        try:
            self._channel.send(data, urgent)
        except PortError as error:
            self._recover(error)
        return request_id

    def _draw_id(self) -> int:
        self._next_id = self._next_id % 0xFFFF_FFFF + 1  # 0 is for what comes unasked
        return self._next_id

    def _collect(self, request_id: int) -> m.Message:
        while request_id not in self._replies:
            try:
                self._take_in(self._channel.poll(self._silence_s / 4))
                self._hand_on(self._channel.unreliable())
                self._check_session()
                if request_id not in self._replies:
                    self._check_life()
            except PortError as error:
                self._recover(error)
        return self._replies.pop(request_id)

    def _recover(self, error: LinkError) -> None:
        """Get the line back and ask again for every missing reply, or raise ``error``."""
        if self._reopen is None or self._recover_s <= 0:
            raise error
        self._channel.reopen(self._reopen, self._recover_s)
        self._last_message_s = time.monotonic()
        self._check_session()

    def _take_in(self, messages: list[bytes]) -> None:
        if messages:
            self._last_message_s = time.monotonic()
        for data in messages:
            try:
                message, request_id = codec.decode(data)
            except DataError as error:
                raise LinkError(f"the node sent a message that cannot be read: {error}") from error
            if isinstance(message, m.Progress):
                if self.progress is not None:
                    self.progress(message)
                continue
            if isinstance(message, m.Hello):
                self._on_hello(message)
            elif isinstance(message, m.Abnormal):
                self._note_boot(message.boot_id)
            if self._pending.pop(request_id, None) is not None:
                self._replies[request_id] = message

    def _hand_on(self, packets: list[bytes]) -> None:
        if self.housekeeping is not None:
            for packet in packets:
                self.housekeeping(packet)

    def _on_hello(self, hello: m.Hello) -> None:
        if self._agent_id is not None and hello.agent_id != self._agent_id:
            raise LinkLost("the node's agent was restarted: what was loaded is gone; connect and load again")
        self._agent_id = hello.agent_id
        self._note_boot(hello.boot_id)

    def _note_boot(self, boot_id: int) -> None:
        if boot_id not in self.boot_ids:
            self.boot_ids.append(boot_id)

    def _check_session(self) -> None:
        """After a new session: ask who is there, then ask again for every reply still missing."""
        if self._channel.generation == self._generation:
            return
        self._generation = self._channel.generation
        self._channel.send(codec.encode(m.HelloRequest(), self._draw_id()), urgent=True)
        for data, urgent in self._pending.values():
            self._channel.send(data, urgent)

    def _check_life(self) -> None:
        silent_s = self._channel.silent_s
        if silent_s > self._silence_s:
            name = self._channel.transport.name
            lost = f"nothing heard from {name} for {silent_s:.1f} s: the line or the board is down"
            self._recover(LinkLost(lost))
        elif silent_s > self._silence_s / 4:
            self._channel.probe()
        if time.monotonic() - self._last_message_s > self._reply_s:
            raise LinkLost(f"the link is alive, but no reply came for {self._reply_s:g} s: reset the board")

    # ---- the line ----------------------------------------------------------------------------------------------

    @property
    def stats(self) -> LinkStats:
        """The link's counters."""
        return self._channel.stats

    def close(self) -> None:
        """Close the line."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _expect(reply: m.Message, expected: type[R]) -> R:
    if isinstance(reply, expected):
        return reply
    if isinstance(reply, m.Failed):
        raise Refused(reply.text)
    if isinstance(reply, m.Abnormal):
        raise Refused(f"the computer ended in a {reply.kind.name.lower()}: {reply.detail}")
    raise LinkError(f"the node answered {type(reply).__name__} where {expected.__name__} was due")


def _expect_run(reply: m.Message) -> m.RunResult | m.Abnormal:
    return reply if isinstance(reply, m.Abnormal) else _expect(reply, m.RunResult)
