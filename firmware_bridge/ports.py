"""The serial ports of this machine, and the marks by which an adapter is found again under any name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

SYSFS = Path("/sys")


@dataclass(frozen=True, kw_only=True)
class PortInfo:
    """A serial port of this machine; what the system does not know is empty.

    ``usb_path`` is where its adapter is plugged in (``1-1.4``): it stays when adapters are swapped. Ports of one
    adapter that share a place have the number of the port behind it (``1-1.4#1``).
    """

    device: str
    description: str
    serial_number: str
    usb_path: str


def list_ports() -> tuple[PortInfo, ...]:
    """Give the serial ports that exist on this machine, by device name."""
    from serial.tools import list_ports as listing

    found = (
        PortInfo(
            device=port.device,
            description="" if port.description in (None, "n/a") else port.description,
            serial_number=port.serial_number or "",
            usb_path=port.location or "",
        )
        for port in listing.comports()
    )
    return told_apart(sorted(found, key=lambda port: port.device))


def told_apart(ports: Iterable[PortInfo], sysfs: Path = SYSFS) -> tuple[PortInfo, ...]:
    """Give ports with the number that the kernel gives each port of an adapter, where one place holds several."""
    listed = tuple(ports)
    places = Counter(port.usb_path for port in listed if port.usb_path)
    return tuple(_numbered(port, sysfs) if places[port.usb_path] > 1 else port for port in listed)


def _numbered(port: PortInfo, sysfs: Path) -> PortInfo:
    file = sysfs / "class/tty" / Path(port.device).name / "device/port_number"
    return replace(port, usb_path=f"{port.usb_path}#{file.read_text().strip()}") if file.exists() else port


def ports_with(ports: Iterable[PortInfo], serial_number: str, usb_path: str) -> list[PortInfo]:
    """Give the ports whose adapters have these marks; an empty mark fits any."""
    return [port for port in ports if serial_number in ("", port.serial_number) and usb_path in ("", port.usb_path)]
