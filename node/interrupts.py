"""Functional interrupts: what a strike on the control logic of the whole computer does.

Bit 0 of the pseudo-region ``process`` kills the computer, bit 1 hangs it. In a process of its own this really
happens; inside the host's process (targets ``sim`` and ``memory``) the same ends are raised as exceptions, so that
both are classified alike.
"""

from __future__ import annotations

import os
import signal

from firmware_bridge.errors import DataError
from node.errors import PayloadCrash, PayloadHang

KILL_BIT = 0
HANG_BIT = 1


def raise_interrupt(bit: int) -> None:
    """Raise what :func:`real_interrupt` would do to a process of its own."""
    if bit == KILL_BIT:
        raise PayloadCrash("functional interrupt: the computer died")
    if bit == HANG_BIT:
        raise PayloadHang("functional interrupt: the computer hangs")
    raise _unknown(bit)


def real_interrupt(bit: int) -> None:
    """Kill or hang this very process."""
    if bit == KILL_BIT:
        os.kill(os.getpid(), signal.SIGKILL)
    if bit == HANG_BIT:
        while True:
            signal.pause()
    raise _unknown(bit)


def _unknown(bit: int) -> DataError:
    return DataError(f"process bit {bit} has no meaning: {KILL_BIT} kills, {HANG_BIT} hangs")
