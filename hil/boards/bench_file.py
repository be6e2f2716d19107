"""The bench file: the boards on this desk, each by a name and by what does not change when cables are moved.

::

    [[board]]
    name = "pi4"
    serial_number = "FT4VXLDK"   # of the USB adapter; or usb_path = "1-1.4", or url = "tcp://pi4:7001"
    baud = 921600
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from firmware_bridge.address import serial_url
from firmware_bridge.errors import ConfigError, PortError
from hil.boards.address import check_target
from hil.toml_file import advice, check_keys, read_document, typed_table

if TYPE_CHECKING:
    from firmware_bridge.transport import PortInfo

    PortLister = Callable[[], Sequence[PortInfo]]

BENCH_FILE = "bench.toml"
PREFIX = "bench:"


class Board(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One board: a URL, or the serial number or USB path of the adapter that it hangs on.

    Parameters
    ----------
    name : str
        What ``--target bench:NAME`` calls it.
    url : str
        Any target but another bench entry; then neither of the next two may be given.
    serial_number : str
        Serial number of the USB adapter.
    usb_path : str
        Where the adapter is plugged in, as ``hil devices`` prints it (``1-1.4``): for adapters without a serial number.
    baud : int
        Symbols per second on the line; only for ports found by serial number or USB path.
    note : str
        For people.
    """

    name: str
    url: str = ""
    serial_number: str = ""
    usb_path: str = ""
    baud: Annotated[int, msgspec.Meta(ge=1200, le=20_000_000)] = 921_600
    note: str = ""


def load_bench(path: Path) -> dict[str, Board]:
    """Give the boards of a bench file by name; every error names file, entry and remedy."""
    document = read_document(path, "write one with `hil init --example DIR`")
    check_keys(document, ["board"], str(path))
    tables = document.get("board", [])
    if not isinstance(tables, list):
        raise ConfigError(f"{path}: [[board]]: expected tables; write each board under its own [[board]]")
    boards: dict[str, Board] = {}
    for number, table in enumerate(tables, 1):
        where = f"{path}: [[board]] number {number}"
        board = typed_table(table, Board, where)
        _check(board, where)
        if board.name in boards:
            raise ConfigError(f"{where}: name = {board.name!r} stands there twice; names must differ")
        boards[board.name] = board
    return boards


def resolve_target(target: str, folders: Iterable[Path]) -> str:
    """Give the URL behind ``bench:NAME``; any other target is given back as it is.

    Parameters
    ----------
    target : str
        As in a campaign file or behind ``--target``.
    folders : iterable of Path
        Where ``bench.toml`` is looked for; the first one found counts.

    Raises
    ------
    ConfigError
        No bench file, or no such board in it.
    PortError
        The board is known, and no port of this machine is its.
    """
    if not target.startswith(PREFIX):
        return target
    searched = [folder / BENCH_FILE for folder in folders]
    found = next((path for path in searched if path.is_file()), None)
    if found is None:
        places = " or ".join(str(path) for path in searched)
        raise ConfigError(f"{target}: no {BENCH_FILE}; write {places}, or give a URL")
    boards = load_bench(found)
    name = target.removeprefix(PREFIX)
    if name not in boards:
        raise ConfigError(f"{target}: {found} has no board {name!r}; {advice(name, boards)}")
    return board_url(boards[name], ports_of_this_machine)


def ports_of_this_machine() -> Sequence[PortInfo]:
    """Give the serial ports that exist here."""
    from firmware_bridge.transport import list_ports

    return list_ports()


def board_url(board: Board, ports: PortLister) -> str:
    """Give the URL of a board, looking its port up among ``ports()`` where it is known by its adapter."""
    from firmware_bridge.transport import ports_with

    if board.url:
        return board.url
    listed = ports()
    matching = ports_with(listed, board.serial_number, board.usb_path)
    wanted = " and ".join(
        f"{key} {value!r}"
        for key, value in (("serial number", board.serial_number), ("USB path", board.usb_path))
        if value
    )
    if not matching:
        there = "; ".join(f"{port.device} has {port.serial_number or port.usb_path or 'neither'}" for port in listed)
        raise PortError(f"board {board.name!r}: no port with {wanted}; plug it in ({there or 'no serial port here'})")
    if len(matching) > 1:
        devices = ", ".join(port.device for port in matching)
        raise PortError(f"board {board.name!r}: {devices} all have {wanted}; add usb_path to tell them apart")
    return serial_url(matching[0].device, board.baud, serial_number=board.serial_number, usb_path=board.usb_path)


def _check(board: Board, where: str) -> None:
    if not board.name or not board.name.isprintable() or " " in board.name:
        raise ConfigError(f"{where}: name = {board.name!r}; give a name without spaces")
    if bool(board.url) == bool(board.serial_number or board.usb_path):
        raise ConfigError(f"{where} ({board.name}): give either url, or serial_number and/or usb_path")
    if board.url.startswith(PREFIX):
        raise ConfigError(f"{where} ({board.name}): url = {board.url!r}: a board cannot be another entry; give its URL")
    if board.url:
        check_target(board.url, f"{where} ({board.name}): url")
