"""Struck accumulators: finished sums in which bits flip before anything limits, divides or requantises them.

Such a cell exists only while its step runs. So a strike is noted when it comes, just before that step, and carried out
with it: the step runs as ever, and the outputs of struck sums take the value that these sums lead to.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault, FaultKind, Readback
from node.arena import Arena
from node.model.accumulators import ACCUMULATOR_BITS, REGION, accumulator_bytes, locate
from node.model.engine import CheckedRunner, Engine
from node.model.finished_sums import FinishedSums

Change = tuple[int, int, int]
"""An output of a step, and the bits of its sum before and after the strike."""


class SumCheck(CheckedRunner, Protocol):
    """Runs steps with a check of their sums."""

    alarm: bool

    def sees(self, number: int, changes: list[Change]) -> bool:
        """Tell whether the check of a step, which has just run, is of other sums where these have changed."""


class StruckSums:
    """The accumulators of an engine under strikes.

    Parameters
    ----------
    engine : Engine
        Its ``checked`` is taken over for as long as a struck step has not run.
    arena : Arena
        The engine's memory.
    check : SumCheck, optional
        What runs steps with a check otherwise; a sum is struck before it is checked.
    """

    def __init__(self, engine: Engine, arena: Arena, check: SumCheck | None = None) -> None:
        self._engine = engine
        self._memory = arena.u8
        self._check = check
        self._sums = FinishedSums(engine, arena)
        self._struck: dict[int, dict[int, int]] = {}

    @property
    def any(self) -> bool:
        """True where a step has yet to run whose sums are struck."""
        return bool(self._struck)

    def step_of(self, fault: Fault) -> int:
        """Give the step whose sum a fault strikes."""
        return self._place(fault)[0]

    def _place(self, fault: Fault) -> tuple[int, int, int]:
        """Give step, output and bit of a fault."""
        size = 8 * accumulator_bytes(self._engine.image)
        if not 0 <= fault.bit < size:
            raise DataError(f"bit {fault.bit} lies outside region {REGION!r} of {size} bits")
        if fault.kind is not FaultKind.FLIP:
            raise DataError(f"{fault.kind.name} in {REGION}: a sum is there for one step only; its bits can flip")
        number, bit = divmod(fault.bit, ACCUMULATOR_BITS)
        steps, outputs = locate(self._engine.image, np.array([number]))
        return int(steps[0]), int(outputs[0]), bit

    def strike(self, fault: Fault, *, repaired: bool = False) -> Readback:
        """Flip a bit of a sum when its step runs next; give the byte of that sum as it is if the step runs now."""
        step, output, bit = self._place(fault)
        masks = self._struck.get(step, {})
        before = self._sums.read(step, (output,))[0] ^ masks.get(output, 0)
        if not repaired:
            self._struck.setdefault(step, masks)[output] = masks.get(output, 0) ^ 1 << bit
            self._engine.checked = self
        first = bit // 8 * 8
        return Readback(before=before >> first & 255, after=(before ^ 1 << bit) >> first & 255)

    def _run_plain(self, number: int) -> None:
        held, self._engine.checked = self._engine.checked, None
        try:
            Engine.run_steps(self._engine, number, number + 1)
        finally:
            self._engine.checked = held

    def clear(self) -> None:
        """Forget what has been noted."""
        if self._struck:
            self._struck.clear()
            self._engine.checked = self._check

    def run(self, number: int) -> int | None:
        """Run a step, as :class:`CheckedRunner` says, with its struck sums."""
        masks = self._struck.pop(number, None)
        if not self._struck:
            self._engine.checked = self._check
        if masks is None:
            return None if self._check is None else self._check.run(number)
        sums = self._sums.read(number, tuple(masks))
        changes = [(output, bits, bits ^ masks[output]) for output, bits in zip(masks, sums, strict=True)]
        # Before the step runs: its output may take the place of what the sums were made of.
        results = [self._sums.output_of(number, output, after) for output, _, after in changes]
        status = None if self._check is None else self._check.run(number)
        if status is None:
            self._run_plain(number)
        elif status >= 0:
            return status
        elif self._check is not None and self._check.sees(number, changes):
            self._check.alarm = True
        for place, value in results:
            self._memory[place : place + len(value)] = np.frombuffer(value, np.uint8)
        return -1
