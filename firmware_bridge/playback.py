"""A transcript against either side: its requests against a live node, or its replies against a live host."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Self

from . import codec
from . import messages as m
from .bridge import Bridge
from .channel import Channel
from .conversation import Exchange
from .errors import LinkError
from .responder import Replies
from .transport import Transport

POLL_S = 0.05
VOLATILE_SUFFIXES = ("_us", "_ms", "_mhz", "_c")
VOLATILE = frozenset({"agent_version", "agent_id", "boot_id", "state", "detail", "throttled", "text"})
"""What clocks, sensors and chance decide: never compared."""
URGENT = (m.HelloRequest, m.TelemetryRequest, m.TimeRequest)
"""Requests whose place among the others is a matter of timing."""


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Where a playback differs from its transcript: the number of the frame, what it held, what came instead."""

    frame: int
    recorded: m.Message
    came: m.Message

    def __str__(self) -> str:
        kinds = type(self.recorded).__name__, type(self.came).__name__
        if kinds[0] != kinds[1]:
            return f"frame {self.frame}: {kinds[0]} was recorded, {kinds[1]} came: {brief(self.came)}"
        was, now = comparable(self.recorded), comparable(self.came)
        names = [name for name in was if was[name] != now[name]]
        changes = "; ".join(f"{name} was {brief(was[name])}, is {brief(now[name])}" for name in names)
        return f"frame {self.frame}: {kinds[0]} differs: {changes}"


def comparable(message: m.Message) -> dict[str, Any]:
    """The fields of a message that are the same each time the same is done."""
    if isinstance(message, m.Telemetry | m.TimeReport):
        return {}
    return {
        field.name: getattr(message, field.name)
        for field in fields(message)
        if field.name not in VOLATILE and not field.name.endswith(VOLATILE_SUFFIXES)
    }


def brief(value: object) -> str:
    """The value in at most a hundred characters."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _alike(one: m.Message, other: m.Message) -> bool:
    return type(one) is type(other) and comparable(one) == comparable(other)


def play_to_node(recorded: Iterable[Exchange], bridge: Bridge) -> Iterator[Divergence]:
    """Make every recorded request of a live node again; gives each reply that differs from the recorded one.

    The node must start as the recorded one did: one that still holds an upload answers that differently.
    """
    replied = [exchange for exchange in recorded if exchange.reply is not None]
    requests = (exchange.asked for exchange in replied)
    for exchange, (_, came) in zip(replied, bridge.ask_many(requests), strict=True):
        reply = exchange.reply
        if reply is not None and not _alike(reply.message, came):
            yield Divergence(frame=reply.frame, recorded=reply.message, came=came)


class PlayedNode:
    """Answers a host with the replies of a transcript, in a thread. A context manager.

    The host must make the recorded requests in the recorded order; the first other one is a divergence, and it and
    everything after it is refused with words that name the frame.

    Attributes
    ----------
    divergence
        The first request that was not the recorded one; None as long as there is none.
    """

    def __init__(self, transport: Transport, recorded: Sequence[Exchange]) -> None:
        self._channel = Channel(transport, "node")
        self._ordered = deque(each for each in recorded if not isinstance(each.asked, URGENT))
        self._urgent = {
            kind: deque(each for each in recorded if isinstance(each.asked, kind) and each.reply is not None)
            for kind in URGENT
        }
        self._replies = Replies()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="played node", daemon=True)
        self.divergence: Divergence | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._channel.close()

    def _serve(self) -> None:
        try:
            while not self._stop.is_set():
                for body in self._channel.poll(POLL_S):
                    self._take(body)
        except LinkError:
            self._stop.set()  # the host is gone

    def _take(self, body: bytes) -> None:
        message, request_id = codec.decode(body)
        if self._replies.admit(request_id):
            reply = self._answer(message)
            if reply is None:
                return  # nor did the recorded node answer
            self._replies.finish(request_id, codec.encode(reply, request_id))
        known = self._replies.answer(request_id)
        if known is not None:
            self._channel.send(known, isinstance(message, URGENT))

    def _answer(self, message: m.Message) -> m.Message | None:
        if isinstance(message, URGENT):
            queue = self._urgent[type(message)]
            if not queue:
                return m.Failed(text=f"the transcript has no reply to a {type(message).__name__}")
            reply = (queue.popleft() if len(queue) > 1 else queue[0]).reply
            return reply.message if reply is not None else None
        if self.divergence is None and self._ordered:
            exchange = self._ordered.popleft()
            if _alike(exchange.asked, message):
                return exchange.reply.message if exchange.reply is not None else None
            self.divergence = Divergence(frame=exchange.request.frame, recorded=exchange.asked, came=message)
        if self.divergence is None:
            return m.Failed(text=f"the transcript ends before this {type(message).__name__}")
        return m.Failed(text=f"this host does not do what the recorded one did: {self.divergence}")
