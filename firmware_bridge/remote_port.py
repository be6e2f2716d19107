"""A serial port behind a terminal server (RFC 2217, as ser2net serves it), with its baud rate set from here.

pyserial speaks the protocol. Its port is no descriptor, so two threads carry the bytes between it and a socket pair.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Protocol

READ_BYTES = 4096
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
    """Give a descriptor for what a port carries, and what closes it; the port ends with either side."""
    near, far = socket.socketpair()

    def end() -> None:
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)
        remote.close()

    def to_program() -> None:
        with contextlib.suppress(OSError):  # pyserial's errors are OSErrors, too
            while True:
                far.sendall(remote.read(max(1, min(READ_BYTES, remote.in_waiting))))
        end()

    def to_port() -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(READ_BYTES):
                remote.write(data)
        end()

    for work in (to_program, to_port):
        threading.Thread(target=work, name=name, daemon=True).start()
    return near.fileno(), near.close
