"""Messages between the supervisor and its computer: length-prefixed codec bytes over a stream socket."""

from __future__ import annotations

import select
import socket
from typing import Self

from firmware_bridge import codec
from firmware_bridge.messages import Message

LENGTH_BYTES = 4
READ_BYTES = 1 << 16


class MessagePipe:
    """One end of the pipe; neither sending nor receiving ever blocks, :meth:`wait` does.

    Parameters
    ----------
    end : socket.socket
        A connected stream socket; the pipe closes it.

    Examples
    --------
    >>> from firmware_bridge.messages import Done
    >>> one, other = (MessagePipe(end) for end in socket.socketpair())
    >>> one.send(Done())
    >>> other.wait()
    [Done()]
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """Give the descriptor to wait on."""
        return self._socket.fileno()

    @property
    def wants_to_write(self) -> bool:
        """True while bytes wait for room in the socket."""
        return bool(self._outgoing) and not self.ended

    def send(self, message: Message) -> None:
        """Queue a message and write what fits; what a closed other end does not take is dropped."""
        body = codec.encode(message, 0)
        self._outgoing += len(body).to_bytes(LENGTH_BYTES, "big") + body
        self.flush()

    def flush(self) -> None:
        """Write as much as fits."""
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            self._outgoing.clear()

    def receive(self) -> list[Message]:
        """Give the messages that have come; ``ended`` turns true once the other end has closed."""
        try:
            while data := self._socket.recv(READ_BYTES):
                self._incoming += data
            self.ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.ended = True
        return self._complete()

    def wait(self, timeout_s: float | None = None) -> list[Message]:
        """Block until a message has come, for so long at most; an empty list without a timeout: the other end closed.

        With a timeout ``ended`` tells the one from the other.
        """
        while True:
            writers = [self] if self.wants_to_write else []
            heard = any(select.select([self], writers, [], timeout_s))
            self.flush()
            if (messages := self.receive()) or self.ended or (timeout_s is not None and not heard):
                return messages

    def drain(self) -> None:
        """Block until everything is written."""
        while self.wants_to_write:
            select.select([], [self], [])
            self.flush()

    def close(self) -> None:
        """Close the socket; the other end sees the end of the stream."""
        self._socket.close()

    def _complete(self) -> list[Message]:
        messages: list[Message] = []
        while len(self._incoming) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(self._incoming[:LENGTH_BYTES], "big")
            if len(self._incoming) < end:
                break
            messages.append(codec.decode(bytes(self._incoming[LENGTH_BYTES:end]))[0])
            del self._incoming[:end]
        return messages
