"""Where hosts come from: a port that is opened, a TCP port that is listened on, a line that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from firmware_bridge.address import read_address
from firmware_bridge.errors import PortError, UsageError
from firmware_bridge.transport import Listener, Transport, listen_tcp, open_pty, open_transport
from node.machine import Machine
from node.uart import uart_kind

RETRY_S = 0.5


class Door(Protocol):
    """Gives one line after the other."""

    name: str
    uart: str
    """The kind of UART behind it, empty for another line."""

    def open(self) -> Transport | None:
        """Give the next line, or None where there is none yet."""

    def close(self) -> None:
        """Let nobody in any more."""

    @property
    def reopens(self) -> bool:
        """False where the end of the line is the end of the host."""

    @property
    def readers(self) -> Sequence[int]:
        """Descriptors that become readable when :meth:`open` has a line."""


class PortDoor:
    """A port by its address, opened again when it has vanished and comes back.

    Raises
    ------
    PortError
        When it cannot be opened the first time.
    """

    readers: Sequence[int] = ()
    reopens = True

    def __init__(self, url: str) -> None:
        self.name = url
        self.uart = uart_kind(Machine(), read_address(url).place)
        self._url = url
        self._first: Transport | None = open_transport(url)

    def open(self) -> Transport | None:
        """Give the port, or None while it is away."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            return open_transport(self._url)
        except PortError:
            return None

    def close(self) -> None:
        """Close the port if nobody has taken it."""
        if self._first is not None:
            self._first.close()
            self._first = None


class ListenDoor:
    """A TCP port that takes one host after the other."""

    reopens = True
    uart = ""

    def __init__(self, host: str, port: int) -> None:
        self._listener: Listener = listen_tcp(host, port)
        self.name = f"tcp://{self._listener.host}:{self._listener.port}"

    @property
    def readers(self) -> Sequence[int]:
        """The listening socket."""
        return [self._listener.fileno()]

    def open(self) -> Transport | None:
        """Give the host that has called, or None where there is none."""
        try:
            return self._listener.accept(0.001)
        except PortError:
            return None

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()


class OneLine:
    """A line that is open already, and the only one."""

    readers: Sequence[int] = ()
    reopens = False
    uart = ""

    def __init__(self, transport: Transport, name: str = "") -> None:
        self.name = name or transport.name
        self._transport: Transport | None = transport

    def open(self) -> Transport | None:
        """Give the line once."""
        transport, self._transport = self._transport, None
        return transport

    def close(self) -> None:
        """Close the line if nobody has taken it."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None


def door_of(url: str) -> Door:
    """Give the door for the address of ``flightnode serve --port``.

    ``serial:///dev/ttyAMA0?baud=921600`` opens a UART, ``tcp://0.0.0.0:7000`` listens, ``pty:/dev/pts/7`` takes
    the terminal that a host has made for this node and ``pty:`` makes one that hosts can open.

    Raises
    ------
    UsageError
        For an address of another kind.
    PortError
        When the port is missing or busy.
    """
    parts = urlsplit(url)
    if parts.scheme == "tcp":
        if parts.port is None:
            raise UsageError(f"{url!r} has no port: give tcp://ADDRESS:PORT to listen on")
        return ListenDoor(parts.hostname or "", parts.port)
    if parts.scheme == "pty" and parts.path:
        return OneLine(open_transport(url), url)
    if parts.scheme == "pty":
        transport, path = open_pty(persistent=True)
        return OneLine(transport, f"serial://{path}")
    if parts.scheme == "serial":
        return PortDoor(url)
    raise UsageError(
        f"{url!r} is no line that a node can serve: give serial:///dev/ttyAMA0?baud=921600, tcp://0.0.0.0:7000, "
        "pty:/dev/pts/7 or pty:"
    )
