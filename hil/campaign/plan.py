"""What a campaign would cost, without running it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from firmware_bridge import codec
from firmware_bridge.address import read_address
from firmware_bridge.messages import Delivery, Inference, Readback, RunResult
from hil.boards.address import targets_of
from hil.campaign.experiment import Experiment
from hil.campaign.task import Task
from hil.stats import planned_half_width

BITS_PER_BYTE_ON_THE_LINE = 10  # start bit, eight data bits, stop bit
FRAME_OVERHEAD_BYTES = 14  # packet header, stream and acknowledgement share, CRC-32, COBS, delimiter
SAMPLED_TRIALS = 20
GUESSED_SHARES = (0.01, 0.1, 0.5)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Trials, bytes on the line, time that the line alone takes, and how narrow the intervals will be.

    Boards of a pool share the trials; ``baud`` is that of the slowest line.
    ``half_widths`` maps a guessed share of trials with some outcome to the half width of its 95 % interval.
    """

    protections: tuple[str, ...]
    trials: int
    total_trials: int
    bytes_per_trial: float
    upload_bytes: int
    baud: int | None
    line_s: float | None
    half_widths: dict[float, float]

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """Give the plan of an experiment: nothing is run."""
        workload = experiment.workload
        upload = len(workload.image.to_bytes()) + len(workload.inputs_file())
        per_trial = sum(_bytes_per_trial(task, experiment) for task in experiment.tasks) / len(experiment.tasks)
        total = experiment.trials * len(experiment.tasks)
        targets = targets_of(experiment.campaign.campaign.target)
        baud = min((found for found in map(_baud, targets) if found is not None), default=None)
        line_s = None
        if baud is not None:
            line_s = (upload + per_trial * total / len(targets)) * BITS_PER_BYTE_ON_THE_LINE / baud
        return cls(
            protections=tuple(task.name for task in experiment.tasks),
            trials=experiment.trials,
            total_trials=total,
            bytes_per_trial=per_trial,
            upload_bytes=upload,
            baud=baud,
            line_s=line_s,
            half_widths={share: planned_half_width(experiment.trials, share) for share in GUESSED_SHARES},
        )

    def to_json(self) -> str:
        """Give the plan as one JSON object."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        widths = ", ".join(f"{share:.0%} +/- {half:.1%}" for share, half in self.half_widths.items())
        line = (
            "no serial line limits it"
            if self.line_s is None
            else f"{self.line_s / 60:.1f} min on the line at {self.baud} baud"
        )
        return (
            f"{self.total_trials} trials: {self.trials} for each of {', '.join(self.protections)}\n"
            f"{self.upload_bytes} bytes to load, {self.bytes_per_trial:.0f} bytes a trial: {line}\n"
            f"95 % intervals to expect, for shares of: {widths}"
        )


def _baud(target: str) -> int | None:
    if not target.startswith("serial:"):
        return None
    return read_address(target).baud


def _bytes_per_trial(task: Task, experiment: Experiment) -> float:
    """Give the mean bytes of request and reply of a few real trials."""
    output = experiment.workload.golden[0]
    trials = range(min(SAMPLED_TRIALS, experiment.trials))
    total = 0
    for trial in trials:
        for strike in task.prepare(trial):
            run = strike.run
            reply = _largest_reply(len(run.faults), len(run.inputs), output)
            total += len(codec.encode(run, trial)) + len(codec.encode(reply, trial)) + 2 * FRAME_OVERHEAD_BYTES
    return total / len(trials)


def _largest_reply(faults: int, inferences: int, output: bytes) -> RunResult:
    return RunResult(
        run_id=0,
        inferences=(Inference(delivery=Delivery.DELIVERED, output=output),) * inferences,
        readbacks=(Readback(before=0, after=0),) * faults,
        checked_words=0,
        corrected_words=0,
        detected_words=0,
        reloads=0,
        rollbacks=0,
        lost_inferences=0,
        saves=0,
        alarms=0,
        recomputed_steps=0,
        elapsed_us=0,
        busy_us=0,
        protect_us=0,
        save_us=0,
        verify_us=0,
        restore_us=0,
        respond_us=0,
        clock_mhz=0.0,
        throttled=0,
        plant_c=0.0,
        board_c=0.0,
        board_mhz=0.0,
        board_throttled=0,
    )
