"""The UARTs of a Raspberry Pi, and what spoils a line on them.

On models 3, 4 and Zero W the header carries the mini UART unless told otherwise. Its baud rate follows the core clock,
so that throttling garbles the line, and it notices neither breaks nor framing errors; the better PL011 belongs to
Bluetooth there (Raspberry Pi documentation, "Configure UARTs").
"""

from __future__ import annotations

import re
from pathlib import Path

from node.machine import Check, Machine

MINI_UART = "mini UART"
PL011 = "PL011"

CONFIG_FILES = ("boot/firmware/config.txt", "boot/config.txt")
CMDLINE_FILES = ("boot/firmware/cmdline.txt", "boot/cmdline.txt")
CONSOLES = ("ttyAMA0", "ttyS0", "serial0")
SLOW_TIMER_MS = 1
"""A USB adapter hands over what it has after so many milliseconds at the latest; its default is 16."""

_ERRORS = {"oe": "overruns", "bo": "buffer overruns", "fe": "framing errors", "pe": "parity errors"}
"""What the kernel calls them in ``/proc/tty/driver`` (drivers/tty/serial/serial_core.c), where only root may look."""
_COUNTED = re.compile(r"(?:oe|bo|fe|pe):\d+")
_REMEDY = "the link repeats what is lost; if they grow: a lower baud rate on both sides, shorter wires, a common ground"

_COMPATIBLE = {"brcm,bcm2835-aux-uart": MINI_UART, "arm,pl011": PL011}
_WITH_BLUETOOTH = re.compile(r"Raspberry Pi (3|4|Zero W|Zero 2 W|Compute Module [34])")
_FREES_THE_PL011 = ("dtoverlay=disable-bt", "dtoverlay=miniuart-bt", "dtoverlay=pi3-disable-bt")


def device_name(machine: Machine, device: str) -> str:
    """Give the name of a port, with the links of ``/dev`` followed: ``/dev/serial0`` is ``ttyS0`` or ``ttyAMA0``."""
    path = machine.root / "dev" / Path(device).name
    behind = path.readlink().name if path.is_symlink() else ""
    return behind if behind.startswith("tty") else path.name


def uart_kind(machine: Machine, device: str) -> str:
    """Give which kind of UART a port is: the mini UART, a PL011, or empty for anything else.

    The device tree says it; where that is not shown, the model and the port's name do.
    """
    name = device_name(machine, device)
    compatible = machine.read(f"sys/class/tty/{name}/device/of_node/compatible")
    for word, kind in _COMPATIBLE.items():
        if word in compatible:
            return kind
    if "Raspberry Pi" not in machine.model:
        return ""
    if name == "ttyS0":
        return MINI_UART
    return PL011 if name.startswith("ttyAMA") else ""


def check_bluetooth(machine: Machine) -> Check:
    """Tell whether Bluetooth holds the better UART."""
    name = "Bluetooth on the PL011"
    if not _WITH_BLUETOOTH.search(machine.model):
        return Check(name=name, finding="not on this board")
    file = machine.first_of(CONFIG_FILES)
    settings = {line.split("#")[0].strip() for line in machine.read(file).splitlines()} if file else set()
    if settings & set(_FREES_THE_PL011):
        return Check(name=name, finding="off")
    return Check(
        name=name,
        finding="on: the header carries the mini UART, whose baud rate follows the core clock",
        remedy=f"add enable_uart=1 and dtoverlay=disable-bt to /{file or CONFIG_FILES[0]}, "
        "sudo systemctl disable hciuart, reboot",
    )


def check_console(machine: Machine) -> Check:
    """Tell whether the kernel talks on a serial port that the link wants for itself, now or after the next boot."""
    now = _console_ports(machine.read("proc/cmdline"))
    file = machine.first_of(CMDLINE_FILES)
    later = _console_ports(machine.read(file)) if file else []
    taken = list(dict.fromkeys([*now, *later]))
    if not taken:
        return Check(name="serial console", finding="off")
    when = "" if now else " after the next boot"
    if now and file and not later:
        return Check(name="serial console", finding=f"on {', '.join(taken)} until the next boot", remedy="reboot")
    return Check(
        name="serial console",
        finding=f"on {', '.join(taken)}{when}",
        remedy=f"remove console={taken[0]} from {f'/{file}' if file else 'cmdline.txt'} and mask "
        f"serial-getty@{taken[0]}.service if the link is to use this port",
    )


def _console_ports(cmdline: str) -> list[str]:
    ports = [word.removeprefix("console=").split(",")[0] for word in cmdline.split() if word.startswith("console=")]
    return [port for port in ports if port in CONSOLES]


def check_getty(machine: Machine) -> Check:
    """Tell whether a login prompt sits on a serial port."""
    programs = machine.find("proc", ("[0-9]*/cmdline",))
    running = [machine.read(str(path.relative_to(machine.root))) for path in programs]
    words = [line.split() for line in running if "agetty" in line]
    ports = sorted({word for line in words for word in line if word.startswith(("ttyAMA", "ttyS", "ttyUSB"))})
    if not ports:
        return Check(name="login prompt", finding="none on a serial port")
    return Check(
        name="login prompt",
        finding=f"on {', '.join(ports)}: it eats what the host sends",
        remedy=f"sudo systemctl mask --now serial-getty@{ports[0]}.service (disabled, it comes back with the console)",
    )


def check_line_errors(machine: Machine) -> list[Check]:
    """Tell which UARTs have lost bytes or found them garbled since boot, as the kernel's drivers count."""
    found = []
    for path in machine.find("proc/tty/driver", ("ttyAMA", "serial", "ttyS")):
        name = "ttyS" if path.name == "serial" else path.name
        for line in machine.read(str(path.relative_to(machine.root))).splitlines():
            number = line.partition(":")[0]
            counts = {word[:2]: int(word[3:]) for word in line.split() if _COUNTED.fullmatch(word)}
            if counts:
                said = ", ".join(f"{count} {_ERRORS[key]}" for key, count in counts.items())
                found.append(Check(name=f"line errors of {name}{number}", finding=f"{said} since boot", remedy=_REMEDY))
    return found


def check_latency_timers(machine: Machine) -> list[Check]:
    """Tell which USB adapters hold bytes back."""
    checks = []
    for path in machine.find("sys/bus/usb-serial/devices", ("*/latency_timer",)):
        text = machine.read(str(path.relative_to(machine.root)))
        slow = text.isdecimal() and int(text) > SLOW_TIMER_MS
        remedy = f"echo 1 | sudo tee /{path.relative_to(machine.root)} (opening the port as its owner does it, too)"
        checks.append(
            Check(
                name=f"latency timer of {path.parent.name}",
                finding=f"{text or 'unknown'} ms",
                remedy=remedy if slow else "",
            )
        )
    return checks
