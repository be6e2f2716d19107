"""A port that only pyserial can read, such as one behind a terminal server (RFC 2217, as ser2net serves it).

It is no descriptor, so two threads carry the bytes between it and a socket pair.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Protocol

READ_BYTES = 4096
END_S = 2.0
"""So long a port is waited for that does not take what it was given."""
NOTE = "control lines are left alone (ign_set_control), since many servers never answer to them"


class RemotePort(Protocol):
    """What is used of pyserial's port."""

    @property
    def in_waiting(self) -> int:
        """Bytes that can be read at once."""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; fewer after the port's timeout."""

    def write(self, data: bytes) -> int | None:
        """Send bytes."""

    def close(self) -> None:
        """End the connection."""


def carry(remote: RemotePort, name: str) -> tuple[int, Callable[[], None]]:
    """Give a descriptor for what a port carries, and what closes it; the port ends with either side.

    One thread alone reads the port and closes it once the other has ended: pyserial's ports cannot be closed under a
    reader. So the port's own timeout is the longest that closing takes.
    """
    near, far = socket.socketpair()
    ended = threading.Event()

    def to_port() -> None:
        with contextlib.suppress(OSError):  # pyserial's errors are OSErrors, too
            while data := far.recv(READ_BYTES):
                remote.write(data)
        ended.set()

    def to_program() -> None:
        with contextlib.suppress(OSError):
            while not ended.is_set():
                far.sendall(remote.read(max(1, min(READ_BYTES, remote.in_waiting))))
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)
        writer.join(END_S)
        remote.close()
        far.close()

    writer = threading.Thread(target=to_port, name=f"{name} out", daemon=True)
    reader = threading.Thread(target=to_program, name=f"{name} in", daemon=True)
    for thread in (writer, reader):
        thread.start()

    def close() -> None:
        near.close()
        reader.join(END_S)

    return near.fileno(), close
