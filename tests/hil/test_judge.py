"""From answers to outcomes: every kind of wrong output, of two outputs, with NaN, and answers that cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Delivery, Fault, FaultKind, Inference, Readback, Run, RunResult
from hil.campaign.outcome import Outcome
from hil.campaign.task import StrikeRun
from hil.campaign.trial import Verdict, abnormal_verdict, judge, trial_row
from hil.campaign.workload import Workload, critical_predicate, make_workload, relative_error
from hil.targets.sim_session import SimSession
from node.protection import Protection
from tests.adder_image import SAMPLES, adder_image

NAN, INF = np.float32(np.nan), np.float32(np.inf)


def workload(critical: str = "top1", tolerance: float = 0.0, labels: list[int] | None = None) -> Workload:
    inputs = {name: np.stack([sample[name] for sample in SAMPLES]) for name in ("a", "b")}
    known = None if labels is None else np.array(labels)
    predicate = critical_predicate(critical, tolerance=tolerance, labels=known, directory=Path())
    return make_workload(adder_image(), inputs, known, predicate)


WORKLOAD = workload()
RUN = Run(run_id=4, inputs=(2, 0, 1))


@pytest.fixture(scope="module")
def right() -> RunResult:
    with SimSession() as session:
        session.prepare(WORKLOAD.image.to_bytes(), WORKLOAD.inputs_file())
        session.configure(Protection(), 0)
        answer = session.run(RUN)
    assert isinstance(answer, RunResult)
    return answer


def delivered(right: RunResult, number: int, **tensors: list[float]) -> RunResult:
    """Change values of one inference's outputs: {index: value} by tensor name."""
    outputs = {name: values.copy() for name, values in WORKLOAD.tensors(right.inferences[number].output).items()}
    for name, values in tensors.items():
        outputs[name] = np.array(values, np.float32).reshape(outputs[name].shape)
    output = b"".join(values.tobytes() for values in outputs.values())
    changed = Inference(delivery=Delivery.DELIVERED, output=output)
    return replace(right, inferences=tuple(changed if k == number else one for k, one in enumerate(right.inferences)))


def withheld(right: RunResult, *numbers: int) -> RunResult:
    nothing = Inference(delivery=Delivery.WITHHELD, output=b"")
    return replace(right, inferences=tuple(nothing if k in numbers else one for k, one in enumerate(right.inferences)))


# ---- outcomes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.MASKED),
        ({"corrected_words": 1}, Outcome.CORRECTED),
        ({"rollbacks": 1, "detected_words": 1}, Outcome.CORRECTED),
        ({"alarms": 1, "recomputed_steps": 4}, Outcome.CORRECTED),
        ({"checked_words": 99, "saves": 3, "reloads": 1}, Outcome.MASKED),
    ],
)
def test_right_outputs(right: RunResult, changes: dict[str, int], outcome: Outcome) -> None:
    assert judge(WORKLOAD, RUN, replace(right, **changes)).outcome is outcome


def test_withheld_is_due_and_a_wrong_one_beside_it_is_worse(right: RunResult) -> None:
    verdict = judge(WORKLOAD, RUN, withheld(right, 1, 2))
    assert (verdict.outcome, verdict.withheld, verdict.wrong) == (Outcome.DUE, (1, 2), ())
    both = withheld(delivered(right, 0, total=[0, 0, 9, 1]), 2)
    verdict = judge(WORKLOAD, RUN, both)
    assert (verdict.outcome, verdict.withheld, verdict.wrong) == (Outcome.SDC_CRITICAL, (2,), (0,))


def test_the_first_output_s_winner_decides(right: RunResult) -> None:
    """Class 3 wins undisturbed. A wrong second output is wrong all the same."""
    for tensors, outcome in (
        ({"total": [1, 2, 3, 4]}, Outcome.SDC_TOLERABLE),
        ({"total": [1, 9, 3, 4]}, Outcome.SDC_CRITICAL),
        ({"shifted": [9, 0, 0, 0]}, Outcome.SDC_TOLERABLE),
    ):
        verdict = judge(WORKLOAD, RUN, delivered(right, 1, **tensors))
        assert (verdict.outcome, verdict.wrong) == (outcome, (1,))


def test_one_bit_is_wrong(right: RunResult) -> None:
    for bit in range(8 * len(right.inferences[0].output)):
        output = bytearray(right.inferences[0].output)
        output[bit >> 3] ^= 1 << (bit & 7)
        one = Inference(delivery=Delivery.DELIVERED, output=bytes(output))
        verdict = judge(WORKLOAD, RUN, replace(right, inferences=(one, *right.inferences[1:])))
        assert verdict.outcome.is_sdc
        assert verdict.wrong == (0,)


@pytest.mark.parametrize("values", [[NAN] * 4, [NAN, 1, 2, 3], [0, 1, 2, NAN], [0, NAN, 2, 3]])
def test_where_there_is_a_nan_no_class_wins(right: RunResult, values: list[float]) -> None:
    """Whatever class was right: a search for the largest value may make anything of a NaN."""
    for winner in range(4):
        golden = np.zeros(4)
        golden[winner] = 1
        told = critical_predicate("top1", tolerance=0, labels=None, directory=Path())[1]
        assert told({"y": golden}, {"y": np.array(values, np.float32)}, 0)
    assert judge(WORKLOAD, RUN, delivered(right, 0, total=values)).outcome is Outcome.SDC_CRITICAL


@pytest.mark.parametrize("values", [[INF, 0, 0, 0], [-INF] * 4, [0, 0, 0, -INF]])
def test_infinite_values_are_compared_like_others(right: RunResult, values: list[float]) -> None:
    assert judge(WORKLOAD, RUN, delivered(right, 0, total=values)).outcome is Outcome.SDC_CRITICAL
    verdict = judge(WORKLOAD, RUN, delivered(right, 0, total=[0, 0, 0, INF]))
    assert verdict.outcome is Outcome.SDC_TOLERABLE
    assert verdict.largest_error == float("inf")


def test_labels_ask_whether_a_right_answer_became_wrong(right: RunResult) -> None:
    by_label = workload("labels", labels=[3, 3, 3, 3, 3, 3])
    assert judge(by_label, RUN, delivered(right, 0, total=[9, 0, 0, 1])).outcome is Outcome.SDC_CRITICAL
    assert judge(by_label, RUN, delivered(right, 0, total=[0, 0, 0, 1])).outcome is Outcome.SDC_TOLERABLE
    assert judge(by_label, RUN, delivered(right, 0, total=[NAN, 0, 0, 1])).outcome is Outcome.SDC_CRITICAL
    wrong_before = workload("labels", labels=[0, 0, 0, 0, 0, 0])
    assert judge(wrong_before, RUN, delivered(right, 0, total=[0, 9, 0, 1])).outcome is Outcome.SDC_TOLERABLE


def test_tolerance_is_relative_to_the_largest_golden_value(right: RunResult) -> None:
    largest = float(WORKLOAD.tensors(right.inferences[0].output)["total"].max())
    values = WORKLOAD.tensors(right.inferences[0].output)["total"].reshape(-1).tolist()
    for off, outcome in ((0.09, Outcome.SDC_TOLERABLE), (0.11, Outcome.SDC_CRITICAL)):
        changed = [values[0] + off * largest, *values[1:]]
        verdict = judge(workload("tolerance", 0.1), RUN, delivered(right, 0, total=changed))
        assert verdict.outcome is outcome
        assert verdict.largest_error == pytest.approx(off, rel=1e-4)


@pytest.mark.parametrize(
    ("golden", "given", "error"),
    [
        ([2.0, -4.0], [2.0, -4.0], 0.0),
        ([2.0, -4.0], [3.0, -4.0], 0.25),
        ([0.0, 0.0], [0.5, 0.0], 0.5),
        ([NAN, 4.0], [NAN, 5.0], 0.25),
        ([INF, 4.0], [INF, 5.0], 0.25),
        ([INF, 4.0], [-INF, 4.0], float("inf")),
        ([1.0, 4.0], [NAN, 4.0], float("inf")),
        ([NAN, 4.0], [1.0, 4.0], float("inf")),
        ([-128, 127], [127, -128], 255 / 128),
    ],
)
def test_relative_error(golden: list[float], given: list[float], error: float) -> None:
    assert relative_error({"y": np.array(golden)}, {"y": np.array(given)}) == pytest.approx(error)
    if all(np.isfinite(golden)) and error == 255 / 128:
        narrow = {"y": np.array(golden, np.int8)}, {"y": np.array(given, np.int8)}
        assert relative_error(*narrow) == pytest.approx(error), "int8 differences do not wrap"


def test_one_nan_is_as_good_as_another_and_zero_has_a_sign() -> None:
    nans = [np.uint32(bits).view(np.float32) for bits in (0x7FC00000, 0xFFC00000, 0x7FC12345)]
    golden = np.array([nans[0], 1, 0, 3], np.float32)
    output = golden.tobytes() + np.zeros(4, np.float32).tobytes()
    held = replace(WORKLOAD, golden=(output, *WORKLOAD.golden[1:]))
    for nan in nans:
        same = np.array([nan, 1, 0, 3], np.float32).tobytes() + np.zeros(4, np.float32).tobytes()
        assert held.is_right(0, same)
    for other in ([nans[0], 1, -0.0, 3], [0, 1, 0, 3], [nans[0], nans[0], 0, 3]):
        assert not held.is_right(0, np.array(other, np.float32).tobytes() + output[16:])


# ---- answers that cannot be --------------------------------------------------------------------------------------


def struck_run(kind: FaultKind, bit: int = 3) -> Run:
    return replace(RUN, faults=(Fault(strike=0, region="weights", bit=bit, kind=kind),))


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (FaultKind.FLIP, 0x00, 0x08),
        (FaultKind.FLIP, 0xFF, 0xF7),
        (FaultKind.STUCK_AT_0, 0xFF, 0xF7),
        (FaultKind.STUCK_AT_0, 0x10, 0x10),
        (FaultKind.STUCK_AT_1, 0x10, 0x18),
        (FaultKind.STUCK_AT_1, 0x08, 0x08),
        (FaultKind.INTERRUPT, 0x00, 0x00),
    ],
)
def test_a_readback_proves_the_injection(right: RunResult, kind: FaultKind, before: int, after: int) -> None:
    run = struck_run(kind)
    assert judge(WORKLOAD, run, replace(right, readbacks=(Readback(before=before, after=after),)))
    for bit in range(8):
        lied = Readback(before=before, after=after ^ 1 << bit)
        with pytest.raises(DataError, match="did not happen as recorded"):
            judge(WORKLOAD, run, replace(right, readbacks=(lied,)))


def test_an_answer_to_another_request_is_refused(right: RunResult) -> None:
    for changes in ({"run_id": 5}, {"inferences": right.inferences[:2]}):
        with pytest.raises(DataError, match="its software is not this one"):
            judge(WORKLOAD, RUN, replace(right, **changes))
    with pytest.raises(DataError, match="1 faults were sent, 0 were injected"):
        judge(WORKLOAD, struck_run(FaultKind.FLIP), right)


# ---- rows --------------------------------------------------------------------------------------------------------


def strike(number: int) -> StrikeRun:
    return StrikeRun(trial=7, strike_id=f"7:{number}", run=RUN)


def test_a_row_takes_the_worst_outcome_and_the_first_strike_s_counts(right: RunResult) -> None:
    first = judge(WORKLOAD, RUN, replace(right, corrected_words=2, reloads=1))
    second = judge(WORKLOAD, RUN, replace(delivered(right, 0, total=[0, 9, 0, 1]), corrected_words=5, reloads=1))
    third = abnormal_verdict(RUN, Outcome.CRASH, "it crashed")
    row = trial_row("p", [strike(0), strike(8), strike(9)], [first, second, third])
    assert row.outcome == "CRASH"
    assert row.strike_outcomes == ("CORRECTED", "SDC_CRITICAL", "CRASH")
    assert (row.corrected_words, row.wrong, row.detail) == (2, (), "it crashed")
    assert row.reloads == 2, "memory that was found unclean counts whichever strike found it"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_severity_has_an_order_in_which_delivered_wrong_is_worse_than_withheld(outcome: Outcome) -> None:
    verdict = Verdict(outcome=outcome, result=None)
    masked = Verdict(outcome=Outcome.MASKED, result=None)
    assert trial_row("p", [strike(0), strike(1)], [masked, verdict]).outcome == outcome.value
    assert Outcome.DUE.severity < Outcome.SDC_TOLERABLE.severity < Outcome.SDC_CRITICAL.severity
    assert outcome.is_failure is (outcome not in (Outcome.MASKED, Outcome.CORRECTED))
