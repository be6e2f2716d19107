"""Checkpoints of 64 KiB on the disk of the present directory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.contest import Contest, NotMeasurable
from node.checkpoint import CheckpointStore

PAYLOAD_BYTES = 64 << 10
IN_MEMORY = ("tmpfs", "ramfs")


@contextmanager
def folder_on_disk() -> Iterator[Path]:
    """Give an empty folder under the present directory.

    Raises
    ------
    NotMeasurable
        The directory is kept in memory, where a sync costs nothing.
    """
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".benchmark-") as name:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
        holding = max(
            (mount for mount in mounts if Path(name).is_relative_to(mount[0])), key=lambda found: len(found[0])
        )
        if holding[1] in IN_MEMORY:
            raise NotMeasurable(f"{Path.cwd()} lies on {holding[1]}, which has no medium to wait for")
        yield Path(name)


def replace_file(folder: Path, payload: bytes) -> None:
    """Store a payload the usual way: temporary file, fsync, rename, fsync of the directory."""
    temporary = folder / "state.tmp"
    with temporary.open("wb", buffering=0) as file:
        file.write(payload)
        os.fsync(file.fileno())
    temporary.rename(folder / "state")
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


@contextmanager
def against(ours: Callable[[CheckpointStore, bytes], object], usual: bool = False) -> Iterator[Contest]:
    """Give a contest of one use of a store against a save, or against the usual way to store a file."""
    payload = os.urandom(PAYLOAD_BYTES)
    with folder_on_disk() as folder, CheckpointStore(folder / "slots", PAYLOAD_BYTES) as store:
        save(store, payload)
        store.baseline(payload)
        yield Contest(
            ours=lambda: ours(store, payload),
            reference=(lambda: replace_file(folder, payload)) if usual else (lambda: save(store, payload)),
            clock=time.perf_counter,
        )


def save(store: CheckpointStore, payload: bytes) -> object:
    return store.save(payload, frame=1)


def restore(store: CheckpointStore, _payload: bytes) -> object:
    return store.restore()


@contextmanager
def baseline_against_save() -> Iterator[Contest]:
    """Use two stores: a save would change what the baseline finds."""
    payload = os.urandom(PAYLOAD_BYTES)
    with (
        folder_on_disk() as folder,
        CheckpointStore(folder / "kept", PAYLOAD_BYTES) as kept,
        CheckpointStore(folder / "saved", PAYLOAD_BYTES) as saved,
    ):
        yield Contest(
            ours=lambda: kept.baseline(payload), reference=lambda: save(saved, payload), clock=time.perf_counter
        )


CONTESTS = {
    "commit": lambda: against(save, usual=True),
    "restore": lambda: against(restore),
    "baseline": baseline_against_save,
}


def test_recovery(benchmark, side):
    benchmark(side)
