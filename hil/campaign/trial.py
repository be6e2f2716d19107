"""From what the node answered to what the trial was."""

from __future__ import annotations

import math

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Abnormal, AbnormalKind, Delivery, Run, RunResult
from hil.campaign.outcome import Outcome
from hil.campaign.record import FaultRecord, Timing, TrialRow
from hil.campaign.task import PreparedTrial, Task
from hil.campaign.workload import Workload, relative_error

_ABNORMAL = {AbnormalKind.CRASH: Outcome.CRASH, AbnormalKind.HANG: Outcome.HANG}


def judge(task: Task, workload: Workload, trial: PreparedTrial, result: RunResult) -> TrialRow:
    """Give the row of a trial that ended in an answer.

    Raises
    ------
    DataError
        The answer does not belong to the request, or an injection cannot be seen in its readback.
    """
    run = trial.run
    _check_answer(run, result)
    wrong = []
    withheld = []
    critical = False
    largest_error = 0.0
    for number, (sample, inference) in enumerate(zip(run.inputs, result.inferences, strict=True)):
        if inference.delivery is Delivery.WITHHELD:
            withheld.append(number)
        elif inference.output != workload.golden[sample]:
            wrong.append(number)
            critical = critical or workload.is_critical(sample, inference.output)
            golden = workload.tensors(workload.golden[sample])
            largest_error = max(largest_error, relative_error(golden, workload.tensors(inference.output)))
    repaired = bool(result.corrected_words or result.rollbacks)
    return TrialRow(
        protection=task.name,
        trial=run.run_id,
        strikes=trial.strike_ids,
        faults=_fault_records(run, result),
        outcome=_outcome(bool(wrong), critical, bool(withheld), repaired).value,
        wrong=tuple(wrong),
        withheld=tuple(withheld),
        largest_error=largest_error if math.isfinite(largest_error) else None,
        checked_words=result.checked_words,
        corrected_words=result.corrected_words,
        detected_words=result.detected_words,
        rollbacks=result.rollbacks,
        lost_inferences=result.lost_inferences,
        saves=result.saves,
        reloads=result.reloads,
        detail="",
        timing=_timing(result),
    )


def judge_abnormal(task: Task, trial: PreparedTrial, outcome: Outcome, detail: str) -> TrialRow:
    """Give the row of a trial that ended the computer, reproduced once."""
    run = trial.run
    return TrialRow(
        protection=task.name,
        trial=run.run_id,
        strikes=trial.strike_ids,
        faults=_fault_records(run, None),
        outcome=outcome.value,
        wrong=(),
        withheld=tuple(range(len(run.inputs))),
        largest_error=0.0,
        checked_words=0,
        corrected_words=0,
        detected_words=0,
        rollbacks=0,
        lost_inferences=0,
        saves=0,
        reloads=0,
        detail=detail,
        timing=None,
    )


def abnormal_outcome(answer: Abnormal) -> Outcome:
    """Give the outcome that an abnormal end is, once it has been reproduced."""
    return _ABNORMAL[answer.kind]


def _outcome(wrong: bool, critical: bool, withheld: bool, repaired: bool) -> Outcome:
    if wrong:
        return Outcome.SDC_CRITICAL if critical else Outcome.SDC_TOLERABLE
    if withheld:
        return Outcome.DUE
    return Outcome.CORRECTED if repaired else Outcome.MASKED


def _check_answer(run: Run, result: RunResult) -> None:
    if result.run_id != run.run_id or len(result.inferences) != len(run.inputs):
        raise DataError(
            f"the node answered run {result.run_id} with {len(result.inferences)} inferences to run {run.run_id} "
            f"with {len(run.inputs)}: its software is not this one"
        )
    if len(result.readbacks) != len(run.faults):
        raise DataError(f"run {run.run_id}: {len(run.faults)} faults were sent, {len(result.readbacks)} were injected")
    for fault, readback in zip(run.faults, result.readbacks, strict=True):
        mask = 1 << (fault.bit & 7)
        expected = {
            "FLIP": readback.before ^ mask,
            "STUCK_AT_0": readback.before & ~mask,
            "STUCK_AT_1": readback.before | mask,
            "INTERRUPT": readback.before,
        }[fault.kind.name]
        if readback.after != expected:
            raise DataError(
                f"run {run.run_id}: {fault.kind.name} of bit {fault.bit} in {fault.region} read "
                f"{readback.before:#04x} before and {readback.after:#04x} after, not {expected:#04x}: "
                "the injection did not happen as recorded"
            )


def _fault_records(run: Run, result: RunResult | None) -> tuple[FaultRecord, ...]:
    records = []
    for index, fault in enumerate(run.faults):
        readback = None if result is None else result.readbacks[index]
        records.append(
            FaultRecord(
                strike=fault.strike,
                region=fault.region,
                bit=fault.bit,
                kind=int(fault.kind),
                inference=fault.inference,
                step=fault.step,
                before=-1 if readback is None else readback.before,
                after=-1 if readback is None else readback.after,
            )
        )
    return tuple(records)


def _timing(result: RunResult) -> Timing:
    return Timing(
        elapsed_us=result.elapsed_us,
        busy_us=result.busy_us,
        protect_us=result.protect_us,
        save_us=result.save_us,
        verify_us=result.verify_us,
        restore_us=result.restore_us,
        clock_mhz=round(result.clock_mhz, 3) if math.isfinite(result.clock_mhz) else 0.0,
        throttled=result.throttled,
        plant_c=round(result.plant_c, 3) if math.isfinite(result.plant_c) else None,
        board_c=round(result.board_c, 3) if math.isfinite(result.board_c) else None,
    )
