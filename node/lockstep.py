"""One run in logical time: inferences, faults, scrubs and checkpoints in an order that no clock decides.

The order within inference ``k`` is: scrub if due, save a checkpoint if due, then operator by operator, each fault
just before the operator it names. So every target gives the same outcome for the same faults.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from firmware_bridge.messages import FLAGS_UNKNOWN, Delivery, Fault, Inference, Readback, Run, RunResult
from node.checked_inference import CheckedInference, Resume, answer_alarm
from node.checks import Alarm
from node.computer import Computer
from node.ecc import DecodeReport

Samples = Sequence[Mapping[str, NDArray[np.generic]]]


class LockstepRun:
    """The state of one run on one computer.

    Parameters
    ----------
    computer : Computer
        Where it runs.
    samples : sequence of mapping
        All loaded inputs; the run names them by index.
    run : Run
        Which inputs, under which faults.
    """

    def __init__(self, computer: Computer, samples: Samples, run: Run) -> None:
        self._computer = computer
        self._samples = samples
        self._run = run
        self._check_inputs()
        self._check_sums()
        self._faults = _by_inference(run, computer.protection.redundancy * (computer.engine.n_steps + 1))
        self._readbacks: dict[int, Readback] = {}
        self._report = DecodeReport(0, 0, 0)
        self._stopped = False
        self._reloads = self._rollbacks = self._lost = self._saves = 0
        self._alarms = self._recomputed_steps = 0
        self._busy_ns = self._protect_ns = self._save_ns = self._verify_ns = self._restore_ns = self._respond_ns = 0

    def execute(self) -> RunResult:
        """Run every inference and give what happened."""
        if self._run.isolate and not self._computer.reset():
            self._reloads += 1
        self._computer.checks.reset()
        started_ns = time.perf_counter_ns()
        inferences = tuple(self._inference(number) for number in range(len(self._run.inputs)))
        elapsed_ns = time.perf_counter_ns() - started_ns
        return self._result(inferences, elapsed_ns)

    # ---- one inference -----------------------------------------------------------------------------------------

    def _inference(self, number: int) -> Inference:
        self._guard(number)
        if self._stopped:
            # Faults that were to strike a stopped node still strike its memory: the record must show them.
            for index, fault in self._faults.get(number, ()):
                self._inject(index, fault)
            return Inference(delivery=Delivery.WITHHELD, output=b"")
        throttle = self._computer.throttle
        started_ns, waited_ns = time.perf_counter_ns(), throttle.waited_ns
        faults = self._faults.get(number, ())
        inference = CheckedInference(
            self._computer,
            begin=lambda: self._computer.write_inputs(self._sample(number)),
            answer=partial(self._answer, number),
            moments=[(fault.step, partial(self._inject, index, fault)) for index, fault in faults],
        )
        output = inference.execute()
        self._alarms += inference.alarms
        self._recomputed_steps += inference.recomputed_steps
        self._busy_ns += inference.busy_ns
        self._computer.end_inference(inference)
        waited_ns = throttle.waited_ns - waited_ns
        throttle.spent_ns(time.perf_counter_ns() - started_ns - inference.busy_ns - waited_ns)
        output = self._with_sound_state(number, output)
        if output is None:
            return Inference(delivery=Delivery.WITHHELD, output=b"")
        return Inference(delivery=Delivery.DELIVERED, output=output)

    def _check_inputs(self) -> None:
        """Refuse a run that names an input which is not loaded, before anything is done."""
        last = max(self._run.inputs, default=0)
        if last >= len(self._samples):
            raise DataError(f"run {self._run.run_id} asks for input {last}; {len(self._samples)} are loaded")

    def _check_sums(self) -> None:
        """Refuse a sum that is struck at the moment of another step than its own."""
        moments = self._computer.engine.n_steps + 1
        for index, fault in enumerate(self._run.faults):
            own = self._computer.step_of(fault)
            if own not in (None, fault.step % moments):
                raise DataError(f"fault {index}: this accumulator is one of step {own}, not of {fault.step % moments}")

    def _sample(self, number: int) -> Mapping[str, NDArray[np.generic]]:
        return self._samples[self._run.inputs[number]]

    def _inject(self, index: int, fault: Fault) -> None:
        self._readbacks[index] = self._computer.inject(fault)

    # ---- protection --------------------------------------------------------------------------------------------

    def _guard(self, number: int) -> None:
        protection = self._computer.protection
        if self._stopped:
            return
        if self._computer.scrubber.due(number):
            started_ns = time.perf_counter_ns()
            sound = self._correct(self._computer.protection.scrub_slice)
            self._protect_ns += self._spent_ns(started_ns)
            if not sound:
                self._recover(number)
        due = protection.checkpoint_period and number and number % protection.checkpoint_period == 0
        if due and not self._stopped:
            self._save(number)

    def _spent_ns(self, started_ns: int) -> int:
        """Give the time since then, as long as it is at the clock that is allowed."""
        return self._computer.throttle.spent_ns(time.perf_counter_ns() - started_ns)

    def _correct(self, max_words: int = 0) -> bool:
        """Scrub the next words, or everything; give True where nothing was found that could not be corrected."""
        report = self._computer.scrub_slice(max_words) if max_words else self._computer.scrub()
        self._report += report
        return report.detected == 0

    def _save(self, number: int) -> None:
        """Save, after verifying: a checkpoint that preserves corruption would be worse than none."""
        started_ns = time.perf_counter_ns()
        sound = self._correct()
        self._verify_ns += self._spent_ns(started_ns)
        if not sound:
            self._recover(number)
            return
        started_ns = time.perf_counter_ns()
        self._computer.checkpoint(number)
        self._save_ns += time.perf_counter_ns() - started_ns  # waits for the medium, whatever the clock
        self._saves += 1

    def _with_sound_state(self, number: int, output: bytes | None) -> bytes | None:
        """Give the output of inference ``number``, made anew where its state was found wrong; None withholds it."""
        guard, states = self._computer.state_guard, self._computer.image.states
        if guard is not None:
            report, spent_ns = guard.taken()
            self._report += report
            self._computer.count(report)
            self._protect_ns += spent_ns
        if output is None and states:
            self._stopped = True  # without this inference's state, every later one would be wrong
        if output is None or guard is None or guard.sound:
            return output
        self._recover(number + 1)
        return None if self._stopped else self._computer.engine.output_bytes()

    def _recover(self, until: int) -> None:
        """Follow the protection's answer to an error; what has to be done again is up to before ``until``."""
        started_ns = time.perf_counter_ns()
        frame = self._computer.recover()
        self._restore_ns += self._spent_ns(started_ns)
        if frame is None:
            self._stopped = True
            return
        self._rollbacks += 1
        if frame >= 0:
            self._redo(frame, until)

    def _answer(self, number: int, alarm: Alarm) -> Resume:
        """Answer an alarm during an inference, as the protection says."""
        started_ns = time.perf_counter_ns()
        answer = answer_alarm(self._computer, alarm)
        spent_ns = self._spent_ns(started_ns)
        self._report += answer.report
        if answer.frame is None:
            self._stopped = True
            return Resume.STOP
        if not answer.restored:
            self._respond_ns += spent_ns
            return Resume.STEP
        self._restore_ns += spent_ns
        self._rollbacks += 1
        if answer.frame < 0:
            return Resume.STEP
        self._redo(answer.frame, number)
        return Resume.START

    def _redo(self, frame: int, until: int) -> None:
        """Do the inferences since the checkpoint again; what was delivered then stays delivered."""
        for lost in range(frame, until):
            self._computer.write_inputs(self._sample(lost))
            self._busy_ns += self._computer.run_steps(0, self._computer.engine.n_steps)
            self._lost += 1

    # ---- result ------------------------------------------------------------------------------------------------

    def _result(self, inferences: tuple[Inference, ...], elapsed_ns: int) -> RunResult:
        throttle = self._computer.throttle
        checks = self._computer.checks
        vitals = throttle.vitals()
        return RunResult(
            run_id=self._run.run_id,
            inferences=inferences,
            readbacks=tuple(self._readbacks[index] for index in range(len(self._run.faults))),
            checked_words=self._report.words + checks.verified.words,
            corrected_words=self._report.corrected,
            detected_words=self._report.detected,
            reloads=self._reloads,
            rollbacks=self._rollbacks,
            lost_inferences=self._lost,
            saves=self._saves,
            alarms=self._alarms + checks.clipped,
            recomputed_steps=self._recomputed_steps,
            elapsed_us=elapsed_ns // 1000,
            busy_us=self._busy_ns // 1000,
            protect_us=(self._protect_ns + checks.spent_ns) // 1000,
            save_us=self._save_ns // 1000,
            verify_us=self._verify_ns // 1000,
            restore_us=self._restore_ns // 1000,
            respond_us=self._respond_ns // 1000,
            clock_mhz=throttle.clock_mhz,
            throttled=throttle.flags,
            plant_c=throttle.plant_c,
            board_c=vitals.temperature_c,
            board_mhz=vitals.clock_mhz,
            board_throttled=FLAGS_UNKNOWN if vitals.throttled is None else vitals.throttled,
        )


def _by_inference(run: Run, moments: int) -> dict[int, list[tuple[int, Fault]]]:
    """Sort the faults by moment, keeping their index in the request; refuse moments outside the run."""
    table: dict[int, list[tuple[int, Fault]]] = {}
    for index, fault in enumerate(run.faults):
        if fault.inference >= len(run.inputs) or fault.step >= moments:
            raise DataError(
                f"fault {index}: moment (inference {fault.inference}, step {fault.step}) lies outside a run of "
                f"{len(run.inputs)} inferences with moments 0 to {moments - 1}"
            )
        table.setdefault(fault.inference, []).append((index, fault))
    for entries in table.values():
        entries.sort(key=lambda entry: (entry[1].step, entry[0]))
    return table
