"""From what the node answered to what the trial was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from firmware_bridge.errors import DataError
from firmware_bridge.messages import FLAGS_UNKNOWN, Abnormal, AbnormalKind, Delivery, Run, RunResult
from hil.campaign.outcome import Outcome
from hil.campaign.record import FaultRecord, Timing, TrialRow
from hil.campaign.task import StrikeRun
from hil.campaign.workload import Workload, relative_error

_ABNORMAL = {AbnormalKind.CRASH: Outcome.CRASH, AbnormalKind.HANG: Outcome.HANG}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one strike did.

    ``result`` is the node's answer, None where it gave none (CRASH, HANG, DEAD; ``detail`` then says why).
    """

    outcome: Outcome
    result: RunResult | None
    wrong: tuple[int, ...] = ()
    withheld: tuple[int, ...] = ()
    largest_error: float = 0.0
    detail: str = ""


def judge(workload: Workload, run: Run, result: RunResult) -> Verdict:
    """Compare what the node delivered with what is right.

    Raises
    ------
    DataError
        The answer does not belong to the request, or an injection cannot be seen in its readback.
    """
    _check_answer(run, result)
    wrong = []
    withheld = []
    critical = False
    largest_error = 0.0
    for number, (sample, inference) in enumerate(zip(run.inputs, result.inferences, strict=True)):
        if inference.delivery is Delivery.WITHHELD:
            withheld.append(number)
        elif not workload.is_right(sample, inference.output):
            wrong.append(number)
            critical = critical or workload.is_critical(sample, inference.output)
            golden = workload.tensors(workload.golden[sample])
            largest_error = max(largest_error, relative_error(golden, workload.tensors(inference.output)))
    repaired = bool(result.corrected_words or result.rollbacks or result.alarms)
    return Verdict(
        outcome=_outcome(bool(wrong), critical, bool(withheld), repaired),
        result=result,
        wrong=tuple(wrong),
        withheld=tuple(withheld),
        largest_error=largest_error,
    )


def abnormal_verdict(run: Run, outcome: Outcome, detail: str) -> Verdict:
    """Give the verdict on a strike that ended the computer, reproduced once."""
    return Verdict(outcome=outcome, result=None, withheld=tuple(range(len(run.inputs))), detail=detail)


def abnormal_outcome(answer: Abnormal) -> Outcome:
    """Give the outcome that an abnormal end is, once it has been reproduced."""
    return _ABNORMAL[answer.kind]


def trial_row(protection: str, strikes: Sequence[StrikeRun], verdicts: Sequence[Verdict]) -> TrialRow:
    """Give the row of a trial from the verdicts on all its strikes, the one on the shared cells first."""
    worst = max(verdicts, key=lambda verdict: verdict.outcome.severity)
    first, result = verdicts[0], verdicts[0].result
    struck = bool(strikes[0].strike_id)
    return TrialRow(
        protection=protection,
        trial=strikes[0].trial,
        strikes=tuple(strike.strike_id for strike in strikes) if struck else (),
        faults=tuple(
            record
            for strike, verdict in zip(strikes, verdicts, strict=True)
            for record in _fault_records(strike.run, verdict.result)
        ),
        outcome=worst.outcome.value,
        strike_outcomes=tuple(verdict.outcome.value for verdict in verdicts) if struck else (),
        wrong=first.wrong,
        withheld=first.withheld,
        largest_error=first.largest_error if math.isfinite(first.largest_error) else None,
        checked_words=0 if result is None else result.checked_words,
        corrected_words=0 if result is None else result.corrected_words,
        detected_words=0 if result is None else result.detected_words,
        rollbacks=0 if result is None else result.rollbacks,
        alarms=0 if result is None else result.alarms,
        recomputed_steps=0 if result is None else result.recomputed_steps,
        lost_inferences=0 if result is None else result.lost_inferences,
        saves=0 if result is None else result.saves,
        reloads=sum(verdict.result.reloads for verdict in verdicts if verdict.result is not None),
        detail=worst.detail,
        timing=None if result is None else _timing(result),
    )


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
        respond_us=result.respond_us,
        clock_mhz=_known(result.clock_mhz) or 0.0,
        throttled=result.throttled,
        plant_c=_known(result.plant_c),
        board_c=_known(result.board_c),
        board_mhz=_known(result.board_mhz),
        board_throttled=None if result.board_throttled == FLAGS_UNKNOWN else result.board_throttled,
    )


def _known(value: float) -> float | None:
    """Give a figure rounded to thousandths, None where there was no sensor."""
    return round(value, 3) if math.isfinite(value) else None
