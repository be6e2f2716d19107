"""Looks at this machine and says what would slow a run down or stop it, each with a one-line remedy.

What a board must have, the host must have too, since ``sim``, ``memory`` and ``pty`` run the node here: those checks
are the node's own (:mod:`node.doctor`). Added are the host's packages, programs that get in the way, and the disk.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

State = Literal["ok", "warn", "fail"]

PACKAGES = {"numpy": "numpy", "numba": "numba", "onnx": "onnx", "msgspec": "msgspec", "serial": "pyserial"}
"""Module to import, and the distribution that brings it."""

PROBERS = {"ModemManager": "ModemManager", "brltty": "brltty-udev"}
"""Programs that talk into ports they do not know, looking for modems and Braille displays, and their services."""

LEAST_SPACE_MB = 200
"""A campaign of ten thousand trials and its report stay below this."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    name, detail : str
        What was looked at, and what was found.
    state : {"ok", "warn", "fail"}
        ``fail``: nothing can be run; ``warn``: something is slow, or a part such as a port cannot be used.
    remedy : str
        What to do, in one line; empty where there is nothing to do.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(runs: Path) -> tuple[Check, ...]:
    """Give every check of this machine.

    Parameters
    ----------
    runs : Path
        Folder that results would go to; it need not exist.
    """
    packages = tuple(check_package(module, name) for module, name in PACKAGES.items())
    system = (
        check_bits(struct.calcsize("P") * 8),
        Check(name="python", state="ok", detail=platform.python_version()),
    )
    host = (check_probers(Path("/proc")), check_space(runs))
    if any(check.state == "fail" for check in packages):
        return (*system, *packages, *host)
    return (*system, *packages, *_board_checks(), *host)


def exit_code(checks: Iterable[Check]) -> int:
    """Give 1 if anything that prevents running failed, else 0."""
    return int(any(check.state == "fail" for check in checks))


def check_bits(bits: int) -> Check:
    """Check the word size: numba and the image format need 64 bits."""
    if bits == 64:
        return Check(name="system", state="ok", detail=f"{platform.system()} {platform.machine()}, 64 bit")
    remedy = "install the 64-bit system (Raspberry Pi OS 64-bit)"
    return Check(name="system", state="fail", detail=f"{bits} bit", remedy=remedy)


def check_package(module: str, distribution: str) -> Check:
    """Check that a package can be imported, and say which version it is."""
    remedy = f"pip install --force-reinstall {distribution}"
    try:
        importlib.import_module(module)
        return Check(name=distribution, state="ok", detail=metadata.version(distribution))
    except (ImportError, OSError) as error:
        return Check(name=distribution, state="fail", detail=f"cannot be imported: {error}", remedy=remedy)


def check_probers(processes: Path) -> Check:
    """Check that no program talks into new serial ports while a board listens on them.

    Parameters
    ----------
    processes : Path
        ``/proc``; another folder in tests.
    """
    running = sorted({name for path in processes.glob("[0-9]*/comm") if (name := _line(path)) in PROBERS})
    what = "programs that probe ports"
    if not running:
        return Check(name=what, state="ok", detail=f"none of {', '.join(PROBERS)} is running")
    remedy = f"sudo systemctl disable --now {' '.join(PROBERS[name] for name in running)}, or `hil suggest --udev`"
    detail = f"{', '.join(running)}: talking into new serial ports"
    return Check(name=what, state="warn", detail=detail, remedy=remedy)


def check_space(runs: Path) -> Check:
    """Check that results can be written into a folder that need not exist, and that there is room for them."""
    place = next(folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.exists())
    if not os.access(place, os.W_OK):
        detail = f"{place}: no permission to write"
        return Check(name="disk", state="warn", detail=detail, remedy="change to a folder of yours, or give --out")
    free_mb = shutil.disk_usage(place).free // 2**20
    detail = f"{free_mb} MB free for {runs}/"
    if free_mb < LEAST_SPACE_MB:
        return Check(name="disk", state="warn", detail=detail, remedy="make room, or give --out on another disk")
    return Check(name="disk", state="ok", detail=detail)


def _board_checks() -> Iterable[Check]:
    from node import doctor

    for check in doctor.examine():
        state: State = "warn" if check.remedy else "ok"
        yield Check(name=check.name, state=state, detail=check.finding, remedy=check.remedy)


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # the process ended while we looked
        return ""
