"""Looks at this machine and says what would slow a run down or stop it, each with a one-line remedy.

::

    check = (name, "ok" | "warn" | "fail", detail, remedy)

``fail`` means that nothing can be run; ``warn`` that something is slow or that a part, such as a serial port, cannot
be used.
"""

from __future__ import annotations

import grp
import os
import platform
import shutil
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from firmware_bridge.transport import PortInfo

State = Literal["ok", "warn", "fail"]

LEAST_SPACE_MB = 200
"""A campaign of ten thousand trials and its report stay below this."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at; ``remedy`` is empty where there is nothing to do."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(runs: Path) -> tuple[Check, ...]:
    """Give every check of this machine.

    Parameters
    ----------
    runs : Path
        Folder that results would go to; it need not exist.
    """
    from hil.boards.bench_file import ports_of_this_machine

    return (
        check_bits(struct.calcsize("P") * 8),
        *(check_version(name) for name in ("python", "numpy", "numba", "onnx", "msgspec", "pyserial")),
        _guarded("crc engine", _crc_engine),
        _guarded("numba cache", _numba_cache),
        *check_ports(ports_of_this_machine()),
        check_modem_manager(Path("/proc")),
        _guarded("sensors", _sensors),
        check_space(runs),
    )


def check_bits(bits: int) -> Check:
    """Check the word size: numba and the image format need 64 bits."""
    if bits == 64:
        return Check(name="system", state="ok", detail=f"{platform.system()} {platform.machine()}, 64 bit")
    remedy = "install the 64-bit system (Raspberry Pi OS 64-bit)"
    return Check(name="system", state="fail", detail=f"{bits} bit", remedy=remedy)


def check_version(name: str) -> Check:
    """Check that a distribution is installed (``python`` is the interpreter), and which version."""
    if name == "python":
        return Check(name=name, state="ok", detail=platform.python_version())
    try:
        return Check(name=name, state="ok", detail=metadata.version(name))
    except metadata.PackageNotFoundError:
        return Check(name=name, state="fail", detail="not installed", remedy=f"pip install {name}")


def check_crc(engine: str) -> Check:
    """Check which engine of crcmod computes the checksums."""
    if engine == "crcmod C":
        return Check(name="crc engine", state="ok", detail=engine)
    remedy = "pip uninstall crcmod crcmod-plus; pip install crcmod-plus"
    return Check(name="crc engine", state="warn", detail=f"{engine}: some 60 times slower", remedy=remedy)


def check_ports(ports: Sequence[PortInfo]) -> tuple[Check, ...]:
    """Check that serial ports exist and that this user may open them."""
    if not ports:
        remedy = "plug the adapter in, or use --target sim or pty, which need none"
        return (Check(name="serial ports", state="ok", detail="none found", remedy=remedy),)
    return tuple(check_port(port.device, port.description) for port in ports)


def check_port(device: str, description: str) -> Check:
    """Check that this user may read and write a device."""
    name = f"port {device}"
    if os.access(device, os.R_OK | os.W_OK):
        return Check(name=name, state="ok", detail=description or "serial port")
    group = _group_of(device)
    remedy = f"sudo usermod -aG {group} $USER, then log out and in again"
    return Check(name=name, state="warn", detail=f"no permission (group {group})", remedy=remedy)


def check_modem_manager(processes: Path) -> Check:
    """Check that no ModemManager probes new ports with modem commands while a board listens on them."""
    running = any(_line(name) == "ModemManager" for name in processes.glob("[0-9]*/comm"))
    if not running:
        return Check(name="ModemManager", state="ok", detail="not running")
    remedy = "sudo systemctl disable --now ModemManager"
    return Check(name="ModemManager", state="warn", detail="running: it talks into new serial ports", remedy=remedy)


def check_space(runs: Path) -> Check:
    """Check that results can be written, and that there is room for them."""
    place = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.exists())
    if not os.access(place, os.W_OK):
        detail = f"{place}: no permission to write"
        return Check(name="disk", state="warn", detail=detail, remedy="change to a folder of yours, or give --out")
    free_mb = shutil.disk_usage(place).free // 2**20
    detail = f"{free_mb} MB free for {runs}/"
    if free_mb < LEAST_SPACE_MB:
        return Check(name="disk", state="warn", detail=detail, remedy="make room, or give --out on another disk")
    return Check(name="disk", state="ok", detail=detail)


def exit_code(checks: Iterable[Check]) -> int:
    """Give 1 if anything that prevents running failed, else 0."""
    return int(any(check.state == "fail" for check in checks))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """Turn a part that cannot even be loaded into a failed check."""
    try:
        return check()
    except (ImportError, OSError) as error:
        remedy = "pip install --force-reinstall flightnode"
        return Check(name=name, state="fail", detail=f"{type(error).__name__}: {error}", remedy=remedy)


def _crc_engine() -> Check:
    from firmware_bridge.crc import engine

    return check_crc(engine())


def _numba_cache() -> Check:
    from node.jit import CACHE_DIRECTORY

    if any(CACHE_DIRECTORY.rglob("*.nbi")):
        return Check(name="numba cache", state="ok", detail=f"{CACHE_DIRECTORY}, warm")
    remedy = "nothing to do: the first run compiles and fills it"
    return Check(name="numba cache", state="ok", detail=f"{CACHE_DIRECTORY}, writable, empty", remedy=remedy)


def _sensors() -> Check:
    from node.vitals import NONE, Sensors

    vitals = Sensors().read()
    sources = {
        "temperature": vitals.temperature_source,
        "clock": vitals.clock_source,
        "throttle flags": vitals.throttled_source,
    }
    detail = ", ".join(f"{name}: {source}" for name, source in sources.items())
    missing = [name for name, source in sources.items() if source == NONE]
    remedy = f"nothing to do here: {', '.join(missing)} will be left empty in the results" if missing else ""
    return Check(name="sensors", state="ok", detail=detail, remedy=remedy)


def _group_of(device: str) -> str:
    try:
        return grp.getgrgid(Path(device).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # the process ended while we looked
        return ""
