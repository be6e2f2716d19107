"""How long it takes to be ready: commands, the first inference, and compiling for a board that has compiled nothing.

What one process does alone is timed by its processor time, which leaves out other processes; the cold start by the
clock on the wall.
"""

from __future__ import annotations

import functools
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hil
from benchmarks.board_memory import descendants, sizes_bytes
from benchmarks.contest import Contest, NotMeasurable
from benchmarks.public_models import MODELS, ROOT
from firmware_bridge.messages import Done, Progress
from node.child_computer import ChildComputer

LOOK_S = 0.1
HELP_S, FIRST_S, COLD_S, COLD_MIB = 0.15, 0.8, 15.0, 400.0
MODEL, SECOND_MODEL = "resnet8_ic_fp32", "dscnn_kws_fp32"
SECOND_SHARE = 0.1
"""Of what the first model takes in a process that has compiled nothing."""
FIRST_INFERENCE = """
import os, sys
sys.modules["scipy"] = None  # a board has none, and numba imports it where it finds it
import numpy as np
from node.computer import Computer
from node.model.image import Image
image = Image.load(sys.argv[1])
with Computer(image) as computer:
    computer.infer({spec.name: np.zeros(spec.shape, spec.dtype) for spec in image.inputs})
    os._exit(0)  # how long a process takes to end is not asked
"""


def run(*arguments: str, **variables: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode
    subprocess.run([sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def spent_s() -> float:
    """Give the processor time of all processes that have been started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def command() -> Iterator[Contest]:
    yield Contest(ours=lambda: run("-m", "hil", "--help"), reference=HELP_S, clock=spent_s)


@contextmanager
def first_inference() -> Iterator[Contest]:
    """A process that loads an image and infers once, with its kernels in the cache."""
    with tempfile.TemporaryDirectory() as folder:
        image = saved_image(Path(folder), MODEL)
        run("-c", FIRST_INFERENCE, image)
        yield Contest(ours=lambda: run("-c", FIRST_INFERENCE, image), reference=FIRST_S, clock=spent_s)


@contextmanager
def second_model() -> Iterator[Contest]:
    """A process that infers with a model, where one before compiled what another model needs, and nothing else did."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (saved_image(Path(folder), name) for name in (MODEL, SECOND_MODEL))
        cache = {"NUMBA_CACHE_DIR": f"{folder}/cache"}
        before = spent_s()
        run("-c", FIRST_INFERENCE, first, **cache)
        between = spent_s()
        run("-c", FIRST_INFERENCE, second, **cache)
        taken, shown = spent_s() - between, 0.0

        def show() -> None:
            nonlocal shown
            shown += taken

        yield Contest(ours=show, reference=SECOND_SHARE * (between - before), clock=lambda: shown)


def saved_image(folder: Path, name: str) -> str:
    model = MODELS / name / "model.onnx"
    if not model.is_file():
        raise NotMeasurable(f"{model} is not there: set FLIGHTNODE_MODELS")
    path = folder / f"{name}.img"
    hil.compile_model(model).save(path)
    return str(path)


@functools.cache
def cold_start() -> tuple[float, float]:
    """Start a computer that has compiled nothing; give the seconds until it is ready, and MiB of all its processes."""
    if not Path("/proc/self/smaps_rollup").exists():
        raise NotMeasurable("this system does not say what memory processes share")
    with tempfile.TemporaryDirectory() as folder:
        cache, storage = Path(folder, "cache"), Path(folder, "storage")
        storage.mkdir()
        line = ["env", f"NUMBA_CACHE_DIR={cache}", f"PYTHONPATH={ROOT}", sys.executable, "-m", "node", "compute"]
        computer = ChildComputer([*line, "--storage", str(storage)], lambda _words: None)
        started_s, most = time.perf_counter(), 0.0
        computer.start()
        try:
            while True:
                select.select(computer.readers, [], [], LOOK_S)
                for event in computer.events():
                    if isinstance(event, Done):
                        return time.perf_counter() - started_s, most
                    assert isinstance(event, Progress), event
                assert computer.pid is not None
                most = max(most, taken_mib([computer.pid, *descendants(computer.pid)]))
        finally:
            computer.close()


def taken_mib(processes: list[int]) -> float:
    """Give the memory of processes, counting once what the largest of them shares with others."""
    own, shared = 0, 0
    for process in processes:
        try:
            private, common = sizes_bytes(process)
        except OSError:
            continue  # it has ended meanwhile
        own, shared = own + private, max(shared, common)
    return (own + shared) / (1 << 20)


@contextmanager
def cold(number: int, limit: float, unit: str) -> Iterator[Contest]:
    """Hold what one cold start took against its limit: repeats would take minutes."""
    taken, shown = cold_start()[number], 0.0

    def show() -> None:
        nonlocal shown
        shown += taken

    yield Contest(ours=show, reference=limit, clock=lambda: shown, unit=unit)


CONTESTS = {
    "help": command,
    "first-inference": first_inference,
    "second-model": second_model,
    "cold-compile": lambda: cold(0, COLD_S, "s"),
    "cold-memory": lambda: cold(1, COLD_MIB, "MiB"),
}


def test_startup(benchmark, side):
    benchmark(side)
