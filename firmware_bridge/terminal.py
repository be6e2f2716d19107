"""What a serial port needs before bytes pass through it unharmed: raw mode, and nobody else reading."""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios
from collections.abc import Iterator
from pathlib import Path

from .errors import PortError

_INPUT_CHANGES = (termios.BRKINT | termios.PARMRK | termios.INPCK | termios.ISTRIP | termios.INLCR | termios.IGNCR) | (
    termios.ICRNL | termios.IXON | termios.IXOFF
)
_LOCAL_CHANGES = termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN


def lock(descriptor: int, path: str) -> None:
    """Keep others out: flock for those who ask, TIOCEXCL for those who do not (root is let in all the same)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise busy(path) from error
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, termios.TIOCEXCL)


def busy(path: str) -> PortError:
    """The error of a port that somebody else has open."""
    pid = holder(path)
    who = "another process" if pid is None else f"process {pid}"
    return PortError(f"{path} is busy: {who} has it open; stop that program first")


def holder(path: str) -> int | None:
    """The process that has ``path`` open: by the kernel's list of locks, else by the files that processes have open.

    None where there is none, or where it belongs to somebody whose files are not ours to see.
    """
    device = Path(path).stat()
    mark = f"{os.major(device.st_dev):02x}:{os.minor(device.st_dev):02x}:{device.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == mark and int(words[4]) > 0:
                return int(words[4])
    return next(_having_open(str(Path(path).resolve())), None)


def _having_open(path: str) -> Iterator[int]:
    """The other processes that have a file open."""
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):  # gone meanwhile, or of another user
                if any(str(entry.readlink()) == path for entry in (process / "fd").iterdir()):
                    yield int(process.name)


def make_raw(descriptor: int, name: str) -> None:
    """Let all 256 byte values through unchanged, both ways, and check that the terminal took it.

    Raises
    ------
    PortError
        If it is no terminal or keeps changing bytes.
    """
    try:
        _, oflag, cflag, _, ispeed, ospeed, cc = termios.tcgetattr(descriptor)
        cflag = cflag & ~(termios.CSIZE | termios.PARENB | termios.CSTOPB | termios.HUPCL)
        cflag |= termios.CS8 | termios.CLOCAL | termios.CREAD
        cc[termios.VMIN], cc[termios.VTIME] = 1, 0
        wanted = [0, oflag & ~termios.OPOST, cflag, 0, ispeed, ospeed, cc]
        termios.tcsetattr(descriptor, termios.TCSANOW, wanted)
        now = termios.tcgetattr(descriptor)
    except termios.error as error:
        raise PortError(f"{name} is no serial port: {error.args[-1]}") from error
    changing = (now[0] & _INPUT_CHANGES) | (now[1] & termios.OPOST) | (now[3] & _LOCAL_CHANGES)
    if changing:
        raise PortError(f"{name} does not take raw mode: it would change bytes on the way")
