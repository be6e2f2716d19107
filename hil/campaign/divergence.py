"""Where a struck computer first computes something else than an undisturbed one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from firmware_bridge.messages import Run
from hil.campaign.task import Task
from hil.campaign.workload import Workload
from node.arena import Bytes
from node.computer import Computer
from node.errors import PayloadCrash, PayloadHang
from node.lockstep import LockstepRun
from node.service import split_samples


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Where an operator first gave another result, and how that spread.

    ``bytes_by_step`` counts, for each operator of that inference, the bytes of its result that differ.
    """

    inference: int
    step: int
    step_name: str
    bytes_by_step: tuple[int, ...]


def find_divergence(workload: Workload, task: Task, run: Run) -> Divergence | None:
    """Compare a run with an undisturbed one, operator by operator; None where nothing ever differs.

    What follows the first recovery (work done again, or stopped) is not compared. Where every inference is computed
    several times, the operators of its copies count on.
    """
    n_steps = task.protection.redundancy * len(workload.image.steps)
    undisturbed = Run(run_id=run.run_id, inputs=run.inputs)
    pairs = zip(_traced(workload, task, run), _traced(workload, task, undisturbed), strict=False)
    counts = [int(np.count_nonzero(struck != golden)) for struck, golden in pairs]
    first = next((position for position, count in enumerate(counts) if count), None)
    if first is None:
        return None
    inference, step = divmod(first, n_steps)
    return Divergence(
        inference=inference,
        step=step,
        step_name=workload.image.step_names[step % len(workload.image.steps)],
        bytes_by_step=tuple(counts[inference * n_steps : (inference + 1) * n_steps]),
    )


class _Recorder:
    """Stands in for an engine's ``run_steps`` and keeps the result of every operator up to the first recovery."""

    def __init__(self, computer: Computer) -> None:
        self._memory = computer.arena.u8
        # The first tensor of a step is its result; scratch space follows.
        self._results = {spec.step: spec for spec in reversed(computer.image.activations)}
        self._n_steps = computer.engine.n_steps
        self._run_steps = computer.engine.run_steps
        self._recover = computer.recover
        self._recovered = False
        self.results: list[Bytes] = []

    def run_steps(self, first: int, last: int) -> None:
        """Run operators one by one."""
        for step in range(first, last):
            self._run_steps(step, step + 1)
            # An operator out of turn is work done again after an alarm.
            self._recovered = self._recovered or step != len(self.results) % self._n_steps
            if self._recovered:
                continue
            spec = self._results[step]
            self.results.append(self._memory[spec.offset : spec.end].copy())

    def recover(self) -> int | None:
        """Recover; from here on the operators are no longer those of an undisturbed run at the same place."""
        self._recovered = True
        return self._recover()


def _traced(workload: Workload, task: Task, run: Run) -> list[Bytes]:
    samples = split_samples(workload.image, dict(workload.inputs))
    with Computer(workload.image, protection=task.protection) as computer:
        computer.learn(samples)
        recorder = _Recorder(computer)
        computer.engine.run_steps = recorder.run_steps  # type: ignore[method-assign]
        computer.recover = recorder.recover  # type: ignore[method-assign]
        # What was computed before an abnormal end is the trace; the verdict says how it ended.
        with suppress(PayloadCrash, PayloadHang):
            LockstepRun(computer, samples, run).execute()
    return recorder.results
