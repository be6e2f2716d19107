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
    """Memory that is used for one thing, how much of it there is, and how many bits of it a trial strikes at once."""

    name: str
    size_bytes: int
    bits: int = 1


class MachineHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was struck, in which machine, under what load.

    ``trials`` is the number of trials on each class, and of null strikes; each strikes ``density`` bits in a MiB.
    """

    name: str
    strike_key: str
    model_digest: str
    trials: int
    density: float
    inferences: int
    memory_bytes: int
    classes: tuple[StruckClass, ...]
    kernel: str


class MachineRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trial: the bits of the RAM that were struck at once, none in a null strike."""

    trial: int
    struck: str
    bits: tuple[int, ...]
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
        What this run is. One that was begun is gone on with, and may come to more classes and trials: the sizes that
        it gave its classes stay, since they differ a little from boot to boot.

    Raises
    ------
    ConfigError
        The directory holds strikes of another campaign.
    """

    def __init__(self, directory: Path, header: MachineHeader) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / ROWS_FILE
        if (directory / HEADER_FILE).exists():
            header = _continued(directory, read_machine_header(directory), header)
        (directory / HEADER_FILE).write_bytes(msgspec.json.format(_encode(header), indent=1))
        self.done = {(row.trial, row.struck) for row in read_machine_rows(directory)}
        whole = b"".join(_encode(row) + b"\n" for row in read_machine_rows(directory))
        if self._path.exists() and self._path.stat().st_size != len(whole):
            self._path.write_bytes(whole)

    def append(self, row: MachineRow) -> None:
        """Write one row."""
        with self._path.open("ab") as file:
            file.write(_encode(row) + b"\n")
        self.done.add((row.trial, row.struck))


def _continued(directory: Path, held: MachineHeader, header: MachineHeader) -> MachineHeader:
    """Give the header of a directory in which ``held`` stands and which is gone on with."""
    same = ("strike_key", "model_digest", "density", "memory_bytes", "kernel")
    if any(getattr(held, name) != getattr(header, name) for name in same):
        raise ConfigError(f"{directory} holds strikes of another campaign or another --density; choose another --out")
    known = {found.name for found in held.classes}
    classes = (*held.classes, *(found for found in header.classes if found.name not in known))
    return msgspec.structs.replace(held, classes=classes, trials=max(held.trials, header.trials))
