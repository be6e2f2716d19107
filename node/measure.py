"""How long this board takes for its parts, by its own clock."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError, Refused
from firmware_bridge.measuring import Measure, Measured, Quantity
from node.computer import Computer
from node.ecc import CODES

MOST_REPEATS = 4096
MOST_BYTES = 1 << 28
VERSIONED = ("flightnode", "numpy", "numba")
_SEED = 20_261_122
_OF_CODES = frozenset({Quantity.ENCODE, Quantity.CHECK, Quantity.SCRUB, Quantity.CORRECT})

Sample = Mapping[str, NDArray[np.generic]]
Action = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Something to time: ``prepare`` goes before each ``act`` and does not count."""

    size_bytes: int
    note: str
    act: Action
    prepare: Action = lambda: None


def measure(request: Measure, computer: Callable[[], Computer], sample: Callable[[], Sample]) -> Measured:
    """Carry out a :class:`~firmware_bridge.measuring.Measure`.

    Parameters
    ----------
    request : Measure
        What, of how much, how often.
    computer, sample : callable
        Give the computer that is set up and one of its inputs; asked for by those quantities that need them.

    Raises
    ------
    DataError
        No such code or step, or an amount that makes no sense.
    Refused
        Nothing is loaded, or the protection keeps no checkpoint.
    """
    if not 1 <= request.repeats <= MOST_REPEATS:
        raise DataError(f"measure: repeats = {request.repeats}: give 1 to {MOST_REPEATS}")
    timed = _buffered(request) if request.quantity in _OF_CODES else _timed(request, computer, sample)
    samples_ns = []
    for _ in range(request.repeats + 1):
        timed.prepare()
        started_ns = time.perf_counter_ns()
        timed.act()
        samples_ns.append(time.perf_counter_ns() - started_ns)
    return Measured(size_bytes=timed.size_bytes, samples_ns=tuple(samples_ns[1:]), note=timed.note)


def board_text(root: Path = Path("/")) -> str:
    """Name the board and what its times depend on: model, processor architecture, versions."""
    versions = [f"{name} {_version(name)}" for name in VERSIONED]
    return ", ".join([_model(root), platform.machine(), f"python {platform.python_version()}", *versions])


def _model(root: Path) -> str:
    """Give what the board or its processor calls itself: the device tree's model, else the processor's name."""
    tree, cpu = root / "proc/device-tree/model", root / "proc/cpuinfo"
    if tree.exists():
        return tree.read_text(errors="replace").strip("\0 \n")
    lines = cpu.read_text(errors="replace").splitlines() if cpu.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown board")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "from a source tree"


def _buffered(request: Measure) -> Timed:
    """Give a code's verb on a buffer of random bytes of its own; the loaded model is not touched."""
    if request.code not in CODES:
        raise DataError(f"measure: no code {request.code!r}; choose from {', '.join(CODES)}")
    code = CODES[request.code]
    plain = code.fitted(_random_bytes(request.size_bytes))
    data = plain.copy()
    check = code.encode(data)
    if request.quantity is Quantity.ENCODE:
        put_back: Action = lambda: np.copyto(data, plain)  # noqa: E731 - a code that encodes in place does so once
        return Timed(size_bytes=request.size_bytes, note=code.name, act=lambda: code.encode(data), prepare=put_back)
    if request.quantity is Quantity.CHECK:
        return Timed(size_bytes=request.size_bytes, note=code.name, act=lambda: code.check(data, check))
    act: Action = lambda: code.correct(data, check)  # noqa: E731 - the same for both that follow
    if request.quantity is Quantity.SCRUB:
        return Timed(size_bytes=request.size_bytes, note=code.name, act=act)
    pristine, sound = data.copy(), check.copy()

    def strike() -> None:
        data[:], check[:] = pristine, sound  # what the code could not repair
        data[data.size // 2] ^= 1

    return Timed(size_bytes=request.size_bytes, note=code.name, act=act, prepare=strike)


def _timed(request: Measure, get_computer: Callable[[], Computer], get_sample: Callable[[], Sample]) -> Timed:
    if request.quantity is Quantity.CLOCK:
        return Timed(size_bytes=0, note=board_text(), act=lambda: None)
    if request.quantity is Quantity.READ:
        words = _random_bytes(request.size_bytes // 8 * 8).view(np.uint64)
        return Timed(size_bytes=words.nbytes, note="sum of 64-bit words", act=words.sum)
    computer = get_computer()
    match request.quantity:
        case Quantity.STEP:
            return _step(request.step, computer, get_sample())
        case Quantity.INFERENCE:
            sample = get_sample()
            return Timed(size_bytes=0, note=computer.image.name, act=lambda: computer.infer(sample))
        case Quantity.PASS:
            return Timed(size_bytes=computer.checkpoint_bytes, note=computer.protection.code, act=computer.scrub)
        case Quantity.RELOAD:
            return Timed(size_bytes=computer.checkpoint_bytes, note=computer.protection.code, act=computer.reload)
        case Quantity.RESET:
            return Timed(size_bytes=computer.arena.u8.size, note=computer.protection.code, act=computer.reset)
    if computer.checkpoints is None:
        raise Refused(f"{request.quantity.name}: configure a protection with checkpoint_period of 1 or more first")
    computer.checkpoint()
    act = computer.checkpoint if request.quantity is Quantity.SAVE else computer.restore
    return Timed(size_bytes=computer.checkpoint_bytes, note=computer.protection.code, act=act)


def _step(index: int, computer: Computer, sample: Sample) -> Timed:
    image = computer.image
    if index >= len(image.steps):
        raise DataError(f"measure: step {index}: the model has steps 0 to {len(image.steps) - 1}")
    computer.infer(sample)  # so that it works on values which occur
    return Timed(size_bytes=0, note=image.step_names[index], act=lambda: computer.engine.run_steps(index, index + 1))


def _random_bytes(size_bytes: int) -> NDArray[np.uint8]:
    if not 64 <= size_bytes <= MOST_BYTES:
        raise DataError(f"measure: size_bytes = {size_bytes}: give 64 to {MOST_BYTES}")
    return np.random.default_rng(_SEED).integers(0, 256, size_bytes, np.uint8)
