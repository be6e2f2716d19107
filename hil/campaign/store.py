"""The results directory: a header, and an append-only file of rows that is the truth.

``record.json`` is written once. ``rows.jsonl`` only grows: one JSON object a line. A line that a kill cut short
is dropped when the directory is opened again, and its trial is run again.

A row is in the system's hands once it is appended, so no end of this process loses it. The medium is waited for at
the end alone: a power cut may cost the rows of the last seconds, which are run again too, since rows follow from their
number.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import msgspec

from firmware_bridge.errors import ConfigError, DataError, Interrupted
from hil.campaign.record import SCHEMA_VERSION, Header, Row, StopRow

HEADER_FILE = "record.json"
ROWS_FILE = "rows.jsonl"
CONFIRMATION_FOLDER = "confirmation"

_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(Row).decode
_decode_header = msgspec.json.Decoder(Header).decode


def read_header(directory: Path) -> Header:
    """Give the header of a results directory."""
    path = directory / HEADER_FILE
    try:
        header = _decode_header(path.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{directory}: no {HEADER_FILE} here: give the directory of a run") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: cannot be read as a campaign's record: {error}") from None
    if header.schema != SCHEMA_VERSION:
        raise DataError(f"{path}: schema {header.schema}; this version reads {SCHEMA_VERSION}")
    return header


def confirmation_folder(directory: Path) -> Path | None:
    """Give where a run keeps the results of its confirmation on fresh strikes; None where there is none."""
    folder = directory / CONFIRMATION_FOLDER
    return folder if (folder / HEADER_FILE).exists() else None


def holds_rows(directory: Path) -> bool:
    """True where something was measured already."""
    path = directory / ROWS_FILE
    return path.exists() and path.stat().st_size > 0


def read_rows(directory: Path) -> Iterator[Row]:
    """Give every complete row, in the order written; an incomplete last line is left out."""
    path = directory / ROWS_FILE
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _decode_row(line)
            except msgspec.MsgspecError as error:
                raise DataError(f"{path}, line {number}: not a row: {error}") from None


def stopped_at(rows: Iterable[Row]) -> int | None:
    """Give after how many trials of each protection a run had seen enough; None where it did not stop early."""
    return next((row.trials for row in rows if isinstance(row, StopRow)), None)


class Store:
    """A results directory that is open for appending; one writer at a time.

    Parameters
    ----------
    directory : Path
        Created if missing.
    header : Header
        What this run is. A directory that holds another run is refused, with the field that differs.
    """

    def __init__(self, directory: Path, header: Header) -> None:
        self.directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(directory / ROWS_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(
                f"{directory}: cannot write results here: {error.strerror}; choose another --out"
            ) from None
        try:
            self._lock()
            self.header = self._settle_header(header)
            self._drop_torn_line()
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{self.directory}: another process is writing here; wait for it or choose another --out"
            ) from None

    def _settle_header(self, header: Header) -> Header:
        path = self.directory / HEADER_FILE
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            with _full_disk_is_named(self.directory):
                with temporary.open("wb") as file:
                    file.write(msgspec.json.format(_encode(header), indent=1))
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            return header
        held = read_header(self.directory)
        for field in Header.__struct_fields__:
            if field != "created" and getattr(held, field) != getattr(header, field):
                raise ConfigError(
                    f"{self.directory} holds another run: {field} differs "
                    f"({brief(getattr(held, field))} there, {brief(getattr(header, field))} now); "
                    "choose another --out"
                )
        return held

    def _drop_torn_line(self) -> None:
        size = os.fstat(self._fd).st_size
        end = size
        while end > 0:
            start = max(0, end - 65536)
            block = os.pread(self._fd, end - start, start)
            cut = block.rfind(b"\n")
            if cut >= 0:
                end = start + cut + 1
                break
            end = start
        if end != size:
            os.ftruncate(self._fd, end)
        os.lseek(self._fd, end, os.SEEK_SET)

    def append(self, *rows: Row) -> None:
        """Append rows; a full disk keeps every complete row and raises Interrupted."""
        data = b"".join(_encode(row) + b"\n" for row in rows)
        with _full_disk_is_named(self.directory):
            while data:
                data = data[os.write(self._fd, data) :]

    def rows(self) -> Iterator[Row]:
        """Give every row held."""
        return read_rows(self.directory)

    def close(self) -> None:
        """Wait for the medium and give the directory free."""
        try:
            with _full_disk_is_named(self.directory):
                os.fsync(self._fd)
        finally:
            os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _full_disk_is_named:  # noqa: N801 - reads as a statement
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            raise Interrupted(
                f"{self._directory}: {error.strerror}; what was measured is kept: make room, "
                f"then `hil resume {self._directory}`"
            ) from error


def brief(value: object) -> str:
    """Give a value as a message can hold it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
