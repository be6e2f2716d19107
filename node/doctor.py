"""Looks at the board for what spoils a campaign, and says in one line how to repair it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge import crc
from node.vitals import NONE, Sensors

SERIAL_NAMES = ("ttyAMA*", "ttyS0", "ttyUSB*", "ttyACM*", "serial0")
MINI_UART = "ttyS0"
CONSOLES = ("ttyAMA0", "ttyS0", "serial0")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding; ``remedy`` is empty where nothing needs to be done."""

    name: str
    finding: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where to look; another root is another machine.

    Parameters
    ----------
    root : Path
        What stands for ``/``.
    """

    root: Path = Path("/")

    def read(self, name: str) -> str:
        """Give the text of a file, empty where it is missing or closed to us."""
        try:
            return (self.root / name).read_text(errors="replace").replace("\0", " ").strip()
        except OSError:
            return ""

    def find(self, folder: str, patterns: Iterable[str]) -> list[Path]:
        """Give the files of a folder that match, sorted."""
        return sorted({path for pattern in patterns for path in (self.root / folder).glob(pattern)})


def check_crc() -> Check:
    """Tell which engine makes the checksums."""
    engine = crc.engine()
    slow = "" if engine.endswith(" C") else "pip install crcmod-plus: it brings the compiled engine (60 times faster)"
    return Check(name="crc engine", finding=engine, remedy=slow)


def check_kernel_cache() -> Check:
    """Tell where compiled kernels are kept."""
    try:
        from node import jit
    except ImportError as error:
        return Check(
            name="kernel cache",
            finding=f"numba cannot be imported: {error}",
            remedy="pip install numba, on a 64-bit system (there are no wheels for 32-bit ARM)",
        )
    except OSError as error:
        return Check(name="kernel cache", finding=str(error), remedy="set NUMBA_CACHE_DIR to a folder of your own")
    held = sum(1 for _ in jit.CACHE_DIRECTORY.rglob("*.nbc"))
    cold = "" if held else "run `flightnode warm-up` once, so that no campaign waits for the compiler"
    return Check(name="kernel cache", finding=f"{jit.CACHE_DIRECTORY} ({held} compiled)", remedy=cold)


def check_sensors(machine: Machine) -> Check:
    """Tell which thermometer, clock and throttle flags the board has."""
    vitals = Sensors(machine.root).read()
    sources = {
        "temperature": vitals.temperature_source,
        "clock": vitals.clock_source,
        "throttle flags": vitals.throttled_source,
    }
    found = [f"{what} ({source})" for what, source in sources.items() if source != NONE]
    missing = [f"no {what}" for what, source in sources.items() if source == NONE]
    note = " (recorded as missing; usual off a Raspberry Pi and in containers)" if missing else ""
    return Check(name="sensors", finding=", ".join(found + missing) + note)


def check_serial_ports(machine: Machine) -> list[Check]:
    """Tell which serial ports there are and whether this user may open them."""
    ports = [port for port in machine.find("dev", SERIAL_NAMES) if _is_device(port)]
    if not ports:
        return [Check(name="serial ports", finding="none found")]
    return [_check_port(machine, port) for port in ports]


def _check_port(machine: Machine, port: Path) -> Check:
    name = f"serial port {port}"
    if not os.access(port, os.R_OK | os.W_OK):
        return Check(
            name=name,
            finding="not ours to open",
            remedy=f"sudo usermod -aG {_group_of(port)} $USER, then log in again",
        )
    if port.name == MINI_UART and "Raspberry Pi" in machine.read("proc/device-tree/model"):
        return Check(
            name=name,
            finding="the mini UART, whose baud rate follows the core clock that throttling changes",
            remedy="add dtoverlay=disable-bt to config.txt and use /dev/ttyAMA0",
        )
    return Check(name=name, finding="may be opened")


def check_console(machine: Machine) -> Check:
    """Tell whether the kernel talks on a serial port that the link wants for itself."""
    words = machine.read("proc/cmdline").split()
    ports = [word.removeprefix("console=").split(",")[0] for word in words if word.startswith("console=")]
    taken = [port for port in ports if port in CONSOLES]
    return Check(
        name="serial console",
        finding=f"on {', '.join(taken)}" if taken else "off",
        remedy=(
            f"remove console={taken[0]} from cmdline.txt and mask serial-getty@{taken[0]}.service "
            "if the link is to use this port"
            if taken
            else ""
        ),
    )


def examine(machine: Machine | None = None) -> list[Check]:
    """Make all checks."""
    machine = machine or Machine()
    return [
        check_crc(),
        check_kernel_cache(),
        check_sensors(machine),
        *check_serial_ports(machine),
        check_console(machine),
    ]


def print_checks(checks: Iterable[Check], write: Callable[[str], None] = print) -> bool:
    """Print one line a finding and one a remedy; give True where nothing needs to be done."""
    sound = True
    for check in checks:
        write(f"{'!!' if check.remedy else 'ok'}  {check.name}: {check.finding}")
        if check.remedy:
            sound = False
            write(f"      -> {check.remedy}")
    return sound


def _is_device(port: Path) -> bool:
    try:
        mode = port.stat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode)


def _group_of(port: Path) -> str:
    import grp

    try:
        return grp.getgrgid(port.stat().st_gid).gr_name
    except KeyError:
        return "dialout"
