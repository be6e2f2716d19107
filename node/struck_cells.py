"""Where faults land on the node: one bit of memory, of a stored checkpoint, or the control logic of the computer."""

from __future__ import annotations

from collections.abc import Callable

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault, FaultKind, Readback
from node.arena import Arena
from node.checkpoint import CheckpointStore


class StruckCells:
    """The cells of one computer as nature strikes them, and those of them that have been stuck since.

    Parameters
    ----------
    arena : Arena
        Its memory.
    checkpoints : CheckpointStore or None
        What it has saved.
    interrupt : callable
        What a functional interrupt does (see :mod:`node.interrupts`).
    repair_at_once : bool
        Undo each fault before anything reads it.
    """

    def __init__(
        self,
        arena: Arena,
        checkpoints: CheckpointStore | None,
        interrupt: Callable[[int], None],
        *,
        repair_at_once: bool,
    ) -> None:
        self._arena = arena
        self._checkpoints = checkpoints
        self._interrupt = interrupt
        self._repair_at_once = repair_at_once
        self._stuck: list[Fault] = []

    @property
    def any_stuck(self) -> bool:
        """True where a cell of the arena takes no other value."""
        return bool(self._stuck)

    def release(self) -> None:
        """Let every stuck cell go."""
        self._stuck.clear()

    def assert_stuck(self) -> None:
        """Force every stuck bit to its value again, as a cell does that takes no other one."""
        for fault in self._stuck:
            self._arena.force(fault.region, fault.bit, int(fault.kind is FaultKind.STUCK_AT_1))

    def inject(self, fault: Fault) -> Readback:
        """Strike one bit, and give its byte before and after, read from the memory itself."""
        if fault.kind is FaultKind.INTERRUPT:
            if not self._repair_at_once:
                self._interrupt(fault.bit)
            return Readback(before=0, after=0)
        if fault.region == "checkpoint":
            return self._inject_checkpoint(fault)
        if fault.kind is FaultKind.FLIP:
            before, after = self._arena.flip(fault.region, fault.bit)
        else:
            before, after = self._arena.force(fault.region, fault.bit, int(fault.kind is FaultKind.STUCK_AT_1))
            if not self._repair_at_once:
                self._stuck.append(fault)
        if self._repair_at_once:
            self._arena.view(fault.region)[fault.bit >> 3] = before
        return Readback(before=before, after=after)

    def _inject_checkpoint(self, fault: Fault) -> Readback:
        """Strike a stored checkpoint; a cell stuck there holds its value until its slot is written again."""
        if self._checkpoints is None:
            raise DataError("this computer keeps no checkpoint: there is nothing to strike")
        before, after = self._checkpoints.flip(fault.bit)
        wanted = {FaultKind.STUCK_AT_0: 0, FaultKind.STUCK_AT_1: 1}.get(fault.kind)
        if wanted is not None and after >> (fault.bit & 7) & 1 != wanted:
            _, after = self._checkpoints.flip(fault.bit)
        if self._repair_at_once and after != before:
            self._checkpoints.flip(fault.bit)
        return Readback(before=before, after=after)
