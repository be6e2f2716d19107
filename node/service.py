"""The node's commands: one message in, one message out, whatever carries them."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firmware_bridge import crc
from firmware_bridge.errors import DataError, Refused
from firmware_bridge.measuring import Measure, Measured
from firmware_bridge.messages import (
    Checkpoint,
    CheckpointReport,
    Configure,
    Done,
    Infer,
    Inferred,
    Inject,
    Injected,
    Message,
    Reset,
    Restore,
    Run,
    Scrub,
    ScrubReport,
    SetTemperature,
    SetThrottleLimits,
    Telemetry,
    TelemetryRequest,
)
from node.background import background_scrub, check_background
from node.computer import Computer, Counters
from node.ecc.pacing import Pacer
from node.interrupts import raise_interrupt, real_interrupt
from node.layout import layout_of
from node.lockstep import LockstepRun
from node.measure import measure
from node.model.image import Image
from node.protection import Protection
from node.throttle import Throttle


class Service:
    """A computer that answers messages.

    Parameters
    ----------
    storage : Path
        Directory for checkpoints.
    in_process : bool
        True where a functional interrupt must not kill or hang the process (it is raised instead).
    """

    def __init__(self, storage: Path, *, in_process: bool, threads: int = 1) -> None:
        self._storage = storage
        self._threads = threads
        self._interrupt = raise_interrupt if in_process else real_interrupt
        self._image: Image | None = None
        self._protection = Protection()
        self._throttle = Throttle()
        self._computer: Computer | None = None
        self._samples: list[dict[str, NDArray[np.generic]]] = []
        self._background: Pacer | None = None
        self._started_s = time.monotonic()
        self._load_mark = (time.monotonic(), 0.0)
        self._handlers: dict[type, Callable[..., Message]] = {
            Configure: self._configure,
            Inject: self._inject,
            SetTemperature: self._set_temperature,
            SetThrottleLimits: self._set_throttle_limits,
            Run: self._run,
            Scrub: self._scrub,
            Checkpoint: self._checkpoint,
            Restore: self._restore,
            TelemetryRequest: self._telemetry,
            Infer: self._infer,
            Measure: self._measure,
            Reset: self._reset,
        }

    def handle(self, message: Message) -> Message:
        """Carry out one command and give its reply.

        Raises
        ------
        FlightNodeError
            The command cannot be carried out; the agent answers with its text.
        PayloadCrash, PayloadHang
            The computer ended abnormally (in process only).
        """
        handler = self._handlers.get(type(message))
        if handler is None:
            raise Refused(f"this node does not answer {type(message).__name__}")
        return handler(message)

    # ---- what is loaded ----------------------------------------------------------------------------------------

    def load_image(self, path: Path) -> None:
        """Take a compiled model; inputs loaded before it are forgotten."""
        self._image = Image.load(path)
        self._samples = []
        self._rebuild()

    def load_inputs(self, path: Path) -> None:
        """Take the inputs that runs name by index: an .npz with one array per model input, first axis = sample."""
        image = self._loaded_image()
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
            # Of a lone .npy file comes an array, which is no context manager.
            raise DataError(f"inputs: not an .npz archive of plain arrays: {error}") from None
        self._samples = split_samples(image, arrays)
        if self._computer is not None:
            self._computer.learn(self._samples)

    def _configure(self, message: Configure) -> Done:
        protection = Protection.from_json(message.protection)
        check_background(protection)
        if self._image is not None:
            layout_of(self._image, protection)  # what cannot be laid out is refused before the old computer goes
        self._protection = protection
        self._rebuild()
        return Done()

    def _rebuild(self) -> None:
        if self._image is None:
            return
        if self._computer is not None:
            self._background = None
            self._computer.close()
            self._computer = None
        self._computer = Computer(
            self._image,
            protection=self._protection,
            storage=self._storage,
            interrupt=self._interrupt,
            throttle=self._throttle,
            threads=self._threads,
        )
        self._rehearse(self._computer)
        if self._samples:
            self._computer.learn(self._samples)
        self._background = background_scrub(self._computer)

    @staticmethod
    def _rehearse(computer: Computer) -> None:
        """Run once, so that whatever this model and protection need is compiled now and not within a deadline."""
        computer.checks.rehearse()
        computer.scrub()
        for step in range(computer.engine.n_steps):
            computer.engine.run_step(step)  # one by one, as steps are run that have a check of their own
        computer.reset()

    def _loaded_image(self) -> Image:
        if self._image is None:
            raise Refused("no image is loaded: load one first")
        return self._image

    def _ready(self) -> Computer:
        self._loaded_image()
        if self._computer is None:
            raise Refused("the last configuration failed: configure the node again")
        return self._computer

    # ---- commands ----------------------------------------------------------------------------------------------

    def _run(self, message: Run) -> Message:
        computer = self._ready()
        if not self._samples:
            raise Refused("no inputs are loaded: load them first")
        self._background = None  # from here on time is logical, until the next Reset or Configure
        return LockstepRun(computer, self._samples, message).execute()

    def _inject(self, message: Inject) -> Injected:
        computer = self._ready()
        return Injected(readbacks=tuple(computer.inject(fault) for fault in message.faults))

    def _set_temperature(self, message: SetTemperature) -> Done:
        self._throttle.set_temperature(message.celsius)
        return Done()

    def _set_throttle_limits(self, message: SetThrottleLimits) -> Done:
        self._throttle.set_limits(message.soft_c, message.hard_c)
        return Done()

    def _scrub(self, _message: Scrub) -> ScrubReport:
        computer = self._ready()
        started_ns = time.perf_counter_ns()
        report = computer.scrub()
        return ScrubReport(
            words=report.words,
            corrected=report.corrected,
            detected=report.detected,
            elapsed_us=(time.perf_counter_ns() - started_ns) // 1000,
        )

    def _checkpoint(self, _message: Checkpoint) -> CheckpointReport:
        computer = self._ready()
        started_ns = time.perf_counter_ns()
        report = computer.scrub()
        verified_ns = time.perf_counter_ns()
        if report.detected:
            raise Refused(f"not saved: {report.detected} words are wrong and cannot be corrected; restore or reset")
        sequence = computer.checkpoint()
        return CheckpointReport(
            sequence=sequence,
            size_bytes=computer.checkpoint_bytes,
            elapsed_us=(time.perf_counter_ns() - started_ns) // 1000,
            verify_us=(verified_ns - started_ns) // 1000,
        )

    def _restore(self, _message: Restore) -> CheckpointReport:
        computer = self._ready()
        started_ns = time.perf_counter_ns()
        found = computer.restore()
        if found is None:
            raise Refused("no checkpoint verifies: reset the node or load the image again")
        return CheckpointReport(
            sequence=found.sequence,
            size_bytes=computer.checkpoint_bytes,
            elapsed_us=(time.perf_counter_ns() - started_ns) // 1000,
            verify_us=0,
        )

    def _reset(self, _message: Reset) -> Done:
        computer = self._ready()
        computer.reset()
        computer.counters = Counters()
        self._background = background_scrub(computer)
        self._throttle.reset()
        return Done()

    def _infer(self, message: Infer) -> Inferred:
        computer, inputs = self._ready(), split_bytes(self._loaded_image(), message.data)
        for _ in range(message.warm_up):
            computer.infer(inputs)
        outputs: dict[str, NDArray[np.generic]] = {}
        started_ns = time.perf_counter_ns()
        for _ in range(message.count):
            outputs = computer.infer(inputs)
        elapsed_us = (time.perf_counter_ns() - started_ns) // 1000
        values = [float(value) for array in outputs.values() for value in array.ravel().astype(np.float32)]
        return Inferred(values=tuple(values), elapsed_us=min(elapsed_us, 2**32 - 1))

    def _measure(self, message: Measure) -> Measured:
        measured = measure(message, self._ready, self._first_sample)
        if self._computer is not None:
            self._computer.reset()
        return measured

    def _first_sample(self) -> dict[str, NDArray[np.generic]]:
        if not self._samples:
            raise Refused("no inputs are loaded: load them first")
        return self._samples[0]

    def _telemetry(self, _message: TelemetryRequest) -> Telemetry:
        throttle, vitals = self._throttle, self._throttle.vitals()
        counters = self._computer.counters if self._computer is not None else Counters()
        return Telemetry(
            uptime_ms=int((time.monotonic() - self._started_s) * 1000),
            state=self._state(),
            plant_c=throttle.plant_c,
            board_c=vitals.temperature_c,
            clock_mhz=throttle.clock_mhz,
            clock_ratio=throttle.ratio,
            throttled=throttle.flags,
            throttle_actuator=throttle.actuator_name,
            load=self._load_since_last(),
            inferences=counters.inferences,
            corrected_words=counters.corrected_words,
            detected_words=counters.detected_words,
            reloads=counters.reloads,
            alarms=counters.alarms,
            recomputed_steps=counters.recomputed_steps,
            crc_engine=crc.engine(),
            sensors=", ".join(f"{figure}: {source}" for figure, source in vitals.sources.items()),
        )

    def _state(self) -> str:
        if self._image is None:
            return "no image"
        return "ready" if self._samples else "no inputs"

    def _load_since_last(self) -> float:
        """Give the share of time spent computing since the previous telemetry."""
        marked_s, busy_then_s = self._load_mark
        now_s, busy_s = time.monotonic(), self._throttle.busy_s
        self._load_mark = (now_s, busy_s)
        return min(1.0, (busy_s - busy_then_s) / (now_s - marked_s)) if now_s > marked_s else 0.0

    # ---- beside commands ---------------------------------------------------------------------------------------

    @property
    def background_wait_s(self) -> float | None:
        """Seconds until the next slice of a scrub is due, 0 where it is; None where none is asked for."""
        return None if self._background is None else self._background.wait_s

    def work_in_background(self) -> None:
        """Scrub one slice if it is due."""
        if self._background is not None:
            self._background.work()

    def close(self) -> None:
        """Close the computer and give the board its clocks back."""
        if self._computer is not None:
            self._computer.close()
        self._throttle.close()


def split_bytes(image: Image, data: bytes) -> dict[str, NDArray[np.generic]]:
    """Cut the bytes of one sample into the arrays that the model takes, in the order of its inputs.

    Raises
    ------
    DataError
        There are more or fewer bytes than the inputs have.
    """
    sizes = {spec.name: int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize for spec in image.inputs}
    if sum(sizes.values()) != len(data):
        raise DataError(f"an input has {sum(sizes.values())} bytes ({sizes}), not {len(data)}")
    inputs: dict[str, NDArray[np.generic]] = {}
    at = 0
    for spec in image.inputs:
        part = data[at : at + sizes[spec.name]]
        inputs[spec.name] = np.frombuffer(part, np.dtype(spec.dtype).newbyteorder("<")).astype(spec.dtype)
        inputs[spec.name] = inputs[spec.name].reshape(spec.shape)
        at += sizes[spec.name]
    return inputs


def split_samples(image: Image, arrays: dict[str, NDArray[np.generic]]) -> list[dict[str, NDArray[np.generic]]]:
    """Cut arrays of many samples into one mapping a sample, in the shape that the model takes.

    A model input of shape ``[1, ...]`` takes samples stored as ``[n, ...]`` or ``[n, 1, ...]``.

    Raises
    ------
    DataError
        An array is missing, or has the wrong dtype, shape or number of samples.
    """
    if not image.inputs:
        raise DataError(f"inputs: model {image.name!r} takes none, so that all its outputs are the same: give another")
    counts: dict[str, int] = {}
    shaped: dict[str, NDArray[np.generic]] = {}
    for spec in image.inputs:
        if spec.name not in arrays:
            held = ", ".join(arrays) or "none"
            raise DataError(f"inputs: no array {spec.name!r} (the model's input); the file holds {held}")
        array = arrays[spec.name]
        wanted = tuple(spec.shape)
        accepted = {wanted} | ({wanted[1:]} if wanted[:1] == (1,) else set())
        if array.dtype != np.dtype(spec.dtype):
            raise DataError(f"inputs: {spec.name!r} has dtype {array.dtype}, the model takes {spec.dtype}: convert it")
        if array.ndim == 0 or array.shape[1:] not in accepted:
            raise DataError(
                f"inputs: {spec.name!r} has shape {list(array.shape)}; give [samples, "
                f"{', '.join(str(size) for size in (wanted[1:] if wanted[:1] == (1,) else wanted))}]"
            )
        counts[spec.name] = array.shape[0]
        shaped[spec.name] = np.ascontiguousarray(array).reshape(array.shape[0], *wanted)
    if len(set(counts.values())) != 1 or not next(iter(counts.values())):
        raise DataError(f"inputs: the arrays hold {counts} samples: give the same number, at least 1")
    return [{name: array[index] for name, array in shaped.items()} for index in range(next(iter(counts.values())))]
