"""What carries the computer: the interface, and the one that lives in the supervisor's own thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from firmware_bridge.errors import FlightNodeError
from firmware_bridge.messages import Done, Message
from node.agent import Preparation, ProgressSink, Resident, ServiceFactory


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The computer is gone; ``detail`` is its exit status or signal, ``last_words`` its last log lines."""

    detail: str
    last_words: tuple[str, ...] = ()


Event = Message | Ended


class Runner(Protocol):
    """A computer that is started, given one message at a time, watched, and started again.

    After :meth:`start` it says :class:`~firmware_bridge.messages.Done` once it can be given work, then one reply
    for each message, with any number of :class:`~firmware_bridge.messages.Progress` before each of these. An
    :class:`~firmware_bridge.messages.Abnormal` reply means that it was made anew without :meth:`start`.
    """

    def start(self) -> None:
        """Begin to start a fresh computer; the one before has ended."""

    def submit(self, message: Message) -> None:
        """Give it a message to answer."""

    def events(self) -> list[Event]:
        """Give what has come since the last call, without waiting."""

    def kill(self) -> None:
        """End it at once; :class:`Ended` follows."""

    def close(self) -> None:
        """End it for good."""

    @property
    def readers(self) -> Sequence[int]:
        """Descriptors that become readable when there are events."""

    @property
    def patience_s(self) -> float | None:
        """Longest time until :meth:`events` should be asked again, whatever the descriptors say."""


class InlineComputer:
    """A computer in the calling thread, for hosts that emulate the whole node in one process.

    :meth:`submit` does the work before it returns, so nothing can be killed: a payload that would die or hang
    has to raise instead (``Service(storage, in_process=True)``).

    Parameters
    ----------
    factory : callable
        Makes a service.
    storage : Path
        The folder of the blobs.
    prepare : callable, optional
        Long work before the first request; it says how far it got.

    Attributes
    ----------
    progress : callable
        Called with each progress as it happens, because nobody can ask for events while work is done.
    """

    readers: Sequence[int] = ()

    def __init__(
        self,
        factory: ServiceFactory,
        storage: Path,
        prepare: Preparation | None = None,
    ) -> None:
        self._make: Callable[[], Resident] = lambda: Resident(factory, storage)
        self._prepare = prepare
        self.progress: ProgressSink = _unheard
        self._resident: Resident | None = None
        self._events: list[Event] = []

    @property
    def patience_s(self) -> float | None:
        """Events that wait are to be fetched at once."""
        return 0.0 if self._events else None

    def start(self) -> None:
        """Make the service; an error of the project ends the attempt."""
        try:
            if self._prepare is not None:
                self._prepare(self.progress)
            self._resident = self._make()
        except FlightNodeError as error:
            self._events.append(Ended(detail=str(error)))
        else:
            self._events.append(Done())

    def submit(self, message: Message) -> None:
        """Answer the message here and now."""
        if self._resident is None:
            raise AssertionError("submit before start: the supervisor waits for Done")
        self._events.append(self._resident.answer(message))

    def events(self) -> list[Event]:
        """Give the replies."""
        events, self._events = self._events, []
        return events

    def kill(self) -> None:
        """Do nothing: whoever calls this is the thread that would be hanging."""

    def close(self) -> None:
        """Close the service."""
        if self._resident is not None:
            self._resident.close()
            self._resident = None


def _unheard(_progress: Message) -> None:
    """Take progress that nobody listens to."""
