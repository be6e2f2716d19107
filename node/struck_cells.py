"""Where faults land on the node: a bit of memory, of a sum, of a stored checkpoint, or the computer's control logic."""

from __future__ import annotations

from collections.abc import Callable

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault, FaultKind, Readback
from node.arena import Arena
from node.checkpoint import CheckpointStore
from node.model.accumulators import REGION
from node.struck_sums import StruckSums


class StruckCells:
    """The cells of one computer as nature strikes them, and those of them that have been stuck since.

    Parameters
    ----------
    arena : Arena
        Its memory.
    checkpoints : CheckpointStore or None
        What it has saved.
    sums : StruckSums
        Its accumulators.
    interrupt : callable
        What a functional interrupt does (see :mod:`node.interrupts`).
    repair_at_once : bool
        Undo each fault before anything reads it.
    """

    def __init__(
        self,
        arena: Arena,
        checkpoints: CheckpointStore | None,
        sums: StruckSums,
        interrupt: Callable[[int], None],
        *,
        repair_at_once: bool,
    ) -> None:
        self._arena = arena
        self._checkpoints = checkpoints
        self._sums = sums
        self._interrupt = interrupt
        self._repair_at_once = repair_at_once
        self._stuck: list[Fault] = []

    @property
    def act_between_steps(self) -> bool:
        """True where steps have to run one by one: a cell of the arena takes no other value, or a sum is struck."""
        return bool(self._stuck) or self._sums.any

    def release(self) -> None:
        """Let every stuck cell go, and struck sums that are yet to come."""
        self._stuck.clear()
        self._sums.clear()

    def end_inference(self) -> None:
        """Forget sums of steps that have not run: they are not those of the next inference."""
        self._sums.clear()

    def assert_stuck(self) -> None:
        """Force every stuck bit to its value again, as a cell does that takes no other one."""
        for fault in self._stuck:
            self._arena.force(fault.region, fault.bit, int(fault.kind is FaultKind.STUCK_AT_1))

    def step_of(self, fault: Fault) -> int | None:
        """Give the step in which alone a fault can strike, None where it can at any moment."""
        return self._sums.step_of(fault) if fault.region == REGION else None

    def inject(self, fault: Fault) -> Readback:
        """Strike one bit, and give its byte before and after, read from the memory itself."""
        if fault.kind is FaultKind.INTERRUPT:
            if not self._repair_at_once:
                self._interrupt(fault.bit)
            return Readback(before=0, after=0)
        if fault.region == "checkpoint":
            return self._inject_checkpoint(fault)
        if fault.region == REGION:
            return self._sums.strike(fault, repaired=self._repair_at_once)
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
