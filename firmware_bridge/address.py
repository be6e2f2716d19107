"""Addresses of lines: what ``serial://``, ``pty:``, ``tcp://``, ``memory:`` and pyserial's URLs mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, urlencode, urlsplit

from .errors import UsageError

DEFAULT_BAUD = 115_200
MAX_BAUD = 20_000_000
BY_PYSERIAL = ("hwgrep", "spy", "alt", "loop", "cp2110")
"""Schemes that are left to pyserial: everything behind them is its own, but for the baud rate."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """An address that was read.

    Parameters
    ----------
    scheme : str
        ``serial``, ``pty``, ``tcp``, ``rfc2217``, ``memory`` or ``pyserial``.
    place : str
        The device's path, the host's name, the name of an in-memory line or a URL for pyserial; empty for a new
        pseudo-terminal.
    port : int
        Of ``tcp`` and ``rfc2217``, else 0.
    baud : int
        Bits per second of ``serial``, ``rfc2217`` and ``pyserial``, else 0.
    serial_number, usb_path : str
        Marks of the adapter behind ``serial``. Where given they decide, and ``place`` is only where it was last.
    dtr, rts : bool
        How these lines of a ``serial`` port are left when it is open. Many boards reset on one of them.
    """

    scheme: str
    place: str
    port: int = 0
    baud: int = 0
    serial_number: str = ""
    usb_path: str = ""
    dtr: bool = True
    rts: bool = True


def read_address(url: str) -> Address:
    """Give what an address says; nothing is opened.

    Raises
    ------
    UsageError
        For anything that is no address; the message says what one looks like.

    Examples
    --------
    >>> address = read_address("serial:///dev/ttyUSB0?baud=921600")
    >>> address.place, address.baud
    ('/dev/ttyUSB0', 921600)
    """
    if url.partition("://")[0] in BY_PYSERIAL:
        return _by_pyserial(url)
    try:
        parts = urlsplit(url)
        port = parts.port or 0
    except ValueError as error:
        raise UsageError(f"{url!r}: {error}; write tcp://host:port with a port from 1 to 65535") from None
    if parts.scheme == "serial" and parts.netloc:
        raise UsageError(f"{url!r}: write three slashes before the path: serial:///{parts.netloc}{parts.path}")
    if parts.scheme == "serial" and parts.path:
        return _serial(parts, url)
    if parts.scheme == "rfc2217" and parts.hostname and port:
        settings = _serial(parts, url)
        if not (settings.dtr and settings.rts):
            raise UsageError(f"{url!r}: a terminal server keeps dtr and rts to itself; set them there")
        return Address(scheme="rfc2217", place=parts.hostname, port=port, baud=settings.baud)
    if parts.scheme in ("tcp", "socket") and parts.hostname and port:  # pyserial's socket:// reads byte by byte
        return Address(scheme="tcp", place=parts.hostname, port=port)
    if parts.scheme == "pty" or (parts.scheme == "memory" and parts.path):
        return Address(scheme=parts.scheme, place=parts.path)
    raise UsageError(
        f"{url!r} is no address of a line: use serial:///dev/ttyUSB0?baud=921600, pty:/dev/pts/7, "
        "tcp://host:port, rfc2217://host:port?baud=921600, memory:NAME, or a URL that pyserial knows "
        f"({', '.join(f'{scheme}://' for scheme in BY_PYSERIAL)})"
    )


def _by_pyserial(url: str) -> Address:
    """Take the baud rate out of a URL, wherever it stands; pyserial has no place of its own for it."""
    found = re.search(r"([?&])baud=([^&]*)(&?)", url)
    if found is None:
        return Address(scheme="pyserial", place=url, baud=DEFAULT_BAUD)
    rest = url[: found.start()] + (found[1] if found[3] else "") + url[found.end() :]
    return Address(scheme="pyserial", place=rest, baud=_baud(found[2], url))


def _baud(text: str, url: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_BAUD):
        raise UsageError(f"{url!r}: baud = {text!r}: give bits per second, 1 to {MAX_BAUD}")
    return int(text)


def _serial(parts: SplitResult, url: str) -> Address:
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    text = options.pop("baud", str(DEFAULT_BAUD))
    serial_number, usb_path = options.pop("serial_number", ""), options.pop("usb_path", "")
    dtr, rts = options.pop("dtr", "on"), options.pop("rts", "on")
    if options or not {dtr, rts} <= {"on", "off"}:
        raise UsageError(
            f"{url!r}: a serial address has the options baud=BITS_PER_SECOND, dtr=on|off and rts=on|off, and for an "
            "adapter that may come back under another name serial_number=TEXT and usb_path=TEXT"
        )
    return Address(
        scheme="serial",
        place=parts.path,
        baud=_baud(text, url),
        serial_number=serial_number,
        usb_path=usb_path,
        dtr=dtr == "on",
        rts=rts == "on",
    )


def serial_url(
    device: str, baud: int, *, serial_number: str = "", usb_path: str = "", dtr: str = "on", rts: str = "on"
) -> str:
    """Give the address of a port that is to be found again by its marks.

    Examples
    --------
    >>> serial_url("/dev/ttyUSB0", 921600, serial_number="FT4VXLDK")
    'serial:///dev/ttyUSB0?baud=921600&serial_number=FT4VXLDK'
    """
    options = {"baud": str(baud), "serial_number": serial_number, "usb_path": usb_path}
    options |= {name: state for name, state in (("dtr", dtr), ("rts", rts)) if state != "on"}
    return f"serial://{device}?{urlencode({name: text for name, text in options.items() if text})}"
