"""Resident memory of a board, with a model loaded and its kernels in the cache."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import hil
from benchmarks.contest import Contest, NotMeasurable
from benchmarks.public_models import MODELS
from firmware_bridge.messages import Run
from hil.campaign.workload import inputs_archive
from hil.progress import silent
from hil.targets.target import open_session
from node.protection import Protection

LIMIT_MB = 180.0
DEADLINE_MS = 60_000


def descendants(pid: int) -> Iterator[int]:
    """Give the processes below one."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from descendants(child)


def peak_mb(pid: int) -> float:
    """Give the most that a process has had in memory, in MB of a million bytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def sizes_bytes(pid: int) -> tuple[int, int]:
    """Give the memory that a process has for itself, and what it shares with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines}
    return sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Shared_Clean"] + sizes["Shared_Dirty"]


@contextmanager
def without_scipy() -> Iterator[None]:
    """Let processes that start meanwhile find no scipy: a board has none, and numba imports it where it finds it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "scipy.py").write_text("raise ImportError('as on a board')\n")
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *([before] if before else [])])
        try:
            yield
        finally:
            os.environ.pop("PYTHONPATH")
            os.environ |= {"PYTHONPATH": before} if before else {}


@contextmanager
def board_memory(name: str) -> Iterator[Contest]:
    """Run a model on a node of its own, guarded, and hold the memory of both its processes against the limit.

    That is the most that the process which computes has had, and what its parent has for itself.
    """
    path = MODELS / name / "model.onnx"
    if not path.is_file() or not Path("/proc/self/smaps_rollup").exists():
        raise NotMeasurable(f"{path} or /proc is not there: set FLIGHTNODE_MODELS")
    image = hil.compile_model(path)
    inputs = {spec.name: np.zeros((1, *spec.shape[1:]), spec.dtype) for spec in image.inputs}
    before = set(descendants(os.getpid()))
    with without_scipy(), open_session("pty", silent) as session:
        session.prepare(image.to_bytes(), inputs_archive(inputs))
        session.configure(Protection(code="hsiao_72_64"), DEADLINE_MS)
        session.run(Run(run_id=0, inputs=(0,)))
        parent, board = sorted(set(descendants(os.getpid())) - before, key=peak_mb)
        used_mb = 0.0

        def measure() -> None:
            nonlocal used_mb
            used_mb += peak_mb(board) + sizes_bytes(parent)[0] / 1e6

        yield Contest(ours=measure, reference=LIMIT_MB, clock=lambda: used_mb, unit="MB")
