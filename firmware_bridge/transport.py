"""Where the bytes come from: UARTs, pseudo-terminals, TCP and in-memory pairs behind one class.

Every transport is a file descriptor that is read in bulk with ``select`` and ``os.read``; pyserial opens and
configures ports and reads nothing, because its convenience calls cost hundreds of times more per byte.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from .address import DEFAULT_BAUD, Address, read_address
from .errors import PortError
from .ports import list_ports, ports_with
from .remote_port import NOTE, carry
from .terminal import busy, lock, make_raw

READ_BYTES = 65_536
WRITE_TIMEOUT_S = 5.0
REMOTE_POLL_S = 0.05

_GONE = {errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBADF, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT}
_waiting_ends: dict[str, Transport] = {}


class Transport:
    """An open line. A context manager; closing twice is allowed.

    Parameters
    ----------
    descriptor
        The open file; the transport owns it from now on and makes it non-blocking.
    name
        What errors call it.
    baud
        Bits per second where the line has a clock, else None.
    on_close
        Called once instead of ``os.close``, for descriptors that belong to another object.
    """

    def __init__(
        self,
        descriptor: int,
        name: str,
        *,
        baud: float | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._on_close = on_close
        self.name = name
        self.baud = baud

    def fileno(self) -> int:
        """The descriptor, for ``select``; -1 when closed."""
        return self._descriptor

    def read(self, max_bytes: int = READ_BYTES, timeout_s: float = 0.0) -> bytes:
        """Up to ``max_bytes`` of what has arrived; ``b""`` if nothing does for ``timeout_s``.

        Raises
        ------
        PortError
            If the other end or the device is gone.
        """
        if timeout_s > 0 and not self._wait(False, timeout_s):
            return b""
        try:
            data = os.read(self._descriptor, max_bytes)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._vanished(error) from error
        if not data:
            raise PortError(f"{self.name} vanished: the other end closed it")
        return data

    def write_some(self, data: bytes) -> int:
        """Hand over what the line takes at once; gives how many bytes that was, 0 if it is full."""
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._vanished(error) from error

    def write(self, data: bytes, timeout_s: float = WRITE_TIMEOUT_S) -> None:
        """Hand over all of ``data``.

        Raises
        ------
        PortError
            If the line is gone, or takes nothing more for ``timeout_s``.
        """
        rest = memoryview(data)
        deadline_s = time.monotonic() + timeout_s
        while rest:
            taken = self.write_some(bytes(rest))
            rest = rest[taken:]
            left_s = deadline_s - time.monotonic()
            if rest and (left_s <= 0 or not self._wait(True, left_s)):
                raise PortError(f"{self.name} takes no more bytes: {len(rest)} were left after {timeout_s:g} s")

    def _wait(self, for_writing: bool, timeout_s: float) -> bool:
        descriptor = [self._open_descriptor()]
        readable, writable, _ = select.select(
            [] if for_writing else descriptor, descriptor if for_writing else [], [], timeout_s
        )
        return bool(readable or writable)

    def _open_descriptor(self) -> int:
        if self._descriptor < 0:
            raise self._closed()
        return self._descriptor

    def _closed(self) -> PortError:
        return PortError(f"{self.name} is closed")

    def _vanished(self, error: OSError) -> PortError:
        if self._descriptor < 0:
            return self._closed()
        if error.errno in _GONE:
            return PortError(f"{self.name} vanished: {error.strerror}; check the cable and the other end")
        return PortError(f"{self.name}: {error.strerror}")

    def close(self) -> None:
        """Close the line and give up its lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        if self._on_close is not None:
            self._on_close()
        else:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# ---- pairs and sockets ----------------------------------------------------------------------------------------


def memory_pair() -> tuple[Transport, Transport]:
    """Two ends of a line inside this process (or a parent and its forked child)."""
    left, right = socket.socketpair()
    return Transport(left.detach(), "memory:left"), Transport(right.detach(), "memory:right")


class PtyMaster(Transport):
    """The master end of a pseudo-terminal.

    Linux reports a terminal that nobody has open as vanished. Until the first byte comes this end therefore
    holds the other end open itself; if ``persistent``, for ever.
    """

    def __init__(self, master: int, slave: int, path: str, *, persistent: bool) -> None:
        super().__init__(master, f"pty:{path}")
        self._slave = slave
        self._persistent = persistent

    def read(self, max_bytes: int = READ_BYTES, timeout_s: float = 0.0) -> bytes:
        """As :meth:`Transport.read`."""
        data = super().read(max_bytes, timeout_s)
        if data and not self._persistent:
            self._release_slave()
        return data

    def close(self) -> None:
        """Close both ends."""
        super().close()
        self._release_slave()

    def _release_slave(self) -> None:
        slave, self._slave = self._slave, -1
        if slave >= 0:
            os.close(slave)


def open_pty(*, persistent: bool = False) -> tuple[Transport, str]:
    """A new pseudo-terminal: its master end, and the path of the other end.

    Parameters
    ----------
    persistent
        Keep the terminal alive when whoever opened the path closes it. Otherwise the master end then vanishes.
    """
    master, slave = os.openpty()
    path = os.ttyname(slave)
    make_raw(slave, path)
    return PtyMaster(master, slave, path, persistent=persistent), path


class Listener:
    """A TCP port that waits for one host after the other. A context manager."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._socket = socket.create_server((host, port))
        except OSError as error:
            raise PortError(f"cannot listen on tcp://{host}:{port}: {error.strerror}") from error
        self.host = host
        self.port: int = self._socket.getsockname()[1]

    def fileno(self) -> int:
        """The descriptor, for ``select``."""
        return self._socket.fileno()

    def accept(self, timeout_s: float | None = None) -> Transport:
        """The next connection.

        Raises
        ------
        PortError
            If nobody connects for ``timeout_s``.
        """
        self._socket.settimeout(timeout_s)
        try:
            connection, peer = self._socket.accept()
        except TimeoutError as error:
            raise PortError(f"nobody connected to tcp://{self.host}:{self.port} for {timeout_s:g} s") from error
        return _from_socket(connection, f"tcp://{peer[0]}:{peer[1]}")

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def listen_tcp(host: str = "127.0.0.1", port: int = 0) -> Listener:
    """Listen for hosts; port 0 takes a free one, see ``Listener.port``."""
    return Listener(host, port)


def _from_socket(connection: socket.socket, name: str) -> Transport:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(connection.detach(), name)


# ---- by address -----------------------------------------------------------------------------------------------


def open_transport(url: str, timeout_s: float = 5.0) -> Transport:
    """Open the line an address names.

    ``serial:///dev/ttyUSB0?baud=921600`` (with ``serial_number`` or ``usb_path`` the adapter that has that mark,
    wherever it is; with ``dtr=off`` or ``rts=off`` that line is let go at once, for boards that it resets),
    ``pty:/dev/pts/7`` (an existing pseudo-terminal), ``pty:`` (a new one;
    its path is in the transport's name), ``tcp://host:port``, ``memory:NAME`` (the first and the second to open
    the same name in one process get the two ends), ``rfc2217://host:port?baud=921600``, and whatever else pyserial
    opens by URL (``hwgrep://FT4VXLDK&baud=921600``).

    Raises
    ------
    UsageError
        If the address is none of these.
    PortError
        If the port is missing, busy or refuses.
    """
    address = read_address(url)
    match address.scheme:
        case "memory":
            return _open_memory(address.place)
        case "pty":
            return _open_tty(address.place, None) if address.place else open_pty()[0]
        case "serial":
            return _open_tty(_device_of(address), address.baud, dtr=address.dtr, rts=address.rts)
        case "rfc2217":
            return _open_remote(f"rfc2217://{address.place}:{address.port}", address.baud)
        case "pyserial":
            return _open_by_pyserial(address.place, address.baud)
    return _open_tcp(address.place, address.port, timeout_s)


def _open_memory(name: str) -> Transport:
    waiting = _waiting_ends.pop(name, None)
    if waiting is not None:
        return waiting
    first, _waiting_ends[name] = memory_pair()
    return first


def _open_tcp(host: str, port: int, timeout_s: float) -> Transport:
    try:
        connection = socket.create_connection((host, port), timeout_s)
    except OSError as error:
        raise PortError(f"cannot connect to tcp://{host}:{port}: {error}; is the node serving there?") from error
    return _from_socket(connection, f"tcp://{host}:{port}")


def _open_remote(url: str, baud: int) -> Transport:
    import serial

    try:
        remote = serial.serial_for_url(f"{url}?ign_set_control", baudrate=baud, timeout=REMOTE_POLL_S)
    except (OSError, ValueError) as error:
        raise PortError(f"cannot open {url}: {error}; is ser2net serving RFC 2217 there?") from error
    descriptor, close = carry(remote, url)
    return Transport(descriptor, f"{url} ({NOTE})", baud=baud, on_close=close)


def _open_by_pyserial(url: str, baud: int) -> Transport:
    import serial

    try:
        port = serial.serial_for_url(url, baudrate=baud, timeout=REMOTE_POLL_S)
    except (OSError, ValueError) as error:
        raise PortError(f"cannot open {url}: {error}; {_ports_found()}") from error
    path = getattr(port, "port", url)
    if Path(path).is_char_device():
        try:
            lock(port.fileno(), path)
            make_raw(port.fileno(), path)
        except PortError:
            port.close()
            raise
    descriptor, close = carry(port, url)
    return Transport(descriptor, url, baud=baud, on_close=close)


def _device_of(address: Address) -> str:
    """Where the adapter of an address is now: by its marks if it has any, else by its path."""
    if not (address.serial_number or address.usb_path):
        return address.place
    matching = ports_with(list_ports(), address.serial_number, address.usb_path)
    if len(matching) == 1:
        return matching[0].device
    wanted = " and ".join(text for text in (address.serial_number, address.usb_path) if text)
    found = ", ".join(port.device for port in matching) or "no port"
    raise PortError(f"the adapter {wanted}, last seen at {address.place}: {found} has these marks; {_ports_found()}")


def _open_tty(path: str, baud: int | None, *, dtr: bool = True, rts: bool = True) -> Transport:
    import serial

    if not Path(path).exists():
        raise PortError(f"no port {path}; {_ports_found()}")
    try:
        port = serial.Serial(None, baud or DEFAULT_BAUD, timeout=0)
        port.port, port.dtr, port.rts = path, dtr, rts
        port.open()
    except ValueError as error:
        raise PortError(f"{path} cannot run at {baud} baud: {error}; choose another baud rate") from error
    except serial.SerialException as error:
        if error.errno == errno.EBUSY:  # TIOCEXCL of the one who has it keeps all but root out
            raise busy(path) from error
        hint = "add yourself to the group dialout" if error.errno == errno.EACCES else _ports_found()
        raise PortError(f"cannot open {path}: {error.strerror or error}; {hint}") from error
    descriptor: int = port.fileno()
    try:
        lock(descriptor, path)
        make_raw(descriptor, path)
    except PortError:
        port.close()
        raise
    with contextlib.suppress(OSError, ValueError, NotImplementedError):
        port.set_low_latency_mode(True)  # only USB adapters have a latency timer; the others say no
    return Transport(descriptor, path, baud=baud, on_close=port.close)


def _ports_found() -> str:
    names = [port.device for port in list_ports()]
    return f"ports found: {', '.join(names)}" if names else "no serial ports found: is the adapter plugged in?"
