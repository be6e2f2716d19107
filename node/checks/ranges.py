"""Range checks: each activation against the smallest and largest value of clean runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.arena import Arena
from node.checks.outputs import checked_outputs
from node.kernels.checks.ranges import clip, count_outside
from node.model.image import Image

REGION = "check.ranges"
PAIR_BYTES = 8
"""A float32 for the lower limit, one for the upper limit."""


def range_bytes(image: Image) -> int:
    """Give the size of the region that holds the limits."""
    return PAIR_BYTES * len(checked_outputs(image))


class RangeCheck:
    """The outputs of every step against limits that lie in the arena, and can be struck there.

    Before anything is learned every finite number passes. What a clean run has shown as NaN is never checked again.

    Parameters
    ----------
    image : Image
        Which steps there are.
    arena : Arena
        Holds a region ``check.ranges`` of :func:`range_bytes`.
    clips : bool
        Set what lies outside to the nearest limit instead of reporting it.
    """

    def __init__(self, image: Image, arena: Arena, *, clips: bool) -> None:
        self._limits = arena.view(REGION).view(np.float32).reshape(-1, 2)
        self._clips = clips
        self._outputs: dict[int, tuple[int, NDArray[Any]]] = {}
        for index, (step, (dtype, place, count)) in enumerate(checked_outputs(image).items()):
            size = count * np.dtype(dtype).itemsize
            self._outputs[step] = (index, arena.u8[place : place + size].view(dtype))
        self._seen = np.empty(self._limits.shape, np.float32)
        self.forget()

    @property
    def steps(self) -> frozenset[int]:
        """Steps whose outputs are checked."""
        return frozenset(self._outputs)

    def forget(self) -> None:
        """Let every finite number pass again."""
        self._seen[:] = np.inf, -np.inf
        self.load()

    def observe(self, step: int) -> None:
        """Take the output of a step in a clean run as allowed."""
        if step not in self._outputs:
            return
        index, values = self._outputs[step]
        low, high = np.float32(values.min()), np.float32(values.max())
        if np.isnan(low):
            del self._outputs[step]
            return
        self._seen[index] = min(self._seen[index, 0], low), max(self._seen[index, 1], high)

    def load(self) -> None:
        """Write the limits: what was observed, else those of float32."""
        largest = np.finfo(np.float32).max
        self._limits[:] = -largest, largest
        learned = self._seen[:, 0] <= self._seen[:, 1]
        self._limits[learned] = self._seen[learned]

    def apply(self, step: int) -> int:
        """Check the output of a step, or clip it; give the number of values that lay outside."""
        if step not in self._outputs:
            return 0
        index, values = self._outputs[step]
        low, high = self._limits[index]
        return int(clip(values, low, high) if self._clips else count_outside(values, low, high))
