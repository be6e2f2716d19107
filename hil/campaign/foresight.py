"""Trials that need no node: what a strike ends in follows from golden values, the code itself and the exact engine.

All faults of a strike land at one moment. Before it everything is golden. After it the protection's own code decodes
the struck memory, and only inferences that read what is still wrong are computed. What cannot be told so (checks on
the computation, redundancy, codes inside the data, scrubs in slices, struck steps, state) is left to the node. A row
that is foretold has no times; everything else in it is what the node would answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec
import numpy as np

from firmware_bridge.errors import ShortcutFailed
from firmware_bridge.messages import FLAGS_UNKNOWN, Delivery, Fault, FaultKind, Inference, Readback, Run, RunResult
from hil.campaign.memory_model import MemoryModel, struck_byte
from hil.campaign.record import TrialRow
from hil.campaign.task import StrikeRun, Task
from hil.campaign.trial import judge, trial_row
from hil.campaign.workload import Workload
from node.ecc import CODES
from node.ecc.code import DecodeReport
from node.model.accumulators import REGION as ACCUMULATORS
from node.model.effects import Group, WholeRuns, engine_of
from node.model.frames import Frames, NotIncremental
from node.model.incremental import IncrementalEngine
from node.service import split_samples
from node.struck_sums import StruckSums

MOST_GOLDEN_BYTES = 256 << 20
"""Golden values that are kept at once; a workload with more of them is left to the node."""
MANY_PRODUCTS = 2_000_000
"""Products of an inference from which on the exact engine is worth the time that compiling it takes."""

Outputs = Callable[[Sequence[Group]], Sequence[bytes | None]]


@dataclass(kw_only=True)
class _Forecast:
    """What is known of a run before its struck inferences are computed.

    ``outputs`` holds, of each inference, what has to be computed, what is delivered, or None where it is withheld.
    """

    readbacks: tuple[Readback, ...]
    outputs: list[Group | bytes | None]
    report: DecodeReport
    rollbacks: int
    lost_inferences: int
    saves: int


class Golden:
    """The undisturbed values of a workload, shared by all of its protections.

    Raises
    ------
    NotIncremental
        They cannot be told apart, or there are too many of them.
    """

    def __init__(self, workload: Workload) -> None:
        image = workload.image
        if image.states:
            raise NotIncremental("the model keeps state between inferences")
        if Frames(image).frame_bytes * workload.n_inputs > MOST_GOLDEN_BYTES:
            raise NotIncremental("too many golden values")
        self._samples = split_samples(image, dict(workload.inputs))
        self._engine = IncrementalEngine(image, self._samples)
        many = self._engine.frames.products >= MANY_PRODUCTS
        self.outputs: Outputs = self._engine.outputs if many else WholeRuns(image, self._samples).outputs
        self._witness, self._arena = engine_of(image)
        self._sums = StruckSums(self._witness, self._arena)
        self._witnessed: tuple[tuple[int, ...], int] = ((), 0)

    def byte_before(self, samples: tuple[int, ...], step: int, byte: int) -> int:
        """Give an undisturbed byte of the activations; ``samples`` are those since the reset, the present one last."""
        known = self._engine.byte_before(samples, step, byte)
        if known is not None:
            return known
        if self._witnessed != (samples, step):
            self._run_witness(samples, step)
        return int(self._arena.view("activations")[byte])

    def byte_of_sum(self, sample: int, fault: Fault) -> int:
        """Give the byte of a finished sum that a fault strikes, where nothing was struck before."""
        self._run_witness((sample,), fault.step)
        self._witnessed = ((), 0)  # to read a sum of floats is to write it to the step's output
        return self._sums.strike(fault, repaired=True).before

    def _run_witness(self, samples: tuple[int, ...], step: int) -> None:
        """Compute up to a moment, since the content of working memory is kept nowhere."""
        self._arena.view("activations")[:] = 0
        for number, sample in enumerate(samples, 1):
            for name, values in self._samples[sample].items():
                self._witness.write_input(name, values)
            self._witness.run_steps(0, step if number == len(samples) else self._witness.n_steps)
        self._witnessed = (samples, step)


class Foresight:
    """Foretells rows of one task.

    Parameters
    ----------
    task : Task
        Whose trials.
    workload : Workload
        What is right.
    golden : Golden
        Of this workload.

    Raises
    ------
    NotIncremental
        The task's protection is one that only a node can carry out.
    """

    def __init__(self, task: Task, workload: Workload, golden: Golden) -> None:
        _require_foreseeable(task)
        self._task = task
        self._workload = workload
        self._golden = golden
        self._memory = MemoryModel(workload.image, task.protection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.close()

    def rows(self, trials: Sequence[int]) -> dict[int, TrialRow | None]:
        """Give the row of each trial, None where a node has to be asked."""
        prepared = {trial: self._task.prepare(trial) for trial in trials}
        forecasts = {trial: self._forecasts(strikes) for trial, strikes in prepared.items()}
        told = [forecast for found in forecasts.values() for forecast in found or ()]
        groups = [output for forecast in told for output in forecast.outputs if isinstance(output, Group)]
        computed = self._golden.outputs(groups)
        if None in computed:
            raise ShortcutFailed("a run without struck steps crashed in the exact engine: please report it")
        found = iter(computed)
        for forecast in told:
            forecast.outputs = [next(found) if isinstance(o, Group) else o for o in forecast.outputs]
        return {trial: self._row(prepared[trial], found) for trial, found in forecasts.items()}

    def _forecasts(self, strikes: Sequence[StrikeRun]) -> list[_Forecast] | None:
        found = []
        for strike in strikes:
            forecast = self._forecast(strike.run)
            if forecast is None:
                return None
            found.append(forecast)
        return found

    def _row(self, strikes: Sequence[StrikeRun], forecasts: list[_Forecast] | None) -> TrialRow | None:
        if forecasts is None:
            return None
        verdicts = [
            judge(self._workload, strike.run, _result(strike.run, forecast))
            for strike, forecast in zip(strikes, forecasts, strict=True)
        ]
        return msgspec.structs.replace(trial_row(self._task.name, strikes, verdicts), timing=None)

    def _forecast(self, run: Run) -> _Forecast | None:
        """Follow a run up to what its struck inferences deliver; None where that cannot be told."""
        if not _is_foreseeable(run.faults):
            return None
        memory, repaired = self._memory, self._task.protection.repair_at_once
        memory.begin()
        moment = run.faults[0].inference if run.faults else len(run.inputs)
        outputs: list[Group | bytes | None] = []
        readbacks: tuple[Readback, ...] = ()
        for number, sample in enumerate(run.inputs):
            memory.guard(number)
            faults = memory.wrong_bits() if number > moment else ()
            if number == moment:
                readbacks = self._strike(run, number)
                faults = () if repaired else _computed_with(run.faults)
            if memory.stopped:
                outputs.append(None)
            else:
                outputs.append(Group(sample=sample, faults=faults) if faults else self._workload.golden[sample])
        return _Forecast(
            readbacks=readbacks,
            outputs=outputs,
            report=memory.report,
            rollbacks=memory.rollbacks,
            lost_inferences=memory.lost_inferences,
            saves=memory.saves,
        )

    def _strike(self, run: Run, number: int) -> tuple[Readback, ...]:
        """Let the faults happen and give their readbacks."""
        bytes_now: dict[tuple[str, int], int] = {}
        readbacks: list[Readback] = []
        for fault in run.faults:
            if fault.region not in ("activations", ACCUMULATORS):
                readbacks.append(self._memory.strike(fault))
                continue
            cell = fault.region, fault.bit >> 3
            if cell not in bytes_now:
                bytes_now[cell] = self._byte_before(run.inputs[: number + 1], fault)
            before = bytes_now[cell]
            after = struck_byte(before, fault)
            if not self._task.protection.repair_at_once:
                bytes_now[cell] = after
            self._memory.hold(fault)
            readbacks.append(Readback(before=before, after=after))
        return tuple(readbacks)

    def _byte_before(self, samples: tuple[int, ...], fault: Fault) -> int:
        """Give the undisturbed byte of an activation or of a sum that is struck."""
        if fault.region == ACCUMULATORS:
            return self._golden.byte_of_sum(samples[-1], fault)
        return self._golden.byte_before(samples, fault.step, fault.bit >> 3)


def _require_foreseeable(task: Task) -> None:
    """Refuse a task whose protection does more than scrub, save, reload and roll back."""
    protection = task.protection
    if protection.checks_computation or protection.scrub_slice or CODES[protection.code].in_place:
        raise NotIncremental(f"protection {task.name!r} is carried out by the node")


def _is_foreseeable(faults: Sequence[Fault]) -> bool:
    """Tell whether faults strike at one moment and leave alone what the node computes by."""
    moments = {(fault.inference, fault.step) for fault in faults}
    return len(moments) <= 1 and all(
        fault.kind is not FaultKind.INTERRUPT and fault.region not in ("steps", "state") for fault in faults
    )


def _computed_with(faults: Sequence[Fault]) -> tuple[Fault, ...]:
    return tuple(fault for fault in faults if fault.region in ("weights", "activations", ACCUMULATORS))


def _result(run: Run, forecast: _Forecast) -> RunResult:
    """Give the node's answer; its times and temperatures are those of no run."""
    inferences = []
    for output in forecast.outputs:
        if output is not None and not isinstance(output, bytes):
            raise ShortcutFailed(f"run {run.run_id}: an inference was not computed")
        delivery = Delivery.WITHHELD if output is None else Delivery.DELIVERED
        inferences.append(Inference(delivery=delivery, output=output or b""))
    return RunResult(
        run_id=run.run_id,
        inferences=tuple(inferences),
        readbacks=forecast.readbacks,
        checked_words=forecast.report.words,
        corrected_words=forecast.report.corrected,
        detected_words=forecast.report.detected,
        reloads=0,
        rollbacks=forecast.rollbacks,
        lost_inferences=forecast.lost_inferences,
        saves=forecast.saves,
        alarms=0,
        recomputed_steps=0,
        elapsed_us=0, busy_us=0, protect_us=0, save_us=0, verify_us=0, restore_us=0, respond_us=0,
        clock_mhz=np.nan, throttled=0, plant_c=np.nan, board_c=np.nan, board_mhz=np.nan, board_throttled=FLAGS_UNKNOWN,
    )  # fmt: skip
