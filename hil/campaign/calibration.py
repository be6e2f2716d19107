"""What is measured of a node before its trials count: that it computes rightly, can be struck, and how fast it is."""

from __future__ import annotations

from statistics import median_low

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Abnormal, Fault, Run, RunResult
from hil.campaign.task import Task
from hil.campaign.trial import judge
from hil.campaign.workload import Workload
from hil.targets.session import Session

CALIBRATION_RUNS = 5
CALIBRATION_DEADLINE_MS = 60_000
DEADLINE_FACTOR = 50
LEAST_DEADLINE_MS = 2000
"""A loaded host, a cheap SD card or a slow sensor may hold a sound computer up for a second."""

STRUCK_BIT = 2
"""Any bit that lies elsewhere when bits are counted from the other end."""


def calibrate(session: Session, task: Task, workload: Workload) -> int:
    """Give the deadline of one run in milliseconds, measured on a node that is set up for the task.

    Raises
    ------
    DataError
        The node does not compute what the emulator does, or strikes do not reach the memory that it computes in:
        outcomes would say nothing.
    """
    elapsed_us: list[int] = []
    for number in range(CALIBRATION_RUNS):
        run = Run(run_id=number, inputs=task.nature.inputs(number))
        result = _answer(session, task, run)
        verdict = judge(workload, run, result)
        if verdict.wrong or verdict.withheld:
            raise DataError(
                f"{task.name}: the node's undisturbed output for inputs {run.inputs} is not the emulator's; "
                "outcomes would not be comparable: install the same version on both sides"
            )
        elapsed_us.append(result.elapsed_us)
    _check_live(session, task, workload)
    # Of the first run a node may compile or load kernels: the median knows nothing of that.
    return max(LEAST_DEADLINE_MS, DEADLINE_FACTOR * median_low(elapsed_us) // 1000)


def _check_live(session: Session, task: Task, workload: Workload) -> None:
    """Strike one bit of a finished output: just this one has to differ, none where each strike is undone at once.

    Where outputs are computed more than once, the copy that was struck has to be noticed instead.
    """
    image, sample = workload.image, task.nature.inputs(0)[0]
    first = image.outputs[0]
    byte = min(1, first.size_bytes - 1)
    bit = 8 * (first.offset - image.activation_offset + byte) + STRUCK_BIT
    fault = Fault(strike=0, region="activations", bit=bit, inference=0, step=task.nature.n_steps)
    run = Run(run_id=CALIBRATION_RUNS, inputs=(sample,), faults=(fault,))
    result = _answer(session, task, run)
    judge(workload, run, result)  # the readback
    if task.protection.redundancy > 1 and not task.protection.repair_at_once:
        if not result.alarms:
            raise DataError(f"{task.name}: a struck output differs from its copies, and the node raised no alarm")
        return
    expected = bytearray(workload.golden[sample])
    if not task.protection.repair_at_once:
        expected[byte] ^= 1 << STRUCK_BIT
    if result.inferences[0].output != bytes(expected):
        raise DataError(
            f"{task.name}: a bit that was struck in a finished output is not the one that differs: strikes do not "
            "reach the memory that the node computes in; install the same version on both sides"
        )


def _answer(session: Session, task: Task, run: Run) -> RunResult:
    answer = session.run(run)
    if isinstance(answer, Abnormal):
        raise DataError(f"{task.name}: an undisturbed run ended in a {answer.kind.name}: {answer.detail}")
    return answer
