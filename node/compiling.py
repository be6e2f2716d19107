"""Compiling or loading the kernels of some modules in this process, and what the cache has to do with it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node import jit
from node.kernel_modules import warm_up_modules


@dataclass(frozen=True, kw_only=True)
class CacheReport:
    """Where compiled kernels lie and how many of those used so far came from there.

    Parameters
    ----------
    directory : Path
        The folder for the present sources.
    kernels : int
        Functions decorated with ``kernel`` or ``part`` that are imported.
    loaded, compiled : int
        Specialisations taken from the folder, and those that had to be compiled.
    """

    directory: Path
    kernels: int
    loaded: int
    compiled: int


def cache_report() -> CacheReport:
    """Give the state of the compile cache for this process."""
    stats = [compiled.stats for compiled in jit.dispatchers if hasattr(compiled, "stats")]
    parts = [found for found in jit.parts if found.loaded]
    return CacheReport(
        directory=jit.CACHE_DIRECTORY,
        kernels=len({compiled.py_func.__code__ for compiled in jit.dispatchers}),
        loaded=sum(sum(entry.cache_hits.values()) for entry in stats) + len(parts),
        compiled=sum(sum(entry.cache_misses.values()) for entry in stats),
    )


def warm_up(progress: Callable[[str, float], None] | None = None, modules: Sequence[str] | None = None) -> CacheReport:
    """Compile or load kernels, module by module, by calling the ``warm`` function of each.

    Parameters
    ----------
    progress : callable, optional
        Called after each module with its name and the seconds it took.
    modules : sequence of str, optional
        Which modules; all of :func:`node.kernel_modules.warm_up_modules` where not given.
    """
    for name in warm_up_modules() if modules is None else modules:
        start = time.perf_counter()
        module = importlib.import_module(name)
        for found in jit.parts:
            if found.module == name:
                found.compile()
        if hasattr(module, "warm"):
            module.warm()
        if progress is not None:
            progress(name, time.perf_counter() - start)
    return cache_report()
