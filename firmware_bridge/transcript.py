"""What went over a line, with times: a compact file that can be read, compared and played back.

A file begins with :data:`MAGIC`, the role of the end that wrote it (u8, 0 host, 1 node) and the start of the
recording (u64, microseconds since 1970). Then records to the end of the file: a number that holds the kind in its
two lowest bits (0 sent, 1 received, 2 line opened) and above them the microseconds since the record before, the
number of bytes, the bytes. Numbers are LEB128: seven bits a byte, the lowest first, the top bit set on all but the
last.

A record is a frame, or what passed without a delimiter: its time is that of its first bytes. A file that ends in
the middle of a record was cut short by the end of its program, and is read up to there.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

from .errors import ConfigError, DataError
from .framing import DELIMITER, MAX_ENCODED

MAGIC = b"FNTR\x01"
FOLDER_VARIABLE = "FLIGHTNODE_TRANSCRIPTS"
"""The environment variable that names a folder into which every channel writes its transcript."""
SUFFIX = ".fntr"

_HEAD = struct.Struct(">BQ")
_ROLES = ("host", "node")
_FLUSH_BYTES = 1 << 16
_LONGEST_WAIT_US = 10_000


class Direction(IntEnum):
    """Seen from the end that recorded."""

    SENT = 0
    RECEIVED = 1
    OPENED = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Bytes that passed, and when: microseconds since the recording began."""

    time_us: int
    direction: Direction
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """A recording: by whom (``host`` or ``node``), from when (seconds since 1970), and what."""

    role: str
    started_s: float
    records: tuple[Record, ...]


class Recorder:
    """Writes a transcript as bytes pass. Every byte of traffic costs at most a fifth more in the file.

    Parameters
    ----------
    file
        Open for writing in binary; the recorder closes it.
    role
        The end that records.
    now_s
        The time from which the stamps count, of the same clock as later ones.
    """

    def __init__(self, file: BinaryIO, role: str, now_s: float) -> None:
        self._file = file
        self._last_us = round(now_s * 1e6)
        self._open: dict[Direction, tuple[int, bytearray]] = {}
        self._buffer = bytearray(MAGIC + _HEAD.pack(_ROLES.index(role), time.time_ns() // 1000))

    @classmethod
    def from_environment(cls, role: str, now_s: float) -> Recorder | None:
        """A recorder into a new file of the folder that the environment names; None where it names none.

        Raises
        ------
        ConfigError
            If the file cannot be made.
        """
        folder = os.environ.get(FOLDER_VARIABLE)
        if not folder:
            return None
        path = Path(folder) / f"{time.strftime('%Y%m%dT%H%M%S')}-{role}-{os.getpid()}-{time.monotonic_ns()}{SUFFIX}"
        try:
            return cls(path.open("xb"), role, now_s)
        except OSError as error:
            raise ConfigError(f"{FOLDER_VARIABLE}={folder}: {error.strerror}; make that folder first") from error

    def opened(self, now_s: float) -> None:
        """Note that the line was opened anew."""
        self._finish_all()
        self._write(round(now_s * 1e6), Direction.OPENED, b"")

    def passed(self, direction: Direction, data: bytes, now_s: float) -> None:
        """Note bytes that were sent or received; a frame in pieces becomes one record."""
        now_us = round(now_s * 1e6)
        held = self._open.pop(direction, None)
        if held is not None and (now_us - held[0] > _LONGEST_WAIT_US or len(held[1]) > MAX_ENCODED):
            self._write(*self._as_record(direction, held))
            held = None
        start_us, pending = held if held is not None else (now_us, bytearray())
        pending += data
        end = pending.rfind(DELIMITER) + 1
        if end:
            self._finish_all()
            self._write(start_us, direction, bytes(pending[:end]))
            start_us, pending = now_us, pending[end:]
        if pending:
            self._open[direction] = (start_us, pending)

    @staticmethod
    def _as_record(direction: Direction, held: tuple[int, bytearray]) -> tuple[int, Direction, bytes]:
        return held[0], direction, bytes(held[1])

    def _finish_all(self) -> None:
        for direction, held in sorted(self._open.items(), key=lambda item: item[1][0]):
            self._write(*self._as_record(direction, held))
        self._open.clear()

    def _write(self, time_us: int, direction: Direction, data: bytes) -> None:
        delta_us = max(0, time_us - self._last_us)  # a frame in pieces may be older than what passed meanwhile
        self._last_us += delta_us
        self._buffer += _number(delta_us << 2 | direction) + _number(len(data)) + data
        if len(self._buffer) >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        self._file.write(self._buffer)
        self._file.flush()
        self._buffer.clear()

    def close(self) -> None:
        """Write what is held and close the file."""
        if not self._file.closed:
            self._finish_all()
            self._flush()
            self._file.close()


def read_transcript(path: Path) -> Transcript:
    """Give what a file holds.

    Raises
    ------
    DataError
        If it is no transcript.
    """
    data = path.read_bytes()
    start = len(MAGIC) + _HEAD.size
    if not data.startswith(MAGIC) or len(data) < start or data[len(MAGIC)] >= len(_ROLES):
        raise DataError(f"{path} is no transcript: record one with `hil transcript record`")
    role, started_us = _HEAD.unpack_from(data, len(MAGIC))
    return Transcript(role=_ROLES[role], started_s=started_us / 1e6, records=tuple(_records(data, start, path)))


def _records(data: bytes, at: int, path: Path) -> Iterator[Record]:
    time_us = 0
    try:
        while at < len(data):
            number, at = _read_number(data, at)
            size, at = _read_number(data, at)
            if at + size > len(data):
                return
            if number & 3 > Direction.OPENED:
                raise DataError(f"{path}: a record of unknown kind before byte {at}: the file is damaged")
            time_us += number >> 2
            yield Record(time_us=time_us, direction=Direction(number & 3), data=data[at : at + size])
            at += size
    except IndexError:
        return  # cut short within a number


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | data[at] << shift, at + 1
