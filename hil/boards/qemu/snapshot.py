"""A machine's state at one moment: it is brought back to it as often as needed, in a second instead of a boot."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from firmware_bridge.errors import PortError
from hil.boards.qemu.machine import Machine
from hil.boards.qemu.monitor import Monitor

MOVE_S = 60.0
POLL_S = 0.02
WITHOUT_MEMORY = [{"capability": "x-ignore-shared", "state": True}]
"""The memory lies in a file that is copied, so that QEMU has only the processors and devices to write down."""


class Snapshot:
    """What a machine was when this was made; the machine stands still from then on.

    Parameters
    ----------
    machine : Machine
        One that is on.

    Raises
    ------
    PortError
        QEMU cannot write the state down.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._state = machine.folder / "snapshot.state"
        self._memory = machine.folder / "snapshot.memory"
        monitor = _monitor(machine)
        monitor.do("stop")
        monitor.do("migrate-set-capabilities", capabilities=WITHOUT_MEMORY)
        monitor.do("migrate", uri=f"exec:cat > {self._state}")
        _wait(monitor, "completed")
        _copy(machine.memory_path, self._memory)
        self.power_cycles = 0

    def restore(self) -> None:
        """Take the machine's power away, and bring it back to that moment; it stands still until :func:`go_on`."""
        machine = self._machine
        machine.off()
        _copy(self._memory, machine.memory_path)
        machine.on(incoming=True)
        monitor = _monitor(machine)
        monitor.do("migrate-set-capabilities", capabilities=WITHOUT_MEMORY)
        monitor.do("migrate-incoming", uri=f"exec:cat {self._state}")
        _wait(monitor, "completed")
        self.power_cycles += 1


def go_on(machine: Machine) -> None:
    """Let a machine that stands still go on."""
    _monitor(machine).do("cont")


def _monitor(machine: Machine) -> Monitor:
    if machine.monitor is None:
        raise PortError("the emulated board has no power")
    return machine.monitor


def _wait(monitor: Monitor, wanted: str) -> None:
    end_s = time.monotonic() + MOVE_S
    while True:
        found = monitor.do("query-migrate")
        status = found.get("status", "none")
        if status == wanted:
            return
        if status == "failed" or time.monotonic() > end_s:
            raise PortError(f"QEMU cannot move the machine's state: {found.get('error-desc', status)}")
        time.sleep(POLL_S)


def _copy(source: Path, target: Path) -> None:
    """Copy a memory; the target's file stays the same one, so that nobody needs more room than two."""
    with source.open("rb") as read, target.open("wb") as write:
        shutil.copyfileobj(read, write, 1 << 22)
