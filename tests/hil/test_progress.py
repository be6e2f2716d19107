"""Progress: plain lines that do not flood a log, a bar on a terminal, nothing on standard output."""

from __future__ import annotations

import io
import os
import pty
import re
import select
from pathlib import Path

import pytest

from hil.campaign.collect import RunOptions, run_campaign
from hil.campaign.record import TrialRow
from hil.campaign.stopping import FAILURES
from hil.campaign.store import read_rows
from hil.commands.progress import LINE_PERIOD_S, NOTE_PERIOD_S, PlainLines, shown_progress
from hil.progress import ProgressEvent, silent
from tests.campaigns import campaign

NONE = '[[protection]]\nname = "none"\ncode = "none"\n'


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def event(done: int, total: int = 1000, stage: str = "tmr", note: str = "") -> ProgressEvent:
    return ProgressEvent(stage=stage, done=done, total=total, note=note)


def test_silence_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent(event(1))
    assert capsys.readouterr() == ("", "")


def test_a_fast_stage_writes_two_lines() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    for done in range(1001):
        clock.now_s += 0.001
        lines(event(done))
    lines(event(1000, note="once more"))
    assert stream.getvalue().splitlines() == ["tmr: 0/1000", "tmr: 1000/1000  1000/s"]


def test_a_slow_stage_writes_a_line_a_period_with_rate_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    for done in range(81):
        lines(event(done))
        clock.now_s += LINE_PERIOD_S / 40
    written = stream.getvalue().splitlines()
    assert written == ["tmr: 0/1000", "tmr: 40/1000  8/s, 120 s left", "tmr: 80/1000  8/s, 115 s left"]


def test_a_resumed_stage_counts_its_rate_from_where_it_began() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    lines(event(900))
    clock.now_s += 10.0
    lines(event(1000))
    assert stream.getvalue().splitlines()[-1] == "tmr: 1000/1000  10/s"


def test_notes_are_shown_sooner_but_not_all() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    lines(event(0))
    for done in range(1, 21):
        clock.now_s += NOTE_PERIOD_S / 4
        lines(event(done, note="node restarted"))
    assert len(stream.getvalue().splitlines()) == 1 + 5
    assert "node restarted" in stream.getvalue()


def test_the_limits_of_failures_narrow_as_trials_come() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = PlainLines(stream, clock)
    for done in (100, 500, 1000):
        lines(ProgressEvent(stage="tmr", done=done, total=1000, failing=("tmr", done // 20, done)))
        clock.now_s += LINE_PERIOD_S
    found = [re.search(r"tmr fails in ([0-9.]+) to ([0-9.]+) %", line) for line in stream.getvalue().splitlines()]
    limits = [(float(match[1]), float(match[2])) for match in found if match]
    assert len(limits) == 3
    assert all(low < 5.0 < high for low, high in limits)
    assert [high - low for low, high in limits] == sorted((high - low for low, high in limits), reverse=True)


def test_a_run_says_how_its_failures_stand(tmp_path: Path) -> None:
    events: list[ProgressEvent] = []
    run_campaign(
        campaign(tmp_path, trials=6, protections=NONE),
        out=tmp_path / "run",
        options=RunOptions(),
        progress=events.append,
    )
    rows = [row for row in read_rows(tmp_path / "run") if isinstance(row, TrialRow) and row.protection == "none"]
    last = next(event for event in reversed(events) if event.stage == "none")
    assert last.failing == ("none", sum(row.outcome in FAILURES for row in rows), 6)


def test_an_unknown_total_is_not_shown() -> None:
    stream = io.StringIO()
    PlainLines(stream, Clock())(event(0, total=0, stage="compile"))
    assert stream.getvalue() == "compile\n"


def test_without_a_terminal_plain_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress() as progress:
        progress(event(0))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "tmr: 0/1000\n"


def test_a_terminal_gets_a_bar_for_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    shown = ""
    with os.fdopen(slave, "w") as terminal:
        with shown_progress(terminal) as progress:
            progress(event(0, total=0, stage="compile"))
            progress(event(10))
            progress(event(1000, note="node restarted"))
        terminal.flush()
        while select.select([master], [], [], 0.2)[0]:
            shown += os.read(master, 65536).decode(errors="replace")
    os.close(master)
    assert "compile" in shown
    assert "1000/1000" in shown
    assert "node restarted" in shown
