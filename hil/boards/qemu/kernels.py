"""The node's kernels, compiled for the guest's processor on the host, by QEMU's emulation of single programs.

That takes a fifth of the time that the whole emulated board would need, and the result is the same: name and features
of the processor are given to numba, in the guest as here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hil.boards.qemu.root_tree import SITE
from hil.boards.qemu.tools import call
from node.kernel_modules import USUAL_MODULES, warm_up_modules

PROCESSOR = "cortex-a72"
"""That of the emulated board, and of a Raspberry Pi 4."""
FEATURES = {"cortex-a72": "+neon,+fp-armv8,+crc", "cortex-a76": "+neon,+fp-armv8,+crc,+dotprod"}
"""What of each processor kernels are compiled for; the second is that of a Raspberry Pi 5."""
NUMBA_PROCESSOR = {"NUMBA_CPU_NAME": PROCESSOR, "NUMBA_CPU_FEATURES": FEATURES[PROCESSOR]}
HOST_ONLY = ("node.kernels.inference.incremental.run",)
"""Modules of kernels that no node runs."""


def kernel_modules(*, usual_only: bool) -> tuple[str, ...]:
    """Give the modules whose kernels go into the image: what most models and protections need, or all."""
    if usual_only:
        return USUAL_MODULES
    return tuple(name for name in warm_up_modules() if name not in HOST_ONLY)


def compile_kernels(
    interpreter: GuestPython, tree: Path, modules: Sequence[str], told: Callable[[int, int], None]
) -> None:
    """Fill the interpreter's cache with the kernels of modules; what lies there already is kept.

    Parameters
    ----------
    interpreter : GuestPython
        Has a cache of the host's as its XDG_CACHE_HOME.
    tree : Path
        The guest's root file system, where bytecode is laid beside what was imported.
    modules : sequence of str
        Such as :func:`kernel_modules` gives.
    told : callable
        Told how many modules are done, and how many there are.
    """
    lock, done, imported = threading.Lock(), 0, set[str]()

    def compile_one(module: str) -> None:
        nonlocal done
        files = interpreter.run([f"/{SITE}/warm.py", module], f"compiling {module}").split()
        with lock:
            imported.update(files)
            done += 1
            told(done, len(modules))

    told(0, len(modules))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, modules))
    _compile_python(interpreter, tree, sorted(imported))


class GuestPython:
    """The guest's Python, run as a program of the host.

    Parameters
    ----------
    tree : Path
        The guest's root file system: paths that exist in it are found there.
    version : str
        Such as ``"3.11"``.
    environment : mapping
        Variables beside those of the guest.
    processor : str
        One of :data:`FEATURES`.
    """

    def __init__(self, tree: Path, version: str, environment: dict[str, str], processor: str = PROCESSOR) -> None:
        self._command: list[str | Path] = [
            "qemu-aarch64-static",
            "-cpu",
            processor,
            "-L",
            tree,
            tree / f"usr/bin/python{version}",
        ]
        fixed = {"PATH": os.environ.get("PATH", ""), "PYTHONHOME": "/usr", "PYTHONPATH": f"/{SITE}"}
        numba = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": FEATURES[processor]}
        self._environment = fixed | numba | environment

    def run(self, arguments: Sequence[str | Path], doing: str) -> str:
        """Run it to its end and give what it printed."""
        return call([*self._command, *arguments], doing, env=self._environment)


def _compile_python(interpreter: GuestPython, tree: Path, files: Sequence[str]) -> None:
    """Compile what a node imports to bytecode, beside its sources: a third of the time to start."""
    listed = tree.with_name("imported.txt")
    listed.write_text("".join(f"{tree}{name}\n" for name in files))
    where = ["-s", str(tree), "-p", "/"]
    interpreter.run(["-m", "compileall", "-q", *where, "-i", listed], "compiling Python to bytecode")
