"""TaskRunner: every strike gets its outcome, whatever dies, hangs or goes silent on the way, and only its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import DataError, LinkLost, PortError
from firmware_bridge.messages import Abnormal, AbnormalKind, Fault, Readback, Run, RunResult
from hil.campaign.calibration import (
    CALIBRATION_DEADLINE_MS,
    CALIBRATION_RUNS,
    DEADLINE_FACTOR,
    LEAST_DEADLINE_MS,
    calibrate,
)
from hil.campaign.protections import ProtectionEntry
from hil.campaign.record import AttemptRow, Row, TrialRow
from hil.campaign.task import Nature, Task
from hil.campaign.task_runner import MAX_LOST_LINES, PATIENCE_FACTOR, TaskRunner
from hil.campaign.workload import Workload, critical_predicate, make_workload
from hil.strikes import preset
from hil.targets.session import Answer
from hil.targets.sim_session import SimSession
from node.computer import Computer
from node.governor import ROOM_C
from node.protection import Protection
from tests.adder_image import SAMPLES, adder_image
from tests.campaigns import essence

TRIALS = range(12)
WINDOW = 4
KILLER = 5 << 12
"""Run id of the first strike of trial 5."""


def workload() -> Workload:
    inputs = {name: np.stack([sample[name] for sample in SAMPLES]) for name in ("a", "b")}
    critical = critical_predicate("top1", tolerance=0.0, labels=None, directory=Path())
    return make_workload(adder_image(), inputs, None, critical)


WORKLOAD = workload()
NATURE = Nature.of(WORKLOAD, preset("single_bit"), ("weights", "activations"), seed=3, inferences=3)


def task(temperature_c: float | None = None) -> Task:
    entry = ProtectionEntry(name="parity", protection=Protection(code="parity"), temperature_c=temperature_c)
    return Task.of(entry, WORKLOAD, NATURE)


Plan = Callable[[Run, bool], str]
"""What happens instead of a run, told whether it is alone under way: die, lose, port, crash, hang, or nothing."""


@dataclass
class UnreliableSession:
    """An emulated node behind a line that fails by plan; it must be told everything again after each restart."""

    session: SimSession
    plan: Plan
    asked: list[int] = field(default_factory=list)
    configured: list[int] = field(default_factory=list)
    temperatures: list[float] = field(default_factory=list)
    restarts: int = 0
    url: str = "unreliable"
    _dead: bool = False
    _ready: set[str] = field(default_factory=set)

    def prepare(self, image: bytes, inputs: bytes) -> None:
        self.session.prepare(image, inputs)

    def configure(self, protection: Protection, deadline_ms: int) -> None:
        self.configured.append(deadline_ms)
        self._ready.add("protection")
        self.session.configure(protection, deadline_ms)

    def set_temperature(self, celsius: float) -> None:
        self.temperatures.append(celsius)
        self._ready.add("temperature")
        self.session.set_temperature(celsius)

    def run(self, run: Run) -> Answer:
        return self._answer(run, alone=True)

    def _answer(self, run: Run, *, alone: bool) -> Answer:
        assert self._ready == {"protection", "temperature"}, "a restarted node was not set up"
        self.asked.append(run.run_id)
        match self.plan(run, alone):
            case "die":
                self._dead = True
                raise LinkLost("nothing heard: the node died")
            case "lose":
                raise LinkLost("nothing heard")
            case "port":
                raise PortError("the port vanished")
            case "crash":
                return Abnormal(kind=AbnormalKind.CRASH, detail="it crashed", boot_id=1)
            case "hang":
                return Abnormal(kind=AbnormalKind.HANG, detail="it hangs", boot_id=1)
        return self.session.run(run)

    def run_many(self, runs: Iterable[Run]) -> Iterator[tuple[Run, Answer]]:
        """Have ``WINDOW`` runs under way; replies that are there when the line fails are lost with it."""
        under_way: deque[tuple[Run, Answer]] = deque()
        for run in runs:
            under_way.append((run, self._answer(run, alone=False)))
            if len(under_way) == WINDOW:
                yield under_way.popleft()
        yield from under_way

    def restart(self) -> bool:
        self.restarts += 1
        died, self._dead = self._dead, False
        self._ready.clear()
        return died


def once(run_id: int, what: str) -> Plan:
    """Fail the first time that a run is asked for."""
    left = [run_id]

    def plan(run: Run, alone: bool) -> str:
        if run.run_id in left and run.faults:
            left.remove(run.run_id)
            return what
        return ""

    return plan


def always(run_id: int, what: str) -> Plan:
    return lambda run, alone: what if run.run_id == run_id and run.faults else ""


def collect(plan: Plan, temperature_c: float | None = None) -> tuple[list[Row], UnreliableSession]:
    rows: list[Row] = []
    with SimSession() as session:
        session.prepare(WORKLOAD.image.to_bytes(), WORKLOAD.inputs_file())
        unreliable = UnreliableSession(session, plan)
        TaskRunner(unreliable, task(temperature_c), WORKLOAD, rows.append).collect(TRIALS)  # type: ignore[arg-type]
    return rows, unreliable


def reliable(run: Run, alone: bool) -> str:
    return ""


@pytest.fixture(scope="module")
def reference() -> dict:
    rows, _ = collect(reliable)
    assert [row.trial for row in rows if isinstance(row, TrialRow)] == list(TRIALS)
    return essence(rows)


def the_row(rows: list[Row], trial: int) -> TrialRow:
    (row,) = [row for row in rows if isinstance(row, TrialRow) and row.trial == trial]
    return row


def reasons(rows: list[Row]) -> list[str]:
    return [row.reason for row in rows if isinstance(row, AttemptRow)]


def others(rows: list[Row]) -> dict:
    return {key: values for key, values in essence(rows).items() if key[1] != 5}


# ---- the whole node dies -----------------------------------------------------------------------------------------


def test_a_strike_that_kills_the_node_each_time_is_dead_and_its_neighbours_are_not(reference: dict) -> None:
    rows, session = collect(always(KILLER, "die"))
    struck = the_row(rows, 5)
    assert struck.strike_outcomes[0] == struck.outcome == "DEAD"
    assert struck.withheld == (0, 1, 2)
    assert struck.timing is None
    assert all(fault.before == -1 for fault in struck.faults if fault.strike == 0)
    assert others(rows) == {key: values for key, values in reference.items() if key[1] != 5}
    # Once among others, which proves nothing; once alone; and its reproduction.
    assert session.restarts == 3
    assert reasons(rows) == ["nothing heard: the node died"] * 2


@pytest.mark.parametrize("what", ["die", "lose", "port"])
def test_what_happens_once_is_an_attempt(what: str, reference: dict) -> None:
    rows, session = collect(once(KILLER, what))
    assert essence(rows) == reference
    assert (session.restarts, len(reasons(rows))) == (1, 1)


def test_a_death_alone_and_an_answer_then_is_an_attempt(reference: dict) -> None:
    deaths = [KILLER, KILLER]

    def plan(run: Run, alone: bool) -> str:
        return "die" if run.faults and run.run_id in deaths and not deaths.remove(run.run_id) else ""  # type: ignore[func-returns-value]

    rows, session = collect(plan)
    assert essence(rows) == reference
    assert (session.restarts, len(reasons(rows))) == (2, 2)


def test_a_lost_line_counts_as_no_death_however_often(reference: dict) -> None:
    left = [4]

    def plan(run: Run, alone: bool) -> str:
        if run.run_id == KILLER and run.faults and left[0]:
            left[0] -= 1
            return "lose"
        return ""

    rows, session = collect(plan)
    assert essence(rows) == reference
    assert session.restarts == 4


@pytest.mark.parametrize("lost", ["lose", "port"])
def test_a_line_that_is_lost_with_one_strike_alone_under_way_is_no_death(lost: str, reference: dict) -> None:
    script = {False: ["die"], True: [lost, "die", lost, lost]}

    def plan(run: Run, alone: bool) -> str:
        return script[alone].pop(0) if run.run_id == KILLER and run.faults and script[alone] else ""

    rows, session = collect(plan)
    assert essence(rows) == reference
    assert (session.restarts, len(reasons(rows))) == (5, 5)


def test_several_killers_are_all_found(reference: dict) -> None:
    killers = {trial << 12 for trial in (2, 3, 4, 7)}
    rows, _ = collect(lambda run, alone: "die" if run.run_id in killers and run.faults else "")
    outcomes = {row.trial: row.strike_outcomes[0] for row in rows if isinstance(row, TrialRow)}
    assert {trial for trial, outcome in outcomes.items() if outcome == "DEAD"} == {2, 3, 4, 7}
    right = {key[1]: values[5][0] for key, values in reference.items()}  # type: ignore[index]
    assert {trial: outcome for trial, outcome in outcomes.items() if outcome != "DEAD"} == {
        trial: outcome for trial, outcome in right.items() if trial not in (2, 3, 4, 7)
    }


# ---- the line is lost --------------------------------------------------------------------------------------------


def test_what_was_asked_and_not_answered_is_asked_again_first_and_in_order() -> None:
    _, session = collect(once(KILLER, "lose"))
    asked = session.asked[CALIBRATION_RUNS + 1 :]  # one more proves that strikes arrive
    lost_at = asked.index(KILLER)
    again = asked[lost_at + 1 :]
    under_way = asked[max(0, lost_at - WINDOW + 1) : lost_at + 1]
    assert again[: len(under_way)] == under_way
    assert sorted(set(asked)) == sorted(run.run.run_id for trial in TRIALS for run in task().prepare(trial))


def test_a_line_that_stays_lost_ends_the_campaign_and_keeps_the_rows() -> None:
    rows: list[Row] = []
    with SimSession() as session:
        session.prepare(WORKLOAD.image.to_bytes(), WORKLOAD.inputs_file())
        unreliable = UnreliableSession(session, always(KILLER, "lose"))
        with pytest.raises(LinkLost):
            TaskRunner(unreliable, task(), WORKLOAD, rows.append).collect(TRIALS)  # type: ignore[arg-type]
    assert unreliable.restarts == MAX_LOST_LINES
    assert [row.trial for row in rows if isinstance(row, TrialRow)] == [0, 1]


def test_a_line_that_is_lost_again_and_again_is_borne_while_answers_come(reference: dict) -> None:
    seen: set[int] = set()

    def plan(run: Run, alone: bool) -> str:
        if not run.faults or run.run_id in seen:
            return ""
        seen.add(run.run_id)
        return "lose"

    rows, session = collect(plan)
    assert essence(rows) == reference
    assert session.restarts > MAX_LOST_LINES


# ---- the computer ends abnormally --------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "outcome"), [("crash", "CRASH"), ("hang", "HANG")])
def test_an_abnormal_end_that_comes_again_is_an_outcome(what: str, outcome: str, reference: dict) -> None:
    rows, session = collect(always(KILLER, what))
    struck = the_row(rows, 5)
    assert struck.strike_outcomes[0] == struck.outcome == outcome
    assert "again" in struck.detail
    assert reasons(rows) == []
    assert session.restarts == 0
    assert others(rows) == {key: values for key, values in reference.items() if key[1] != 5}


@pytest.mark.parametrize("what", ["crash", "hang"])
def test_an_abnormal_end_that_does_not_come_again_is_an_attempt(what: str, reference: dict) -> None:
    rows, _ = collect(once(KILLER, what))
    assert essence(rows) == reference
    assert reasons(rows) == [f"{what.upper()}, not reproduced: it {what}{'ed' if what == 'crash' else 's'}"]


def test_a_crash_first_seen_after_a_death_has_to_be_reproduced_too(reference: dict) -> None:
    script = {False: ["die"], True: ["crash", "crash"]}

    def plan(run: Run, alone: bool) -> str:
        return script[alone].pop(0) if run.run_id == KILLER and run.faults and script[alone] else ""

    rows, _ = collect(plan)
    assert the_row(rows, 5).strike_outcomes[0] == "CRASH"
    script = {False: ["die"], True: ["crash"]}
    rows, _ = collect(plan)
    assert essence(rows) == reference
    assert len(reasons(rows)) == 2


def test_the_second_run_has_more_time_and_nothing_else_under_way() -> None:
    alone_when_asked: list[bool] = []

    def plan(run: Run, alone: bool) -> str:
        if run.run_id != KILLER or not run.faults:
            return ""
        alone_when_asked.append(alone)
        return "hang"

    _, session = collect(plan)
    assert alone_when_asked == [False, True]
    assert session.configured[-1] == PATIENCE_FACTOR * session.configured[-2]


# ---- setting up --------------------------------------------------------------------------------------------------


def test_the_deadline_is_measured_under_a_generous_one() -> None:
    _, session = collect(reliable)
    assert session.configured[0] == CALIBRATION_DEADLINE_MS
    assert session.configured[1] == LEAST_DEADLINE_MS, "the adder takes microseconds"


def test_a_slow_computer_has_a_longer_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    true_run = SimSession.run

    def slow(session: SimSession, run: Run) -> Answer:
        answer = true_run(session, run)
        assert isinstance(answer, RunResult)
        # The first one took a minute, in which kernels were compiled.
        object.__setattr__(answer, "elapsed_us", 300_000 if run.run_id else 60_000_000)
        return answer

    monkeypatch.setattr(SimSession, "run", slow)
    _, session = collect(reliable)
    assert session.configured[1] == DEADLINE_FACTOR * 300


@pytest.mark.parametrize("what", ["die", "lose", "port"])
def test_a_node_that_is_lost_while_it_is_measured_is_measured_again(what: str, reference: dict) -> None:
    left = [2]

    def plan(run: Run, alone: bool) -> str:
        if run.faults or not left[0]:
            return ""
        left[0] -= 1
        return what

    rows, session = collect(plan)
    assert essence(rows) == reference
    assert (session.restarts, reasons(rows)) == (2, [])


def test_an_undisturbed_run_that_ends_abnormally_is_no_experiment() -> None:
    with pytest.raises(DataError, match="an undisturbed run ended in a CRASH: it crashed"):
        collect(lambda run, alone: "crash")


def test_a_node_that_computes_something_else_is_no_experiment() -> None:
    golden = list(WORKLOAD.golden)
    golden[NATURE.inputs(0)[0]] = golden[0][::-1]
    rows: list[Row] = []
    other = make_workload(WORKLOAD.image, WORKLOAD.inputs, None, (WORKLOAD.critical_name, WORKLOAD.critical))
    object.__setattr__(other, "golden", tuple(golden))
    with SimSession() as session:
        session.prepare(WORKLOAD.image.to_bytes(), WORKLOAD.inputs_file())
        with pytest.raises(DataError, match="is not the emulator's"):
            TaskRunner(session, task(), other, rows.append).collect(TRIALS)
    assert rows == []


@pytest.mark.parametrize("protection", [Protection(), Protection(repair_at_once=True), Protection(code="tmr")])
def test_a_node_whose_strikes_arrive_is_live(protection: Protection) -> None:
    entry = ProtectionEntry(name="p", protection=protection)
    with SimSession() as session:
        session.prepare(WORKLOAD.image.to_bytes(), WORKLOAD.inputs_file())
        session.configure(protection, 0)
        assert calibrate(session, Task.of(entry, WORKLOAD, NATURE), WORKLOAD) >= LEAST_DEADLINE_MS


@pytest.mark.parametrize("repair_at_once", [False, True])
def test_a_node_that_strikes_other_memory_than_it_says_is_no_experiment(
    repair_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The readback is right: the bytes of a shadow are struck, or what was struck is not undone as it should be."""
    protection = Protection(repair_at_once=repair_at_once)

    def strike_a_shadow(computer: Computer, fault: Fault) -> Readback:
        view = computer.arena.view(fault.region)
        if repair_at_once:
            return Readback(**dict(zip(("before", "after"), computer.arena.flip(fault.region, fault.bit), strict=True)))
        before = int(view[fault.bit >> 3])
        return Readback(before=before, after=before ^ 1 << (fault.bit & 7))

    monkeypatch.setattr(Computer, "inject", strike_a_shadow)
    entry = ProtectionEntry(name="p", protection=protection)
    with SimSession() as session:
        session.prepare(WORKLOAD.image.to_bytes(), WORKLOAD.inputs_file())
        session.configure(protection, 0)
        with pytest.raises(DataError, match="strikes do not reach the memory"):
            calibrate(session, Task.of(entry, WORKLOAD, NATURE), WORKLOAD)


@pytest.mark.parametrize("temperature_c", [None, 84.0])
def test_the_plant_is_held_at_the_task_s_temperature_after_every_restart(
    temperature_c: float | None, reference: dict
) -> None:
    rows, session = collect(once(KILLER, "die"), temperature_c)
    wanted = ROOM_C if temperature_c is None else temperature_c
    assert set(session.temperatures) == {wanted}
    assert len(session.temperatures) == len(session.configured)
    assert essence(rows) == reference, "heat changes no outcome"
    timed = [row.timing for row in rows if isinstance(row, TrialRow) and row.timing]
    assert all(timing.plant_c == wanted for timing in timed)


def test_nothing_asked_nothing_done() -> None:
    with SimSession() as session:
        unreliable = UnreliableSession(session, reliable)
        TaskRunner(unreliable, task(), WORKLOAD, [].append).collect(())  # type: ignore[arg-type]
    assert (unreliable.asked, unreliable.configured) == ([], [])
