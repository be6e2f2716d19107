"""The finished blocks of an exhaustive campaign, appended to a file as they come, so that a kill loses none of them.

``exhaustive.part`` is one line of JSON, which says what is classified, and a record for each block: its number, the
evaluations that were repeated by whole runs, the bytes of what follows and their CRC-32 (little endian, int64, int64,
uint32, uint32), then the codes, compressed.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError, DataError, Interrupted

LOG_FILE = "exhaustive.part"
RECORD = struct.Struct("<qqII")
Codes = NDArray[np.uint8]


class BlockLog:
    """The log of one directory, open for appending.

    Parameters
    ----------
    directory : Path
        Results directory; the log is made where there is none.
    identity : dict
        Plain JSON: everything that decides what a block's codes are.
    shapes : list of tuple
        Bits and inputs of each block.

    Attributes
    ----------
    finished : dict
        Number of each block that the log holds, its codes and its repeated evaluations. A record that was cut short
        at the end, as a kill does, is dropped.

    Raises
    ------
    ConfigError
        The log is of something else; the message names the first field that differs.
    DataError
        A record in its middle is damaged.
    """

    def __init__(self, directory: Path, identity: dict[str, Any], shapes: list[tuple[int, int]]) -> None:
        self.path = directory / LOG_FILE
        self.finished: dict[int, tuple[Codes, int]] = {}
        end = self._read(identity, shapes) if self.path.exists() else 0
        self._file: BinaryIO = self.path.open("r+b" if end else "wb")
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._write(json.dumps(identity).encode() + b"\n")

    def __enter__(self) -> BlockLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, number: int, codes: Codes, verified: int) -> None:
        """Add a finished block.

        Raises
        ------
        Interrupted
            The disk is full; what was written before is kept.
        """
        body = zlib.compress(codes.tobytes(), 1)
        self._write(RECORD.pack(number, verified, len(body), zlib.crc32(body)) + body)

    def remove(self) -> None:
        """Delete the log, once the file of results is written."""
        self._file.close()
        self.path.unlink()

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise Interrupted(f"{self.path}: {error.strerror}; make room, then run the same again") from None

    def _read(self, identity: dict[str, Any], shapes: list[tuple[int, int]]) -> int:
        """Take in what the log holds, and give the end of its last whole record; 0 where it has no whole first line."""
        data = self.path.read_bytes()
        place = data.find(b"\n") + 1
        if place == 0:
            return 0
        self._compare(data[:place], identity)
        while place + RECORD.size <= len(data):
            number, verified, size, crc = RECORD.unpack_from(data, place)
            body = data[place + RECORD.size : place + RECORD.size + size]
            if len(body) < size:
                break
            if zlib.crc32(body) != crc or not 0 <= number < len(shapes):
                raise DataError(f"{self.path}: damaged at byte {place}: delete the file and run again")
            codes = np.frombuffer(zlib.decompress(body), np.uint8).reshape(shapes[number])
            self.finished[number] = codes, verified
            place += RECORD.size + size
        return place

    def _compare(self, line: bytes, identity: dict[str, Any]) -> None:
        try:
            held = json.loads(line)
        except ValueError:
            raise DataError(f"{self.path}: no log of `hil exhaustive`: delete the file and run again") from None
        for field, value in json.loads(json.dumps(identity)).items():
            if held.get(field) != value:
                raise ConfigError(
                    f"{self.path} was begun with {field} = {held.get(field)}, not {value}: use another --out"
                )


def begun(directory: Path) -> dict[str, Any] | None:
    """Give what the unfinished log of a directory classifies, None where there is none."""
    path = directory / LOG_FILE
    if not path.exists():
        return None
    with path.open("rb") as file:
        line = file.readline()
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
