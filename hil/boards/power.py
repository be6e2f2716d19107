"""Power hooks: shell commands of the bench file that switch a board off and on again.

::

    [[board]]
    name = "pi4"
    serial_number = "FT4VXLDK"
    power = { cycle = "uhubctl -l 1-1 -p 2 -a cycle -d 5" }

They are run when a node stays silent for longer than its board needs to boot. What they print is shown only when one
fails.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping
from typing import Annotated

import msgspec

from firmware_bridge.errors import PortError

SHOWN_CHARACTERS = 200
"""So much of the end of what a failed hook printed is part of the error."""

Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)]


class PowerHooks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``power`` of a board: shell commands, in which ``{name}``, ``{serial_number}`` and ``{usb_path}`` are filled in.

    Parameters
    ----------
    on, off, cycle : str
        Commands that switch the board on, off, or off and on again. Either ``cycle`` or both others are needed.
    off_s : float
        How long it stays off between ``off`` and ``on``.
    timeout_s : float
        A command that takes longer has failed.
    """

    on: str = ""
    off: str = ""
    cycle: str = ""
    off_s: Seconds = 3.0
    timeout_s: Seconds = 60.0

    @property
    def problem(self) -> str:
        """What is wrong with these hooks and what to do; empty for nothing."""
        if self.cycle or (self.on and self.off):
            return ""
        return "the board cannot be switched off and on: give cycle, or both on and off"


class PowerSwitch:
    """The power of one board.

    Parameters
    ----------
    hooks : PowerHooks
        The commands.
    marks : mapping
        What is filled into them: ``name``, ``serial_number`` and ``usb_path`` of the board.

    Examples
    --------
    >>> switch = PowerSwitch(PowerHooks(cycle="test {name} = pi4"), {"name": "pi4"})
    >>> switch.cycle()
    """

    def __init__(self, hooks: PowerHooks, marks: Mapping[str, str]) -> None:
        self._hooks = hooks
        self._marks = marks

    def cycle(self) -> None:
        """Take the board's power away and give it back.

        Raises
        ------
        PortError
            A command fails or takes too long.
        """
        if self._hooks.cycle:
            self._carry_out("cycle", self._hooks.cycle)
            return
        self._carry_out("off", self._hooks.off)
        time.sleep(self._hooks.off_s)
        self._carry_out("on", self._hooks.on)

    def _carry_out(self, hook: str, template: str) -> None:
        command = template
        for mark, text in self._marks.items():
            command = command.replace(f"{{{mark}}}", shlex.quote(text))
        # A file and not a pipe: what a hook leaves running keeps its output open. A session of its own: Ctrl-C is
        # for the campaign.
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                status = process.wait(self._hooks.timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise self._failed(hook, command, f"took longer than {self._hooks.timeout_s:g} s") from None
            if status:
                output.seek(0)
                said = output.read().decode(errors="replace").strip()[-SHOWN_CHARACTERS:]
                raise self._failed(hook, command, f"ended with {status}: {said or 'it said nothing'}")

    def _failed(self, hook: str, command: str, what: str) -> PortError:
        name = self._marks.get("name", "")
        return PortError(f"board {name!r}: power hook {hook} (`{command}`) {what}; try it by hand, then correct it")
