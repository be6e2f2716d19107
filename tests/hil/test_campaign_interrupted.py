"""Whatever dies, measured data survives: kills of the host, of the node and of its computer change no result."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError, Interrupted
from hil.campaign.collect import RunOptions, resume_campaign, run_campaign
from hil.campaign.configuration import load_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.record import HeatRow, TrialRow
from hil.campaign.store import ROWS_FILE, Store, read_rows
from hil.progress import ProgressEvent, silent
from hil.report import summarise, to_json
from hil.report.as_json import without_times
from hil.targets.sim_session import SimSession
from hil.targets.target import open_session
from tests import proof
from tests.campaigns import attempts, campaign, essence, rows_of, run, write_campaign

SOME = """
[[protection]]
name = "hsiao_72_64 + checkpoint"
code = "hsiao_72_64"
checkpoint_period = 2
on_detected = "rollback"
"""


def report_of(directory: Path) -> str:
    return json.dumps(without_times(to_json(summarise(directory))), sort_keys=True)


def hil_run(path: Path, out: Path, target: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hil", "run", str(path), "--target", target, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_rows(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    rows = out / ROWS_FILE
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if rows.exists() and rows.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.002)


@pytest.mark.proof
@pytest.mark.parametrize("target", ["sim", "pty"])
def test_killed_host_then_resumed_equals_never_killed(target: str, tmp_path: Path) -> None:
    """Kill after kill of one run, each a few rows further on and a random moment later."""
    path = write_campaign(tmp_path, trials=60, protections=SOME)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(campaign(tmp_path, trials=60, protections=SOME), whole, target)
    kills, draw = proof.count(2, 50), random.Random(4)
    for number in range(kills):
        process = hil_run(path, killed, target)
        wait_for_rows(killed, 30 + 180 * number // kills, process)
        time.sleep(0.01 * draw.random())
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert 30 <= sum(1 for _ in read_rows(killed)) < 60 * 5
    resume_campaign(killed, progress=silent)
    assert essence(read_rows(killed)) == essence(read_rows(whole))
    assert report_of(killed) == report_of(whole)


@pytest.mark.proof
def test_results_cut_at_any_byte_resume_to_the_same(tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=4, protections=SOME)
    whole = tmp_path / "whole"
    run(described, whole)
    content = (whole / ROWS_FILE).read_bytes()
    reference = report_of(whole)
    choose = random.Random(3)
    for cut in [0, 1, len(content) - 1, *choose.sample(range(len(content)), proof.count(12, 1000))]:
        (whole / ROWS_FILE).write_bytes(content[:cut])
        resume_campaign(whole, progress=silent)
        assert report_of(whole) == reference, f"cut at byte {cut}"


def test_resuming_a_complete_run_changes_nothing(tmp_path: Path) -> None:
    run(campaign(tmp_path, trials=4, protections=SOME), tmp_path / "run")
    before = (tmp_path / "run" / ROWS_FILE).read_bytes()
    resume_campaign(tmp_path / "run", progress=silent)
    assert (tmp_path / "run" / ROWS_FILE).read_bytes() == before


def test_another_campaign_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    run(campaign(tmp_path, trials=4, protections=SOME), tmp_path / "run")
    with pytest.raises(ConfigError, match="seed"):
        run(campaign(tmp_path, trials=4, protections=SOME, seed=8), tmp_path / "run")


def test_full_disk_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = campaign(tmp_path, trials=8, protections=SOME)
    true_write = os.write
    written = 0

    def write_until_full(descriptor: int, data: bytes) -> int:
        nonlocal written
        if data.startswith(b'{"type":"trial"'):
            written += 1
            if written > 10:
                raise OSError(28, "No space left on device")
        return true_write(descriptor, data)

    monkeypatch.setattr("hil.campaign.store.os.write", write_until_full)
    with pytest.raises(Interrupted, match="hil resume") as caught:
        run(described, tmp_path / "run")
    assert caught.value.exit_code == 4
    monkeypatch.undo()
    assert len(essence(read_rows(tmp_path / "run"))) == 10
    resume_campaign(tmp_path / "run", progress=silent)
    run(described, tmp_path / "whole")
    assert report_of(tmp_path / "run") == report_of(tmp_path / "whole")


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def computer_of(node_pid: int) -> int:
    (child,) = children_of(node_pid)
    return child


def the_node() -> int:
    (node,) = [pid for pid in children_of(os.getpid()) if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return node


@pytest.mark.parametrize("victim", [the_node, lambda: computer_of(the_node())], ids=["node", "computer"])
def test_kill_from_outside_is_an_attempt_and_changes_no_result(victim: Callable[[], int], tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=40, protections=SOME)
    run(described, tmp_path / "undisturbed", "pty")
    killed_at: list[int] = []

    def kill_once(event: ProgressEvent) -> None:
        if not killed_at and event.stage == "none" and event.done == 15:
            killed_at.append(event.done)
            os.kill(victim(), signal.SIGKILL)

    run_campaign(described, out=tmp_path / "run", options=RunOptions(target="pty"), progress=kill_once)
    rows = list(read_rows(tmp_path / "run"))
    assert killed_at
    assert len(attempts(rows)) == 1
    assert essence(rows) == essence(read_rows(tmp_path / "undisturbed"))
    without = json.loads(report_of(tmp_path / "run"))
    assert len(without.pop("infrastructure_attempts")) == 1
    undisturbed = json.loads(report_of(tmp_path / "undisturbed"))
    assert undisturbed.pop("infrastructure_attempts") == []
    assert without == undisturbed


def test_a_node_killed_while_it_is_heated_is_heated_again(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, trials=1, protections=SOME + "[heat]\nduration_s = 1.0\n")
    killed: list[int] = []

    def kill_once(event: ProgressEvent) -> None:
        if not killed and event.stage == "heat" and event.done >= 3:
            killed.append(event.done)
            os.kill(the_node(), signal.SIGKILL)

    run_campaign(load_campaign(path), out=tmp_path / "run", options=RunOptions(target="pty"), progress=kill_once)
    heat = [row for row in read_rows(tmp_path / "run") if isinstance(row, HeatRow)]
    assert killed
    assert heat[0].wall_s < 0.5
    assert heat[-1].wall_s >= 1.0
    assert [row.wall_s for row in heat] == sorted(row.wall_s for row in heat), "one loop, not two"


def test_a_loop_of_heat_that_was_cut_short_is_run_again(tmp_path: Path) -> None:
    """A full disk may keep its first rows alone."""
    path = write_campaign(tmp_path, trials=1, protections=SOME + "[heat]\nduration_s = 0.6\n")
    rows = tmp_path / "run" / ROWS_FILE
    run(load_campaign(path), tmp_path / "run")
    lines = rows.read_bytes().splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if b'"type":"heat"' in line)
    rows.write_bytes(b"".join(lines[: first + 2]))
    resume_campaign(tmp_path / "run", progress=silent)
    heat = summarise(tmp_path / "run").heat
    assert heat[-1].wall_s >= 0.6
    assert [row.wall_s for row in heat] == sorted({row.wall_s for row in heat}), "one loop, not two"
    before = rows.read_bytes()
    resume_campaign(tmp_path / "run", progress=silent)
    assert rows.read_bytes() == before


@pytest.mark.parametrize(("bit", "outcome"), [(0, "CRASH"), (1, "HANG")])
@pytest.mark.parametrize("target", ["sim", "memory", "pty"])
def test_planted_interrupt_is_an_outcome_reproduced_once(
    target: str, bit: int, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from firmware_bridge.messages import Fault, FaultKind
    from hil.campaign.task import Task

    experiment = Experiment.of(campaign(tmp_path, trials=6, protections=SOME))
    with SimSession() as session:
        undisturbed = essence(rows_of(experiment, session, names=("none",)))
    true_prepare = Task.prepare
    interrupt = Fault(strike=0, region="process", bit=bit, kind=FaultKind.INTERRUPT, inference=1, step=2)

    def planted(task: Task, trial: int) -> object:
        strikes = true_prepare(task, trial)
        if trial != 3:
            return strikes
        return (replace(strikes[0], run=replace(strikes[0].run, faults=(interrupt,))), *strikes[1:])

    monkeypatch.setattr(Task, "prepare", planted)
    with open_session(target, silent) as session:
        rows = rows_of(experiment, session, names=("none",))
    struck = next(row for row in rows if isinstance(row, TrialRow) and row.trial == 3)
    assert struck.outcome == outcome
    assert "again" in struck.detail
    assert attempts(rows) == []
    others = essence(rows)
    assert {key: values for key, values in others.items() if key[1] != 3} == {
        key: values for key, values in undisturbed.items() if key[1] != 3
    }


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    experiment = Experiment.of(campaign(tmp_path, trials=2, protections=SOME))
    with Store(tmp_path / "run", experiment.header()):  # noqa: SIM117 - the second must fail while the first is open
        with pytest.raises(ConfigError, match="another process"):
            Store(tmp_path / "run", experiment.header())
