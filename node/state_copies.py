"""State under repeated computation: every copy of an inference begins with an old state of its own and makes a new one.

No cell is read by more than one copy, so that a single strike can spoil only one of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from node.arena import Arena

REGION = "check.copies"
"""As many states as there are copies: the old one once more, and one for each copy but the first, which finds the old
state there and leaves the new state of the copy before it."""


class StateCopies:
    """The old states and the new ones of the copies of one inference.

    They lie in the arena, where they can be struck. Without that region (a model without state, or each inference is
    computed once) nothing is kept, and all new states are alike.

    Parameters
    ----------
    arena : Arena
        Holds the region ``check.copies`` and the state.
    copies : int
        How often each inference is computed.
    written : callable
        Called after memory was written: a cell that is stuck takes its value back.
    """

    def __init__(self, arena: Arena, copies: int, written: Callable[[], None]) -> None:
        self.kept = REGION in arena.layout
        self._state = arena.view("state") if self.kept else np.empty(0, np.uint8)
        self._slots = arena.view(REGION).reshape(copies, -1) if self.kept else np.empty((copies, 0), np.uint8)
        self._written = written

    def save(self, copy: int = 0) -> None:
        """Take the present state as the old one, for ``copy`` if it begins again and for all after it."""
        self._slots[0] = self._state
        self._slots[copy + 1 :] = self._state
        self._written()

    def restore(self) -> None:
        """Put the old state back."""
        self._state[:] = self._slots[0]
        self._written()

    def begin(self, copy: int) -> None:
        """Have the old state of a copy ready; the new one of the copy before it takes its place."""
        if copy:
            new = self._state.copy()
            self._state[:] = self._slots[copy]
            self._slots[copy] = new
            self._written()

    def new_states(self) -> list[bytes]:
        """Give the new state of each copy, after the last one."""
        return [slot.tobytes() for slot in (*self._slots[1:], self._state)]

    def take(self, copy: int) -> None:
        """Go on with the new state of a copy, after the last one."""
        if copy + 1 < len(self._slots):
            self._state[:] = self._slots[copy + 1]
            self._written()
