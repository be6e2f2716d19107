"""Log lines on standard error that never hold up whoever writes them."""

from __future__ import annotations

import os
import select

PIPE_BUF = 4096
"""A pipe or terminal that is writable takes so many bytes at once (POSIX: at least 512, Linux: 4096)."""


class StderrLog:
    r"""Writes lines to a descriptor while there is room, and counts what it had to drop.

    A node whose log goes into a pipe that nobody reads must go on serving its line and its watchdog.

    Parameters
    ----------
    descriptor : int
        Where to write; standard error by default.

    Examples
    --------
    >>> import os
    >>> reader, writer = os.pipe()
    >>> StderrLog(writer).line("serving pty:")
    >>> os.read(reader, 100)
    b'flightnode: serving pty:\n'
    """

    def __init__(self, descriptor: int = 2) -> None:
        self._descriptor = descriptor
        self.dropped_bytes = 0

    def line(self, text: str) -> None:
        """Write one line of the node's own."""
        self.raw(f"flightnode: {text}\n".encode(errors="replace"))

    def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        for start in range(0, len(data), PIPE_BUF):
            piece = data[start : start + PIPE_BUF]
            written = self._write(piece)
            self.dropped_bytes += len(piece) - written

    def _write(self, piece: bytes) -> int:
        try:
            _, writable, _ = select.select([], [self._descriptor], [], 0)
            return os.write(self._descriptor, piece) if writable else 0
        except (OSError, ValueError):  # closed, or its reader is gone: there is nobody to tell
            return 0
