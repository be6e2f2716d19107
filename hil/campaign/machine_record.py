"""What is written down of strikes on a whole machine: a header and rows that are only appended."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import msgspec

from firmware_bridge.errors import ConfigError, DataError

HEADER_FILE = "machine.json"
ROWS_FILE = "machine.jsonl"
NULL = "nothing"
"""What a null strike strikes."""


class MachineOutcome(Enum):
    """How the machine ended after one strike, from harmless to dead."""

    MASKED = "MASKED"  # every output right, node and machine as before
    CORRECTED = "CORRECTED"  # every output right, something was repaired
    DUE = "DUE"  # the node noticed and refused to answer
    SDC_TOLERABLE = "SDC_TOLERABLE"  # a wrong output delivered as right
    SDC_CRITICAL = "SDC_CRITICAL"  # the same, critical by the campaign's measure
    HANG = "HANG"  # the watchdog ended a computer that made no progress
    CRASH = "CRASH"  # a process of the node ended and was started again
    REBOOT = "REBOOT"  # the kernel gave up and restarted the machine
    DEAD = "DEAD"  # no answer until the power was cycled

    @property
    def is_failure(self) -> bool:
        """True when an inference was wrong or never came."""
        return self not in (MachineOutcome.MASKED, MachineOutcome.CORRECTED)


class StruckClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Memory that is used for one thing, and how much of it there is."""

    name: str
    size_bytes: int


class MachineHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was struck, in which machine, under what load.

    ``trials`` is the number of strikes on each class, and of null strikes.
    """

    name: str
    strike_key: str
    model_digest: str
    trials: int
    inferences: int
    memory_bytes: int
    classes: tuple[StruckClass, ...]
    kernel: str


class MachineRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One strike: bit ``bit`` of the RAM, -1 for none."""

    trial: int
    struck: str
    bit: int
    outcome: str
    detail: str = ""


_encode = msgspec.json.Encoder().encode


def read_machine_header(directory: Path) -> MachineHeader:
    """Give the header of a directory."""
    try:
        return msgspec.json.decode((directory / HEADER_FILE).read_bytes(), type=MachineHeader)
    except FileNotFoundError:
        raise ConfigError(f"{directory}: no {HEADER_FILE} here; give the directory of `run --strike machine`") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{directory / HEADER_FILE}: cannot be read: {error}") from None


def read_machine_rows(directory: Path) -> Iterator[MachineRow]:
    """Give every complete row; a last line that a kill cut short is left out."""
    path = directory / ROWS_FILE
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield msgspec.json.decode(line, type=MachineRow)
        except msgspec.MsgspecError as error:
            raise DataError(f"{path}, line {number}: not a row: {error}") from None


class MachineStore:
    """A directory that is open for appending.

    Parameters
    ----------
    directory : Path
        Made if missing.
    header : MachineHeader
        What this run is. One that was begun is gone on with: its own header then stays, since the sizes of classes
        differ a little from boot to boot.

    Raises
    ------
    ConfigError
        The directory holds strikes of another campaign.
    """

    def __init__(self, directory: Path, header: MachineHeader) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / ROWS_FILE
        if not (directory / HEADER_FILE).exists():
            (directory / HEADER_FILE).write_bytes(msgspec.json.format(_encode(header), indent=1))
        held = read_machine_header(directory)
        if (held.strike_key, held.model_digest) != (header.strike_key, header.model_digest):
            raise ConfigError(f"{directory} holds strikes of another campaign; choose another --out")
        self.done = {(row.trial, row.struck) for row in read_machine_rows(directory)}
        whole = b"".join(_encode(row) + b"\n" for row in read_machine_rows(directory))
        if self._path.exists() and self._path.stat().st_size != len(whole):
            self._path.write_bytes(whole)

    def append(self, row: MachineRow) -> None:
        """Write one row."""
        with self._path.open("ab") as file:
            file.write(_encode(row) + b"\n")
        self.done.add((row.trial, row.struck))
