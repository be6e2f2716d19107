"""Entries of a bench file, and udev rules, for the serial ports of a machine."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firmware_bridge.ports import PortInfo


def bench_entries(ports: Iterable[PortInfo]) -> str:
    """Give bench.toml text with a board for each port, by the mark that tells it from the others.

    A serial number does if no other port has it (adapters with several ports share one, and cheap ones have none);
    else the place where the adapter is plugged in, with the number of the port behind it if it has several; a port of
    the machine itself goes by its path.
    """
    listed = list(ports)
    numbers = Counter(port.serial_number for port in listed)
    return "\n".join(_entry(number, port, numbers) for number, port in enumerate(listed, 1))


def _entry(number: int, port: PortInfo, numbers: Counter[str]) -> str:
    lines = ["[[board]]", f'name = "board{number}"']
    if port.serial_number and numbers[port.serial_number] == 1:
        lines.append(f"serial_number = {_quoted(port.serial_number)}")
    elif port.usb_path:
        lines.append(f"usb_path = {_quoted(port.usb_path)}")
    else:
        lines.append(f"url = {_quoted(f'serial://{port.device}?baud=921600')}")
    if not lines[-1].startswith("url"):
        lines.append("baud = 921600")
    note = ", ".join(text for text in (port.description, f"now {port.device}") if text)
    return "\n".join([*lines, f"note = {_quoted(note)}"]) + "\n"


def udev_rules(ports: Iterable[PortInfo]) -> str:
    """Give a rule for each USB adapter, by its place where it has no serial number."""
    lines = ["# Keep ModemManager from probing the bench's adapters; let the group dialout use them."]
    for port in ports:
        if port.serial_number:
            match = f"ATTRS{{serial}}=={_quoted(port.serial_number)}"
        elif port.usb_path:
            match = f"KERNELS=={_quoted(port.usb_path.partition('#')[0])}"
        else:
            lines.append(f"# {Path(port.device).name} is no USB adapter: nothing probes it")
            continue
        action = 'ENV{ID_MM_DEVICE_IGNORE}="1", GROUP="dialout", MODE="0660"'
        lines.append(f'ACTION=="add|change", SUBSYSTEM=="tty", {match}, {action}')
    return "\n".join(dict.fromkeys(lines)) + "\n"  # one rule for all ports of an adapter


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
