"""Looks at the board for what spoils a campaign, and says in one line how to repair it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from firmware_bridge import crc
from firmware_bridge.terminal import holder
from node.governor import ThrottleFlag
from node.kernel_cache import kept
from node.machine import Check, Machine
from node.uart import (
    MINI_UART,
    check_bluetooth,
    check_console,
    check_getty,
    check_latency_timers,
    check_line_errors,
    uart_kind,
)
from node.vitals import NONE, Sensors

SERIAL_NAMES = ("ttyAMA*", "ttyS0", "ttyUSB*", "ttyACM*", "serial0")
PROGRAMS = ("usr/bin/env", "bin/sh")
COMPILERS = ("usr/bin/cc", "usr/bin/gcc", "usr/bin/clang")
ELF_CLASS_AT = 4
ELF_CLASS_64 = 2
"""See elf(5), EI_CLASS."""


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
    held = kept(jit.CACHE_DIRECTORY)
    cold = "" if held else "run `flightnode warm-up` once, so that no campaign waits for the compiler"
    return Check(name="kernel cache", finding=f"{jit.CACHE_DIRECTORY} ({held} compiled)", remedy=cold)


def check_sensors(machine: Machine) -> list[Check]:
    """Tell which thermometer, clock and throttle flags the board has, and what its flags say."""
    vitals = Sensors(machine.root).read()
    found = [f"{what} ({source})" for what, source in vitals.sources.items() if source != NONE]
    missing = [f"no {what}" for what, source in vitals.sources.items() if source == NONE]
    note = " (recorded as missing; usual off a Raspberry Pi and in containers)" if missing else ""
    checks = [Check(name="sensors", finding=", ".join(found + missing) + note), *_check_limits(machine)]
    if vitals.throttled is not None:
        checks.append(_check_flags(ThrottleFlag(vitals.throttled)))
    return checks


def _check_flags(flags: ThrottleFlag) -> Check:
    names = [flag.name.lower().replace("_", " ") for flag in ThrottleFlag if flag in flags and flag.name]
    supply = ThrottleFlag.UNDER_VOLTAGE | ThrottleFlag.HAS_BEEN_UNDER_VOLTAGE
    cool = "times are those of a slower clock: cool the board, and boot it again to forget what has been"
    remedy = (
        "use the board's own power supply and a short cable: its clock falls with the voltage"
        if flags & supply
        else cool
    )
    return Check(name="throttling", finding=", ".join(names) or "none since boot", remedy=remedy if names else "")


def _check_limits(machine: Machine) -> Iterator[Check]:
    """Tell which clocks are held below what their processors can do, as a node that was killed may leave them."""
    for path in machine.find("sys/devices/system/cpu/cpufreq", ("policy*/scaling_max_freq",)):
        limit, most = (
            machine.read(str(path.with_name(name).relative_to(machine.root)))
            for name in ("scaling_max_freq", "cpuinfo_max_freq")
        )
        if limit.isdecimal() and most.isdecimal() and int(limit) < int(most):
            yield Check(
                name=f"clock limit of {path.parent.name}",
                finding=f"{int(limit) / 1000:.0f} of {int(most) / 1000:.0f} MHz",
                remedy=f"echo {most} | sudo tee /{path.relative_to(machine.root)}, unless the limit is meant",
            )


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
    kind = uart_kind(machine, port.name)
    if kind == MINI_UART:
        return Check(
            name=name,
            finding="the mini UART, whose baud rate follows the core clock that throttling changes",
            remedy="add dtoverlay=disable-bt to config.txt and use /dev/ttyAMA0",
        )
    pid = holder(str(port))
    held = "" if pid is None else f"; process {pid} has it open"
    return Check(name=name, finding=f"may be opened{f' ({kind})' if kind else ''}{held}")


def check_system(machine: Machine) -> Check:
    """Tell whether programs here have 64 bits; a 64-bit kernel under a 32-bit system does not help."""
    name = machine.first_of(PROGRAMS)
    head = machine.head(name, ELF_CLASS_AT + 1) if name else b""
    if len(head) <= ELF_CLASS_AT or not head.startswith(b"\x7fELF"):
        return Check(name="word size", finding="no program found that tells its word size")
    if head[ELF_CLASS_AT] == ELF_CLASS_64:
        return Check(name="word size", finding="64 bit")
    return Check(
        name="system",
        finding="32 bit: there are no numba wheels for it",
        remedy="install the 64-bit system (Raspberry Pi OS 64-bit)",
    )


def check_compiler(machine: Machine) -> Check:
    """Tell whether packages could be built here that have no wheel."""
    found = machine.first_of(COMPILERS)
    if found:
        return Check(name="C compiler", finding=f"/{found}")
    return Check(
        name="C compiler", finding="none; none is needed, since all four packages have wheels for 64-bit boards"
    )


def check_watchdog(machine: Machine) -> Check:
    """Tell whether the board restarts itself when its system stands still."""
    if not machine.first_of(("dev/watchdog", "dev/watchdog0")):
        return Check(name="hardware watchdog", finding="none on this board")
    files = machine.find("etc/systemd", ("system.conf", "system.conf.d/*.conf"))
    texts = [machine.read(str(path.relative_to(machine.root))) for path in files]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    if any(line.startswith("RuntimeWatchdogSec=") and not line.endswith(("=0", "=off", "=")) for line in lines):
        return Check(name="hardware watchdog", finding="kept by systemd")
    return Check(
        name="hardware watchdog",
        finding="there, and nobody keeps it: a system that hangs stays so until its power is cycled",
        remedy="flightnode install (it sets RuntimeWatchdogSec)",
    )


def examine(machine: Machine | None = None) -> list[Check]:
    """Make all checks."""
    machine = machine or Machine()
    return [
        check_crc(),
        check_kernel_cache(),
        *check_sensors(machine),
        check_system(machine),
        check_compiler(machine),
        check_watchdog(machine),
        *check_serial_ports(machine),
        *check_latency_timers(machine),
        *check_line_errors(machine),
        check_bluetooth(machine),
        check_getty(machine),
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
