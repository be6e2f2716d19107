"""The bench file: the boards on this desk, each by a name and by what does not change when cables are moved.

::

    [[board]]
    name = "pi4"
    serial_number = "FT4VXLDK"   # of the USB adapter; or usb_path = "1-1.4", or url = "tcp://pi4:7001"
    baud = 921600
    dtr = "off"                  # lines that would reset the board or hold it in reset; also rts
    power = { cycle = "uhubctl -l 1-1 -p 2 -a cycle" }   # see hil.boards.power
    capabilities = ["fan"]       # what a campaign may ask for with `requires`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from firmware_bridge.address import serial_url
from firmware_bridge.errors import ConfigError, PortError
from hil.boards.address import OWN_NODES, SEPARATOR, check_target, targets_of
from hil.boards.power import PowerHooks, PowerSwitch
from hil.toml_file import advice, check_keys, read_document, toml_text, typed_table

if TYPE_CHECKING:
    from firmware_bridge.ports import PortInfo

    PortLister = Callable[[], Sequence[PortInfo]]

BENCH_FILE = "bench.toml"
PREFIX = "bench:"
BOOT_S = 90.0
PASSING_NAME = re.compile(r"serial://(/dev/tty(?:USB|ACM)\d+)\b")
"""The kernel gives these names out in the order in which adapters are plugged in."""


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
    dtr, rts : {"on", "off"}
        How these lines are left when the port is open, for boards that reset on one of them; as ``baud``.
    boot_s : float
        So long the board may be silent while it boots; after that its power is cycled, where there are hooks.
    power : PowerHooks or None
        How its power is switched.
    capabilities : tuple of str
        Words of your own for what the board has; a campaign may require them.
    note : str
        For people.
    """

    name: str
    url: str = ""
    serial_number: str = ""
    usb_path: str = ""
    baud: Annotated[int, msgspec.Meta(ge=1200, le=20_000_000)] = 921_600
    dtr: Literal["on", "off"] = "on"
    rts: Literal["on", "off"] = "on"
    boot_s: Annotated[float, msgspec.Meta(ge=0.0, le=3600.0)] = BOOT_S
    power: PowerHooks | None = None
    capabilities: tuple[str, ...] = ()
    note: str = ""

    def switch(self) -> PowerSwitch | None:
        """Give what switches its power; None without hooks."""
        if self.power is None:
            return None
        marks = {"name": self.name, "serial_number": self.serial_number, "usb_path": self.usb_path}
        return PowerSwitch(self.power, marks)


BY_MARKS = Board(name="")
"""What an entry without a URL says where it says nothing."""


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


def find_board(target: str, folders: Iterable[Path]) -> Board:
    """Give the entry of ``bench:NAME``.

    Parameters
    ----------
    target : str
        As in a campaign file or behind ``--target``.
    folders : iterable of Path
        Where ``bench.toml`` is looked for; the first one that names the board counts.

    Raises
    ------
    ConfigError
        No bench file, or no such board in any.
    """
    name = target.removeprefix(PREFIX)
    searched = list(dict.fromkeys(folder.absolute() / BENCH_FILE for folder in folders))
    known: dict[Path, list[str]] = {}
    for path in searched:
        if path.is_file():
            boards = load_bench(path)
            if name in boards:
                return boards[name]
            known[path] = list(boards)
    if not known:
        places = " or ".join(str(path) for path in searched)
        raise ConfigError(f"{target}: no {BENCH_FILE}; write {places}, or give a URL")
    names = [board for listed in known.values() for board in listed]
    raise ConfigError(f"{target}: {' and '.join(map(str, known))}: no board {name!r}; {advice(name, names)}")


def resolve_target(target: str, folders: Sequence[Path]) -> str:
    """Give the URL behind each ``bench:NAME``; any other target is given back as it is.

    Raises
    ------
    ConfigError
        See :func:`find_board`.
    PortError
        The board is known, and no port of this machine is its.
    """
    return SEPARATOR.join(_url(one, folders) for one in targets_of(target))


def _url(target: str, folders: Sequence[Path]) -> str:
    if not target.startswith(PREFIX):
        return target
    return board_url(find_board(target, folders), ports_of_this_machine)


def plain_target(target: str, folders: Sequence[Path]) -> str:
    """Give a target as a campaign keeps it: ``bench:NAME`` stays, unless that is a node which any machine can make.

    Raises
    ------
    ConfigError
        See :func:`find_board`.
    """
    return SEPARATOR.join(_plain(one, folders) for one in targets_of(target))


def _plain(target: str, folders: Sequence[Path]) -> str:
    if not target.startswith(PREFIX):
        return target
    url = find_board(target, folders).url
    return url if url in OWN_NODES else target


def boards_of(target: str, folders: Sequence[Path]) -> tuple[Board, ...]:
    """Give the entries that a target names, none for a target without ``bench:``."""
    return tuple(find_board(one, folders) for one in targets_of(target) if one.startswith(PREFIX))


def check_capabilities(required: Iterable[str], target: str, folders: Sequence[Path]) -> None:
    """Raise ConfigError unless the bench file says that every node of ``target`` has what is required."""
    for capability in required:
        for one in targets_of(target):
            has = find_board(one, folders).capabilities if one.startswith(PREFIX) else ()
            if capability not in has:
                raise ConfigError(
                    f"[campaign]: requires = {capability!r}: nothing says that {one} has it; choose a board of "
                    f"{BENCH_FILE} whose capabilities name it"
                )


def bench_text(boards: Iterable[Board]) -> str:
    """Give a bench file of these boards."""
    tables = []
    for board in boards:
        entry = msgspec.structs.asdict(board)
        if board.power is not None:
            entry["power"] = {key: value for key, value in msgspec.structs.asdict(board.power).items() if value != ""}
        tables.append({key: value for key, value in entry.items() if value not in ("", ())})
    return toml_text({"board": tables})


def ports_of_this_machine() -> Sequence[PortInfo]:
    """Give the serial ports that exist here."""
    from firmware_bridge.ports import list_ports

    return list_ports()


def board_url(board: Board, ports: PortLister) -> str:
    """Give the URL of a board, looking its port up among ``ports()`` where it is known by its adapter."""
    from firmware_bridge.ports import ports_with

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
    marks = {"serial_number": board.serial_number, "usb_path": board.usb_path}
    return serial_url(matching[0].device, board.baud, **marks, dtr=board.dtr, rts=board.rts)


def _check(board: Board, where: str) -> None:
    if not board.name or not board.name.isprintable() or " " in board.name:
        raise ConfigError(f"{where}: name = {board.name!r}; give a name without spaces")
    if bool(board.url) == bool(board.serial_number or board.usb_path):
        raise ConfigError(f"{where} ({board.name}): give either url, or serial_number and/or usb_path")
    if board.url.startswith(PREFIX):
        raise ConfigError(f"{where} ({board.name}): url = {board.url!r}: a board cannot be another entry; give its URL")
    if SEPARATOR in board.name or len(targets_of(board.url)) > 1:
        raise ConfigError(f"{where} ({board.name}): an entry is one board: no comma in name or url")
    if board.url:
        _check_url(board, f"{where} ({board.name})")
    if board.power is not None and board.power.problem:
        raise ConfigError(f"{where} ({board.name}): power: {board.power.problem}")


def _check_url(board: Board, where: str) -> None:
    check_target(board.url, f"{where}: url")
    passing = PASSING_NAME.match(board.url)
    if passing:
        raise ConfigError(
            f"{where}: url = {board.url!r}: {passing[1]} may be another adapter tomorrow; give serial_number or "
            "usb_path instead, as `hil suggest` prints them"
        )
    given = [name for name in ("baud", "dtr", "rts") if getattr(board, name) != getattr(BY_MARKS, name)]
    if given:
        raise ConfigError(
            f"{where}: {given[0]} goes with serial_number or usb_path; write it into the url: "
            f"serial:///dev/ttyAMA0?{given[0]}={getattr(board, given[0])}"
        )
