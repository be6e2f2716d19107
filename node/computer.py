"""The payload computer: a model in memory that can be struck, guarded, saved and slowed down."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError, DataError, Refused
from firmware_bridge.messages import Fault, Readback
from node.arena import Arena
from node.checked_inference import CheckedInference, Resume, answer_alarm
from node.checkpoint import Checkpoint, CheckpointStore
from node.checks import Alarm, StepChecks
from node.digest import Crc
from node.ecc import CODES, DecodeReport, ProtectedRegion, Scrubber
from node.errors import OutputWithheld
from node.interrupts import raise_interrupt
from node.layout import layout_of, saved_regions
from node.machine import MOST_THREADS
from node.model.crew import plan_crew
from node.model.engine import Engine, load_image
from node.model.image import Image
from node.protection import OnDetected, Protection
from node.state_copies import StateCopies
from node.state_guard import StateGuard
from node.struck_cells import StruckCells
from node.struck_sums import StruckSums
from node.throttle import Throttle

DIGEST = Crc()
"""Tells whether memory is what it was."""


@dataclass
class Counters:
    """What has been done since the computer was made, or told to count anew.

    ``reloads`` counts the resets that found the golden copy itself damaged (see :meth:`Computer.reset`), ``alarms`` the
    checks on the computation that failed, ``recomputed_steps`` the operators that were run again because of them.
    """

    inferences: int = 0
    corrected_words: int = 0
    detected_words: int = 0
    reloads: int = 0
    alarms: int = 0
    recomputed_steps: int = 0


class Computer:
    """A compiled model in an arena, with its protection.

    Parameters
    ----------
    image : Image
        The compiled model.
    protection : Protection
        What guards what; the default guards nothing.
    storage : Path, optional
        Directory for checkpoints; a temporary one where it is needed and not given.
    interrupt : callable, optional
        What a functional interrupt does (see :mod:`node.interrupts`); the default raises.
    throttle : Throttle, optional
        The board's heat control, if it outlives this computer; one of its own where not given.
    threads : int
        How many threads share the large steps; every byte is that of one thread.

    Examples
    --------
    >>> import numpy as np, hil, node
    >>> from hil.workloads import digits
    >>> computer = node.Computer(hil.compile_model(digits("int8").model_path))
    >>> computer.infer({"image": np.zeros((1, 1, 8, 8), np.float32)})["logits"].shape
    (1, 10)
    """

    def __init__(
        self,
        image: Image,
        *,
        protection: Protection | None = None,
        storage: Path | None = None,
        interrupt: Callable[[int], None] = raise_interrupt,
        throttle: Throttle | None = None,
        threads: int = 1,
    ) -> None:
        if not 1 <= threads <= MOST_THREADS:
            raise ConfigError(f"threads = {threads}: choose 1 to {MOST_THREADS}")
        self.image = image
        self.protection = protection or Protection()
        self.layout = layout_of(image, self.protection)
        plan = plan_crew(image, self.layout.arena_bytes, threads)
        self.arena = Arena(self.layout, plan.spare_bytes)
        self.engine = Engine(image, self.arena, plan)
        self.counters = Counters()
        self._inference_s = 0.0  # the last one's computing time
        self._inputs: Mapping[str, NDArray[np.generic]] = {}  # the last ones written
        self._resources = ExitStack()
        self._resources.callback(self.engine.close)
        self.throttle = throttle or self._resources.enter_context(closing(Throttle()))
        self._load()
        self.guarded = self._guard()
        self._covered = tuple(region for region in self.guarded if region.code.in_place)
        self.state_guard = self._guard_state()
        self.scrubber = Scrubber(self.guarded, self.protection.scrub_period)
        self.checks = StepChecks(image, self.arena, self.guarded, self.protection, threads=threads)
        self.engine.checked = self.checks.runner
        self._pristine = self.arena.u8.copy()
        self._digest = DIGEST(self._pristine)
        self.checkpoints = self._open_checkpoints(storage)
        self._cells = StruckCells(
            self.arena,
            self.checkpoints,
            StruckSums(self.engine, self.arena, self.checks.abft),
            interrupt,
            repair_at_once=self.protection.repair_at_once,
        )
        self.state_copies = StateCopies(self.arena, self.protection.redundancy, self._cells.assert_stuck)

    # ---- memory ----------------------------------------------------------------------------------------------

    def _load(self) -> None:
        self.arena.u8[:] = 0
        load_image(self.arena, self.image)

    def _guard(self) -> tuple[ProtectedRegion, ...]:
        code = CODES[self.protection.code]
        guarded = []
        for name in self.protection.regions:
            check_name = f"check.{name}"
            check = self.arena.view(check_name) if check_name in self.layout else np.empty(0, np.uint8)
            region = ProtectedRegion(name, self.arena.view(name), check, code)
            region.encode()
            guarded.append(region)
        return tuple(guarded)

    def _guard_state(self) -> StateGuard | None:
        region = next((region for region in self.guarded if region.name == "state"), None)
        return None if region is None else StateGuard(region, self._again_to_state)

    def reset(self) -> bool:
        """Put all memory back to its state after loading; give False where it had to be loaded anew.

        The digest of the whole arena is verified against the one taken after loading. A mismatch means that the
        golden copy itself has suffered: everything is then loaded from the image again, and counted.
        """
        self._cells.release()
        if self.state_guard is not None:
            self.state_guard.taken()
        self.scrubber.rewind()
        np.copyto(self.arena.u8, self._pristine)
        sound = DIGEST(self.arena.u8) == self._digest
        if not sound:
            self._load()
            for region in self.guarded:
                region.encode()
            self.checks.load()
            np.copyto(self._pristine, self.arena.u8)
            self._digest = DIGEST(self._pristine)
            self.counters.reloads += 1
        for region in self.guarded:
            if not region.check_bits.size:
                # Such a code may keep what it knows outside the arena, where neither copy nor digest reaches.
                region.renew()
        if self.checkpoints is not None:
            # Trials follow one another faster than a medium syncs, and none needs the last one's baseline after a cut.
            self.checkpoints.baseline(self.saved_bytes(), durable=False)
        return sound

    def reload(self) -> None:
        """Load every guarded region again from the golden image, its check data, and what the checks keep.

        State begins anew, guarded or not.
        """
        for name in (*saved_regions(self.image, self.protection), *self.checks.regions):
            self._restore_region(name)
        for region in self.guarded:
            region.renew()
        self._cells.assert_stuck()

    def _restore_region(self, name: str) -> None:
        placed = self.layout[name]
        self.arena.view(name)[:] = self._pristine[placed.offset : placed.offset + placed.size_bytes]

    def learn(self, samples: Iterable[Mapping[str, NDArray[np.generic]]]) -> None:
        """Let the range checks learn their limits from clean runs on these inputs; all memory is reset.

        A model with state takes them in sequences (see :attr:`Protection.sequence`), each from its first state.
        """
        ranges = self.checks.ranges
        if ranges is None:
            return
        ranges.forget()
        sequence = self.protection.sequence if self.image.states else 1
        for number, sample in enumerate(samples):
            if number == 0 or (sequence and number % sequence == 0):
                self.reset()
            self.write_inputs(sample)
            for step in range(self.engine.n_steps):
                self._execute(step, step + 1)
                ranges.observe(step)
        self.reset()
        ranges.load()
        np.copyto(self._pristine, self.arena.u8)
        self._digest = DIGEST(self._pristine)

    # ---- inference -------------------------------------------------------------------------------------------

    def infer(self, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
        """Give the output arrays by name for one input array by name.

        Raises
        ------
        DataError
            An input is missing, unknown, or has another shape or dtype than the model takes.
        PayloadCrash
            The step table in memory no longer describes a computation.
        OutputWithheld
            A check on the computation failed, and still failed after the protection's answer to it.
        """
        if self.state_guard is None and not self.protection.checks_computation:
            # Nothing can raise an alarm, so there is nothing to keep an account of.
            self.write_inputs(inputs)
            self._end_inference(self.run_steps(0, self.engine.n_steps))
            return self.engine.read_outputs()
        inference = CheckedInference(self, begin=lambda: self.write_inputs(inputs), answer=self._answer)
        output = inference.execute()
        self.end_inference(inference)
        if self.state_guard is not None:
            self.count(self.state_guard.taken()[0])
        if output is None:
            raise OutputWithheld(f"model {self.image.name!r}: a check failed again after {inference.alarms} alarms")
        return self.engine.split_output(output)

    def _answer(self, alarm: Alarm) -> Resume:
        answer = answer_alarm(self, alarm)
        # A step cannot go on from the state of another moment, and nobody here knows the inputs since then.
        lost = answer.frame is None or (answer.restored and bool(self.image.states))
        return Resume.STOP if lost else Resume.STEP

    def run_steps(self, first: int, last: int, *, encode: bool = True) -> int:
        """Run operators ``first`` to ``last - 1`` and give the nanoseconds that they computed, pauses left out.

        Guarded state is checked before the first of them that writes it, and encoded after the last (with ``encode``).
        """
        guard, writing = self.state_guard, self.image.state_step
        if guard is None:
            return self._run(first, last)
        busy_ns = 0
        if first <= writing < last:
            busy_ns = self._run(first, writing) + guard.before_writing()
            first = writing
        busy_ns += self._run(first, last)
        if encode and first < last == self.engine.n_steps:
            guard.after_writing()
        return busy_ns

    def _again_to_state(self) -> int:
        """Begin the inference again, up to where it writes its state."""
        self.write_inputs(self._inputs)
        return self._run(0, self.image.state_step)

    def _run(self, first: int, last: int) -> int:
        """Run operators, as :meth:`run_steps` says.

        They go one by one where something happens between them: a cell that is stuck takes its value back from
        each of them, a sum is struck in one of them, and a long inference at a throttled clock has its pauses there.
        """
        if not (self._cells.act_between_steps or self.throttle.interleaves(self._inference_s)):
            return self._timed_steps(first, last)
        busy_ns = 0
        self._cells.assert_stuck()
        for step in range(first, last):
            busy_ns += self._timed_steps(step, step + 1)
            self._cells.assert_stuck()
        return busy_ns

    def _timed_steps(self, first: int, last: int) -> int:
        if first == last:
            return 0
        started_ns = time.perf_counter_ns()
        self._execute(first, last)
        busy_ns = time.perf_counter_ns() - started_ns
        self.throttle.worked(busy_ns / 1e9)
        return busy_ns

    def _execute(self, first: int, last: int) -> None:
        if not self._covered:
            self.engine.run_steps(first, last)
            return
        with ExitStack() as reading:
            for region in self._covered:
                reading.enter_context(region.opened())
            self.engine.run_steps(first, last)

    def end_inference(self, inference: CheckedInference) -> None:
        """Count an inference, and idle as the protection's slowdown asks for."""
        self.counters.alarms += inference.alarms
        self.counters.recomputed_steps += inference.recomputed_steps
        self._end_inference(inference.busy_ns)

    def _end_inference(self, busy_ns: int) -> None:
        self.counters.inferences += 1
        self._cells.end_inference()
        self._inference_s = busy_ns / 1e9
        if self.protection.slowdown > 1.0:
            self.throttle.idle((self.protection.slowdown - 1.0) * busy_ns / 1e9)

    def write_inputs(self, inputs: Mapping[str, NDArray[np.generic]]) -> None:
        """Copy the named input arrays into the arena."""
        self._inputs = inputs
        for spec in self.image.inputs:
            if spec.name not in inputs:
                raise DataError(f"input {spec.name!r} is missing: give {spec.dtype} {list(spec.shape)}")
            self.engine.write_input(spec.name, inputs[spec.name])
        if len(inputs) > len(self.image.inputs):
            known = [spec.name for spec in self.image.inputs]
            unknown = next(name for name in inputs if name not in known)
            raise DataError(f"the model has no input {unknown!r}; its inputs are {', '.join(known)}")

    def inject(self, fault: Fault) -> Readback:
        """Strike one bit, and give its byte before and after, read from the memory itself.

        A bit of an accumulator flips when its step runs next, in the inference that is under way or about to begin.
        """
        return self._cells.inject(fault)

    def step_of(self, fault: Fault) -> int | None:
        """Give the step in which alone a fault can strike, None where it can at any moment."""
        return self._cells.step_of(fault)

    # ---- protection ------------------------------------------------------------------------------------------

    def scrub(self) -> DecodeReport:
        """Check and correct every guarded region once."""
        return self._counted(self.scrubber.scrub())

    def scrub_slice(self, max_words: int) -> DecodeReport:
        """Check and correct the next words, see :meth:`node.ecc.Scrubber.scrub_slice`."""
        return self._counted(self.scrubber.scrub_slice(max_words))

    def count(self, report: DecodeReport) -> None:
        """Add what a check found to the counters."""
        self.counters.corrected_words += report.corrected
        self.counters.detected_words += report.detected

    def correct_step(self, step: int) -> DecodeReport:
        """Let the code repair what one step reads of the guarded regions."""
        return self._counted(self.checks.correct(step))

    def _counted(self, report: DecodeReport) -> DecodeReport:
        self._cells.assert_stuck()
        self.count(report)
        return report

    def checkpoint(self, frame: int = 0) -> int:
        """Save the guarded regions and state as they are and give the sequence number; verify before (see scrub)."""
        return self._checkpoints().save(self.saved_bytes(), frame).sequence

    def restore(self) -> Checkpoint | None:
        """Load the newest checkpoint that verifies and give it, or None where none does."""
        found = self._checkpoints().restore()
        if found is None:
            return None
        self.put_back(found.payload)
        return found

    def put_back(self, payload: bytes) -> None:
        """Load what a checkpoint saved (see :meth:`saved_bytes`), and make the check data anew."""
        start = 0
        for name in saved_regions(self.image, self.protection):
            view = self.arena.view(name)
            view[:] = np.frombuffer(payload, np.uint8, view.size, start)
            start += view.size
        for region in self.guarded:
            region.renew()
        self._cells.assert_stuck()

    def recover(self) -> int | None:
        """Follow the protection's answer to an uncorrectable error.

        Returns
        -------
        int or None
            The frame from which work has to be done again (-1: none is lost), or None where nothing can be done.
        """
        match self.protection.on_detected:
            case OnDetected.STOP:
                return None
            case OnDetected.RELOAD:
                self.reload()
                return self.first_lost
            case OnDetected.ROLLBACK:
                found = self.restore()
                return None if found is None else found.frame

    @property
    def first_lost(self) -> int:
        """The frame from which work is lost once memory is loaded again: all of it, where a model has state."""
        return 0 if self.image.states else -1

    @property
    def checkpoint_bytes(self) -> int:
        """Size of what one checkpoint saves."""
        return sum(self.layout[name].size_bytes for name in saved_regions(self.image, self.protection))

    def saved_bytes(self) -> bytes:
        """Give what a checkpoint saves: the guarded regions and state, one after the other."""
        return b"".join(self.arena.view(name).tobytes() for name in saved_regions(self.image, self.protection))

    def _checkpoints(self) -> CheckpointStore:
        if self.checkpoints is None:
            raise Refused("no checkpoints are kept: configure a protection with checkpoint_period of 1 or more")
        return self.checkpoints

    def _open_checkpoints(self, storage: Path | None) -> CheckpointStore | None:
        if not self.protection.checkpoint_period:
            return None
        if storage is None:
            storage = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="flightnode-")))
        payload = self.saved_bytes()
        store = self._resources.enter_context(CheckpointStore(storage, len(payload)))
        store.baseline(payload)
        return store

    # ---- life ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give files and clocks back."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()
