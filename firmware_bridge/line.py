"""An honest wire for tests: baud rate, latency, batching, and damage from a seed.

Real lines flip bits, drop bytes in bursts of eight (a UART's FIFO overrun), repeat bytes and pause. They never
change the order of bytes.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from dataclasses import dataclass
from math import log, log1p
from random import Random
from time import monotonic
from types import TracebackType
from typing import Literal, Self

from .errors import ConfigError, PortError
from .transport import Transport, memory_pair, open_pty, open_transport

BURST_BYTES = 8

_RATES = ("bit_error_rate", "deletion_rate", "duplication_rate", "stall_rate")
_PIECE_BYTES = 128
_QUEUE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class LineSpec:
    """What a wire does.

    Attributes
    ----------
    bit_error_rate
        Chance of each bit to be flipped.
    deletion_rate, duplication_rate
        Chance of each byte to begin a burst of :data:`BURST_BYTES` bytes that is lost, or is followed by itself.
    stall_rate, stall_s
        Chance of each byte to be held up, with all that follow, for ``stall_s`` seconds.
    baud
        Bits per second with ten bits a byte; None for no limit.
    latency_s
        Time from the end of a byte here to its arrival there.
    batch_s
        Bytes arrive only at multiples of this time, as behind a USB adapter's latency timer; 0 for at once.

    Raises
    ------
    ConfigError
        If a rate is no probability below 1, or a time or the baud rate is negative.
    """

    bit_error_rate: float = 0.0
    deletion_rate: float = 0.0
    duplication_rate: float = 0.0
    stall_rate: float = 0.0
    stall_s: float = 0.05
    baud: float | None = None
    latency_s: float = 0.0
    batch_s: float = 0.0

    def __post_init__(self) -> None:
        for name in _RATES:
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} is a probability from 0 to below 1, not {getattr(self, name)}")
        if min(self.stall_s, self.latency_s, self.batch_s) < 0 or (self.baud is not None and self.baud <= 0):
            raise ConfigError("a line's times are 0 or more, its baud rate is more than 0")


class _Events:
    """Positions at which something happens, each place with probability ``rate``, from a seed."""

    def __init__(self, seed: str, rate: float) -> None:
        self._random = Random(seed)
        self._log_miss = log1p(-rate) if rate > 0 else None
        self.next: int | None = -1
        self.advance()

    def advance(self) -> None:
        """Go to the next position; the gap between two is geometric."""
        if self._log_miss is None or self.next is None:
            self.next = None
        else:
            self.next += 1 + int(log(1.0 - self._random.random()) / self._log_miss)

    def upto(self, end: int) -> list[int]:
        """The positions before ``end`` not given yet."""
        found = []
        while self.next is not None and self.next < end:
            found.append(self.next)
            self.advance()
        return found


class Impairment:
    """Damage to a stream of bytes: a function of the seed and the stream alone, however it is cut.

    Attributes
    ----------
    flipped_bits, deleted_bursts, duplicated_bursts
        What has been done so far.

    Examples
    --------
    >>> wire = Impairment(1, LineSpec(bit_error_rate=0.01))
    >>> damaged = wire.apply(bytes(1000))
    >>> sum(byte.bit_count() for byte in damaged) == wire.flipped_bits > 0
    True
    """

    def __init__(self, seed: int, spec: LineSpec) -> None:
        self._flips = _Events(f"{seed} flips", spec.bit_error_rate)
        self._deletions = _Events(f"{seed} deletions", spec.deletion_rate)
        self._duplications = _Events(f"{seed} duplications", spec.duplication_rate)
        self._at = 0
        self._lost_until = 0
        self._repeats: deque[int] = deque()
        self._recent = b""
        self.flipped_bits = self.deleted_bursts = self.duplicated_bursts = 0

    def apply(self, data: bytes) -> bytes:
        """What comes out at the other end for ``data``."""
        start, end = self._at, self._at + len(data)
        self._at = end
        buffer = bytearray(data)
        for bit in self._flips.upto(8 * end):
            buffer[bit // 8 - start] ^= 1 << bit % 8
            self.flipped_bits += 1
        deletions = self._deletions.upto(end)
        repeats = [at + BURST_BYTES for at in self._duplications.upto(end)]
        self.deleted_bursts += len(deletions)
        self.duplicated_bursts += len(repeats)
        self._repeats.extend(repeats)
        history = self._recent + buffer
        base = start - len(self._recent)
        self._recent = bytes(history[-BURST_BYTES:])
        return self._cut(bytes(history), base, start, deletions)

    def _cut(self, history: bytes, base: int, start: int, deletions: list[int]) -> bytes:
        """Leave out the deleted bursts and put in the repeated ones; all positions are those of the input."""
        end = base + len(history)
        out = []
        at = start
        marks = deque(deletions)
        while at < end:
            if self._repeats and self._repeats[0] == at:
                self._repeats.popleft()
                out.append(history[at - BURST_BYTES - base : at - base])
                continue
            if marks and marks[0] == at:
                self._lost_until = max(self._lost_until, marks.popleft() + BURST_BYTES)
            stops = [end, *list(marks)[:1], *list(self._repeats)[:1]]
            if at < self._lost_until:
                at = min([self._lost_until, *stops])
                continue
            stop = min(stops)
            out.append(history[at - base : stop - base])
            at = stop
        return b"".join(out)


class Wire:
    """One direction: bytes offered now, delivered later. Pure; time is an argument."""

    def __init__(self, seed: int, spec: LineSpec) -> None:
        self._spec = spec
        self._impairment = Impairment(seed, spec)
        self._stalls = _Events(f"{seed} stalls", spec.stall_rate)
        self._queue: deque[tuple[float, bytes]] = deque()
        self._free_s = 0.0
        self._offered = 0
        self.queued_bytes = 0

    @property
    def impairment(self) -> Impairment:
        """What was done to the bytes."""
        return self._impairment

    def offer(self, data: bytes, now_s: float) -> None:
        """Put bytes on the wire."""
        spec = self._spec
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self._offered += len(piece)
            self._free_s = max(self._free_s, now_s) + spec.stall_s * len(self._stalls.upto(self._offered))
            if spec.baud is not None:
                self._free_s += len(piece) * 10 / spec.baud
            due_s = self._free_s + spec.latency_s
            if spec.batch_s:
                due_s = -(-due_s // spec.batch_s) * spec.batch_s
            self._queue.append((due_s, self._impairment.apply(piece)))
            self.queued_bytes += len(self._queue[-1][1])

    def take(self, now_s: float) -> bytes:
        """The bytes that have arrived by now."""
        out = []
        while self._queue and self._queue[0][0] <= now_s:
            out.append(self._queue.popleft()[1])
        data = b"".join(out)
        self.queued_bytes -= len(data)
        return data

    @property
    def due_s(self) -> float | None:
        """When the next bytes arrive; None if there are none under way."""
        return self._queue[0][0] if self._queue else None


class _Direction:
    """Moves the bytes of one direction from one transport to another through a wire."""

    def __init__(self, source: Transport, sink: Transport, wire: Wire) -> None:
        self.source = source
        self.sink = sink
        self.wire = wire
        self.arrived = b""

    @property
    def wants_bytes(self) -> bool:
        """A full queue holds the writer up, as a kernel's transmit buffer does."""
        return self.wire.queued_bytes < _QUEUE_BYTES and len(self.arrived) < _QUEUE_BYTES

    def move(self, now_s: float) -> None:
        if self.wants_bytes:
            self.wire.offer(self.source.read(_QUEUE_BYTES), now_s)
        self.arrived += self.wire.take(now_s)
        if self.arrived:
            self.arrived = self.arrived[self.sink.write_some(self.arrived) :]


class NoisyLine:
    """Two transports with a bad wire between them, pumped by a thread. A context manager.

    Parameters
    ----------
    spec
        What the wire does, the same both ways.
    seed
        Where its randomness comes from; each direction has its own stream.
    kind
        ``"memory"`` or ``"pty"``.

    Attributes
    ----------
    near, far
        The two ends.
    wires
        The two directions, near to far first.

    Examples
    --------
    >>> with NoisyLine(LineSpec(latency_s=0.001), seed=1) as line:
    ...     line.near.write(b"hello")
    ...     line.far.read(timeout_s=1.0)
    b'hello'
    """

    def __init__(self, spec: LineSpec, *, seed: int, kind: Literal["memory", "pty"] = "memory") -> None:
        self.near, inner_near = _ends(kind)
        self.far, inner_far = _ends(kind)
        self._inner = (inner_near, inner_far)
        self.wires = (Wire(2 * seed, spec), Wire(2 * seed + 1, spec))
        self._directions = (
            _Direction(inner_near, inner_far, self.wires[0]),
            _Direction(inner_far, inner_near, self.wires[1]),
        )
        self._wake, self._woken = memory_pair()
        self._thread = threading.Thread(target=self._pump, name="noisy line", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.close()
        self._thread.join()
        for transport in (self.near, self.far, *self._inner, self._woken):
            transport.close()

    def _pump(self) -> None:
        try:
            while self._wait():
                now_s = monotonic()
                for direction in self._directions:
                    direction.move(now_s)
        except PortError:
            for transport in self._inner:  # one side hung up: let the other side see it
                transport.close()

    def _wait(self) -> bool:
        readers: list[Transport] = [self._woken]
        readers += [direction.source for direction in self._directions if direction.wants_bytes]
        writers = [direction.sink for direction in self._directions if direction.arrived]
        due = [direction.wire.due_s for direction in self._directions]
        times = [time_s for time_s in due if time_s is not None]
        timeout_s = max(0.0, min(times) - monotonic()) if times else None
        readable, _, _ = select.select(readers, writers, [], timeout_s)
        return self._woken not in readable


def _ends(kind: Literal["memory", "pty"]) -> tuple[Transport, Transport]:
    """The end somebody uses and the end the line pumps."""
    if kind == "memory":
        return memory_pair()
    master, path = open_pty(persistent=True)
    return open_transport(f"pty:{path}"), master
