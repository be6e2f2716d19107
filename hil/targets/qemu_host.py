"""The emulated board as what keeps a node alive: it is booted, connected to, and its power is cycled."""

from __future__ import annotations

from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import LinkError, PortError
from hil.boards.qemu.image import find_image
from hil.boards.qemu.machine import Machine

BOOT_S = 120.0
"""So long the emulated board may take to say hello: on a quiet machine it needs a tenth of it."""
CONNECT_S = 10.0


class QemuHost:
    """A node on an emulated board of its own.

    Raises
    ------
    ConfigError
        QEMU or the image is missing; the message says how to get it.
    """

    url = "qemu"
    boot_s = BOOT_S

    def __init__(self, machine: Machine | None = None) -> None:
        self.machine = Machine(find_image()) if machine is None else machine

    def connect(self) -> Bridge:
        """Give a bridge to the node; a machine that is off, or has restarted itself, is booted first."""
        boots = not self.machine.is_on
        if boots:
            self.machine.on()
        try:
            return Bridge.connect(self.machine.url, BOOT_S if boots else CONNECT_S)
        except LinkError:
            if not self.machine.is_on:
                raise PortError(f"the emulated board switched itself off; {self._last_words()}") from None
            raise

    def has_died(self) -> bool | None:
        """Give True where the machine has ended by itself; None where only the id of its agent tells."""
        return None if self.machine.is_on else True

    def power_cycle(self) -> bool:
        """Take the machine's power away and give it back."""
        self.machine.cycle()
        return True

    def close(self) -> None:
        """Switch the machine off and remove what it left."""
        self.machine.close()

    def _last_words(self) -> str:
        console = self.machine.console_path
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        return f"its console ends with: {' / '.join(lines[-5:]) or 'nothing'}"
