"""Threads that share the large steps of a model: the same bytes, whoever computes them."""

from __future__ import annotations

import threading
import weakref
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.kernels.inference import crew as words
from node.kernels.inference import dispatch
from node.kernels.inference.windows import needs_of
from node.model.image import Image

LEAST_WORK = 150_000
"""Multiplications of a step from which on it is shared: about 3 us, of which handing over takes a tenth."""

SLOT_ALIGNMENT = 64


@dataclass(frozen=True, kw_only=True)
class CrewPlan:
    """How many threads run an image, and what they need.

    Parameters
    ----------
    threads : int
        With the one that asks for an inference.
    least_work : int
        Multiplications from which on a step is shared.
    slot_bytes : int
        Scratch of each thread, behind the arena.
    large : ndarray of bool, [steps]
        Which steps are shared.
    """

    threads: int
    least_work: int
    slot_bytes: int
    large: NDArray[np.bool_]

    @property
    def spare_bytes(self) -> int:
        """What the arena has to have behind it."""
        return self.threads * self.slot_bytes


def plan_crew(image: Image, arena_bytes: int, threads: int, least_work: int = LEAST_WORK) -> CrewPlan:
    """Find the steps of an image that are worth sharing, and the scratch that this takes."""
    if threads == 1:
        return CrewPlan(threads=1, least_work=least_work, slot_bytes=0, large=np.zeros(len(image.steps), bool))
    needs = [needs_of(np.ascontiguousarray(row), arena_bytes) for row in image.steps]
    large = np.array([work > 0 and work >= least_work for work, _ in needs], bool)
    slot = max((size for (_, size), shared in zip(needs, large, strict=True) if shared), default=0)
    return CrewPlan(
        threads=threads,
        least_work=least_work,
        slot_bytes=-(-slot // SLOT_ALIGNMENT) * SLOT_ALIGNMENT,
        large=large,
    )


class Crew:
    """The helpers of one engine. They sleep between inferences, and end with :meth:`close` or with this object.

    Parameters
    ----------
    plan : CrewPlan
        What they need; the memory has its spare bytes.
    memory : tuple of ndarray
        As :func:`node.kernels.inference.dispatch.run_steps` takes it.
    table : ndarray of int64, [steps, columns]
        The step table.
    """

    def __init__(self, plan: CrewPlan, memory: tuple[Any, ...], table: NDArray[np.int64]) -> None:
        self._large = plan.large
        self._helpers = range(plan.threads - 1)
        self.row = _aligned_words(words.ASLEEP + words.LINE * plan.threads)
        self.row[[words.LEAST, words.SLOT, words.THREADS]] = plan.least_work, plan.slot_bytes, plan.threads
        self._calls: list[SimpleQueue[bool]] = [SimpleQueue() for _ in self._helpers]
        threads = [
            threading.Thread(target=_help, args=(calls, memory, table, self.row, number + 1), daemon=True)
            for number, calls in enumerate(self._calls)
        ]
        self.close = weakref.finalize(self, _end, self._calls, threads)
        for helper, thread in zip(self._helpers, threads, strict=True):
            self.row[words.ASLEEP + words.LINE * helper] = 1
            thread.start()

    def call(self, first: int, last: int) -> None:
        """Wake the helpers if some step of ``first`` to ``last - 1`` is worth it."""
        if not self._large[first:last].any():
            return
        for helper in self._helpers:
            asleep = words.ASLEEP + words.LINE * helper
            if self.row[asleep]:
                self.row[asleep] = 0
                self._calls[helper].put(True)


def _aligned_words(count: int) -> NDArray[np.int64]:
    raw = np.zeros(8 * count + SLOT_ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % SLOT_ALIGNMENT
    return raw[start : start + 8 * count].view(np.int64)


def _help(calls: SimpleQueue[bool], memory: tuple[Any, ...], table: Any, row: Any, number: int) -> None:
    while calls.get():
        dispatch.run_steps.from_python(memory, table, row, -1, number)


def _end(calls: list[SimpleQueue[bool]], threads: list[threading.Thread]) -> None:
    for queue in calls:
        queue.put(False)
    for thread in threads:
        thread.join()
