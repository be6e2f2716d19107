"""Compiling kernels ahead, on all processors at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from firmware_bridge.errors import Interrupted
from firmware_bridge.messages import Progress
from node.agent import die_with_parent
from node.kernel_cache import choose_cache_directory, kept
from node.kernel_modules import USUAL_MODULES, warm_up_modules

PROCESS_BYTES = 512 << 20
"""Memory that a compiling process is given room for; it was seen to take 300 MB."""

SLOWEST = (
    "node.kernels.inference.incremental.run",
    "node.kernels.inference.general.interpreter",
    "node.kernels.codes.reed_solomon",
    "node.kernels.codes.vertical",
)
"""What takes longest comes first, so that no process is left alone with it in the end."""


def usual_processes() -> int:
    """Give as many processes as there are processors, and memory for."""
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), free_bytes // PROCESS_BYTES))


def warm_up_usual_kernels(progress: Callable[[Progress], None]) -> None:
    """Compile or load the kernels that most models need, saying after each module how far it got.

    Where nothing is compiled yet, other processes do it, if there are processors and memory for them: what compiling
    takes, this one then never takes.

    Raises
    ------
    Interrupted
        A compiling process was killed.
    """
    steps, processes = _Steps(progress, len(USUAL_MODULES)), usual_processes()
    alone = kept(choose_cache_directory()) > 0 or processes == 1
    if not alone:
        with _pool(processes) as pool:
            _await({pool.submit(_warm_up, name): name for name in USUAL_MODULES}, steps)
    from node.compiling import warm_up

    warm_up(steps.one_more if alone else None, USUAL_MODULES)


def warm_up_all_kernels(progress: Callable[[Progress], None], processes: int) -> None:
    """Compile or load every kernel, saying after each module how far it got.

    Parameters
    ----------
    progress : callable
        Told after each module, in the order in which they are finished.
    processes : int
        How many compile at once.

    Raises
    ------
    Interrupted
        A compiling process was killed, as it is where memory runs out. What is compiled stays compiled.
    """
    modules = warm_up_modules()
    steps = _Steps(progress, len(modules))
    first = [*SLOWEST, *(name for name in modules if name not in SLOWEST)]
    with _pool(processes) as pool:
        _await({pool.submit(_warm_up, name): name for name in first}, steps)


class _Steps:
    """Counts modules that are done."""

    def __init__(self, progress: Callable[[Progress], None], total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def one_more(self, module: str, _seconds: float = 0.0) -> None:
        """Say that a module is done."""
        self._done += 1
        self._progress(Progress(stage=f"compiled {module}", done=self._done, total=self._total))


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=die_with_parent)


def _await(waiting: Mapping[Future[None], str], steps: _Steps) -> None:
    for future in as_completed(waiting):
        try:
            future.result()
        except BrokenProcessPool:
            raise Interrupted(
                "a process that compiled was killed, perhaps for want of memory: flightnode warm-up --processes 1 "
                "goes on with less"
            ) from None
        steps.one_more(waiting[future])


def _warm_up(module: str) -> None:
    from node.compiling import warm_up

    warm_up(modules=(module,))
