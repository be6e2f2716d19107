"""The memory of a node under one strike, and what its protection makes of it, without computing any inference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from firmware_bridge.messages import Fault, FaultKind, Readback
from node.computer import Computer
from node.ecc import DecodeReport
from node.model.image import Image
from node.protection import OnAlarm, OnDetected, Protection


class MemoryModel:
    """Guarded memory that the node's own code scrubs, saves and recovers, in the order of a run in logical time.

    Parameters
    ----------
    image : Image
        The model.
    protection : Protection
        One without checks on the computation.

    Attributes
    ----------
    stopped : bool
        The node withholds every output from here on.
    report : DecodeReport
        What scrubs found since :meth:`begin`.
    rollbacks, lost_inferences, saves : int
        As in the answer to a run.
    """

    def __init__(self, image: Image, protection: Protection) -> None:
        self._protection = protection
        # Checkpoints are kept here, in memory: what is asked is what would be restored, not how a file fails.
        plain = replace(protection, checkpoint_period=0, on_detected=OnDetected.STOP, on_alarm=OnAlarm.STOP)
        self._computer = Computer(image, protection=plain)
        self._pristine = self._computer.arena.u8.copy()
        self._clean = self._computer.scrub()
        self._saved_pristine = self._computer.saved_bytes()
        self._is_wrong = True
        self.begin()

    def begin(self) -> None:
        """Start a run on pristine memory."""
        if self._is_wrong:
            self._computer.reset()
        self._is_wrong = self.stopped = False
        self._held: tuple[Fault, ...] = ()
        self._stored: dict[int, int] = {}
        self._saved = (0, self._saved_pristine)
        self.report = DecodeReport()
        self.rollbacks = self.lost_inferences = self.saves = 0

    def close(self) -> None:
        """Give up the memory."""
        self._computer.close()

    # ---- what strikes --------------------------------------------------------------------------------------------

    def strike(self, fault: Fault) -> Readback:
        """Strike a cell of any region but the activations."""
        if fault.region != "checkpoint":
            self._is_wrong = True
            return self._computer.inject(fault)
        # The strike has no other cells: nothing is ever restored from this checkpoint, and both slots are pristine.
        byte = fault.bit >> 3
        before = self._stored.get(byte, self._saved_pristine[byte % len(self._saved_pristine)])
        after = struck_byte(before, fault)
        if not self._protection.repair_at_once:
            self._stored[byte] = after
        return Readback(before=before, after=after)

    def hold(self, fault: Fault) -> None:
        """Note a cell of the activations that is stuck from here on."""
        if fault.kind is not FaultKind.FLIP and not self._protection.repair_at_once:
            self._held = (*self._held, fault)

    def wrong_bits(self) -> tuple[Fault, ...]:
        """Give what an inference that begins now finds wrong, as faults before its first operator."""
        held = tuple(replace(fault, step=0) for fault in self._held)
        if not self._is_wrong:
            return held
        weights = self._computer.arena.view("weights")
        start = self._computer.layout["weights"].offset
        differing = weights ^ self._pristine[start : start + weights.size]
        bits = np.flatnonzero(np.unpackbits(differing, bitorder="little"))
        flips = (Fault(strike=0, region="weights", bit=int(bit), inference=0, step=0) for bit in bits)
        return (*flips, *held)

    # ---- what guards ---------------------------------------------------------------------------------------------

    def guard(self, number: int) -> None:
        """Scrub and save as is due before an inference."""
        if self.stopped:
            return
        if self._computer.scrubber.due(number) and not self._scrub():
            self._recover(number)
        period = self._protection.checkpoint_period
        if self.stopped or not period or not number or number % period:
            return
        if not self._scrub():
            self._recover(number)
            return
        self._saved = (number, self._computer.saved_bytes() if self._is_wrong else self._saved_pristine)
        self.saves += 1

    def _scrub(self) -> bool:
        """Correct everything guarded; give False where something was found that could not be corrected."""
        if not self._is_wrong:
            self.report += self._clean
            return True
        report = self._computer.scrub()
        self.report += report
        self._look()
        return report.detected == 0

    def _recover(self, number: int) -> None:
        match self._protection.on_detected:
            case OnDetected.STOP:
                self.stopped = True
                return
            case OnDetected.RELOAD:
                self._computer.reload()
            case OnDetected.ROLLBACK:
                frame, payload = self._saved
                self._computer.put_back(payload)
                self.lost_inferences += number - frame
        self.rollbacks += 1
        self._look()

    def _look(self) -> None:
        self._is_wrong = not np.array_equal(self._computer.arena.u8, self._pristine)


def struck_byte(before: int, fault: Fault) -> int:
    """Give what a fault makes of a byte.

    Examples
    --------
    >>> struck_byte(0b100, Fault(strike=0, region="weights", bit=0, inference=0, step=0))
    5
    """
    mask = 1 << (fault.bit & 7)
    match fault.kind:
        case FaultKind.STUCK_AT_0:
            return before & ~mask
        case FaultKind.STUCK_AT_1:
            return before | mask
    return before ^ mask
