"""Compiling every kernel ahead, on all processors at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from firmware_bridge.errors import Interrupted
from firmware_bridge.messages import Progress

PROCESS_BYTES = 512 << 20
"""Memory that a compiling process is given room for; it was seen to take 300 MB."""

SLOWEST = (
    "node.kernels.inference.incremental.run",
    "node.kernels.inference.dispatch",
    "node.kernels.inference.general.interpreter",
    "node.kernels.codes.reed_solomon",
    "node.kernels.codes.vertical",
)
"""What takes longest comes first, so that no process is left alone with it in the end."""


def usual_processes() -> int:
    """Give as many processes as there are processors, and memory for."""
    free_bytes = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(len(os.sched_getaffinity(0)), free_bytes // PROCESS_BYTES))


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
    from node.jit import warm_up_modules

    usual = warm_up_modules()
    modules = [*SLOWEST, *(name for name in usual if name not in SLOWEST)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(_warm_up, name): name for name in modules}
        for done, future in enumerate(as_completed(waiting), 1):
            try:
                future.result()
            except BrokenProcessPool:
                raise Interrupted(
                    "a process that compiled was killed, perhaps for want of memory: flightnode warm-up --processes 1 "
                    "goes on with less"
                ) from None
            progress(Progress(stage=f"compiled {waiting[future]}", done=done, total=len(modules)))


def _warm_up(module: str) -> None:
    from node.jit import warm_up

    warm_up(modules=(module,))
