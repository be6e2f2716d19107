"""Resident memory of a board: the process that computes, with a model loaded and its kernels in the cache."""

from __future__ import annotations

import os
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


def resident_mb(pid: int) -> float:
    """Give the most that a process has had in memory, in MB of a million bytes."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def board_memory(name: str) -> Iterator[Contest]:
    """Run a model on a node of its own, guarded, and hold the memory of its computing process against the limit."""
    path = MODELS / name / "model.onnx"
    if not path.is_file() or not Path("/proc/self/status").exists():
        raise NotMeasurable(f"{path} or /proc is not there: set FLIGHTNODE_MODELS")
    image = hil.compile_model(path)
    inputs = {spec.name: np.zeros((1, *spec.shape[1:]), spec.dtype) for spec in image.inputs}
    before = set(descendants(os.getpid()))
    with open_session("pty", silent) as session:
        session.prepare(image.to_bytes(), inputs_archive(inputs))
        session.configure(Protection(code="hsiao_72_64"), DEADLINE_MS)
        session.run(Run(run_id=0, inputs=(0,)))
        board = max(set(descendants(os.getpid())) - before, key=resident_mb)
        used_mb = 0.0

        def measure() -> None:
            nonlocal used_mb
            used_mb += resident_mb(board)

        yield Contest(ours=measure, reference=LIMIT_MB, clock=lambda: used_mb, unit="MB")
