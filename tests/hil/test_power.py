"""Power hooks are real shell commands, and bring a real node back in the middle of a campaign."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError, PortError
from firmware_bridge.transport import listen_tcp
from hil.boards.bench_file import bench_text, find_board, load_bench
from hil.boards.power import PowerHooks, PowerSwitch
from hil.campaign.experiment import Experiment
from hil.campaign.record import Row
from hil.campaign.task_runner import TaskRunner
from hil.progress import ProgressEvent, ProgressSink, silent
from hil.scaffold import EXAMPLES
from hil.targets import hosts, link_session
from hil.targets.session import Session
from hil.targets.sim_session import SimSession
from hil.targets.target import open_session
from tests.campaigns import attempts, campaign, essence, rows_of
from tests.fake_node import serve_fake

NAME = 'it\'s a "board"; touch harm'
MARKS = {"name": NAME, "serial_number": "", "usb_path": "1-1.4"}


def switch(**hooks: object) -> PowerSwitch:
    return PowerSwitch(PowerHooks(**hooks), MARKS)


# ---- the commands -------------------------------------------------------------------------------------------------


def test_marks_are_filled_in_as_one_word_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    switch(cycle="printf '%s|' {name} {usb_path} ${HOME:+home} > said").cycle()
    assert (tmp_path / "said").read_text() == f"{NAME}|1-1.4|home|"
    assert [path.name for path in tmp_path.iterdir()] == ["said"]


def test_off_then_a_pause_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    switch(on="echo on $(date +%s%N) >> said", off="echo off $(date +%s%N) >> said", off_s=0.3).cycle()
    (first, off_ns), (second, on_ns) = (line.split() for line in (tmp_path / "said").read_text().splitlines())
    assert (first, second) == ("off", "on")
    assert int(on_ns) - int(off_ns) > 0.3e9


def test_a_hook_that_fails_is_quoted_with_its_last_words() -> None:
    with pytest.raises(
        PortError, match=r"power hook cycle \(`echo no such hub >&2; exit 7`\) ended with 7: no such hub"
    ):
        switch(cycle="echo no such hub >&2; exit 7").cycle()
    with pytest.raises(PortError, match="it said nothing"):
        switch(off="false", on="true").cycle()


def test_a_hook_that_hangs_is_ended() -> None:
    with pytest.raises(PortError, match=r"longer than 0\.2 s"):
        switch(cycle="sleep 60", timeout_s=0.2).cycle()


def test_what_a_hook_leaves_running_is_not_waited_for() -> None:
    started_s = time.monotonic()
    switch(cycle="sleep 5 & echo started").cycle()
    assert time.monotonic() - started_s < 4.0


# ---- the bench file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "part"),
    [
        ('{ on = "x" }', "give cycle, or both on and off"),
        ("{}", "give cycle, or both on and off"),
        ('{ cicle = "x" }', "unknown field cicle"),
        ('{ cycle = "x", off_s = -1 }', "off_s"),
        ('"x"', "power"),
    ],
)
def test_hooks_that_cannot_work_are_explained(tmp_path: Path, power: str, part: str) -> None:
    (tmp_path / "bench.toml").write_text(f'[[board]]\nname = "a"\nurl = "tcp://h:1"\npower = {power}\n')
    with pytest.raises(ConfigError) as caught:
        load_bench(tmp_path / "bench.toml")
    assert part in str(caught.value)
    assert "bench.toml" in str(caught.value)


def test_entries_are_written_and_read_back_equal(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(
        '[[board]]\nname = "a"\nusb_path = "1-1"\nboot_s = 20\ncapabilities = ["fan"]\nnote = "the left one"\n'
        '[board.power]\non = "echo \\"1\\""\noff = "echo 0"\n[[board]]\nname = "b"\nurl = "pty"\n'
    )
    boards = load_bench(tmp_path / "bench.toml")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "bench.toml").write_text(bench_text(boards.values()))
    assert load_bench(tmp_path / "copy" / "bench.toml") == boards
    assert find_board("bench:a", [tmp_path]).power == PowerHooks(on='echo "1"', off="echo 0")


def test_the_examples_of_the_bench_file_can_be_used(tmp_path: Path) -> None:
    text = (EXAMPLES / "bench.toml").read_text()
    shown = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# power = ")]
    assert all(tool in text for tool in ("uhubctl", "labgrid-client", "qemu"))
    assert len(shown) >= 4
    for line in shown:
        (tmp_path / "bench.toml").write_text(f'[[board]]\nname = "a"\nurl = "tcp://h:1"\n{line}\n')
        assert load_bench(tmp_path / "bench.toml")["a"].switch() is not None


# ---- a node that dies ---------------------------------------------------------------------------------------------


@contextmanager
def board(folder: Path) -> Iterator[Path]:
    """A bench file with a node that its power hook starts; gives the file that holds the node's process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pid, storage = folder / "pid", folder / "storage"
    storage.mkdir()
    node = f"exec {sys.executable} -m node serve --no-warm-up --port tcp://127.0.0.1:{port} --storage {storage}"
    hook = f"sh -c 'echo $$ > {pid}; {node}' > {folder / 'log'} 2>&1 &"
    (folder / "bench.toml").write_text(
        f'[[board]]\nname = "pi"\nurl = "tcp://127.0.0.1:{port}"\nboot_s = 60\npower = {{ cycle = """{hook}""" }}\n'
    )
    try:
        yield pid
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)


def test_a_node_that_was_killed_is_brought_back_by_the_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_session, "RETURN_TIMEOUT_S", 0.2)
    monkeypatch.setattr(hosts, "RECOVER_S", 0.2)
    experiment = Experiment.of(campaign(tmp_path, trials=60, regions=("weights",)))
    task = experiment.task("hsiao_72_64")
    with SimSession() as session:
        reference = essence(rows_of(experiment, session, names=(task.name,)))
    told: list[ProgressEvent] = []
    rows: list[Row] = []

    with board(tmp_path) as pid:
        find_board("bench:pi", [tmp_path]).switch().cycle()
        with patient_session("bench:pi", told.append, tmp_path) as session:

            def sink(row: Row) -> None:
                rows.append(row)
                if len(rows) == 20:
                    os.kill(int(pid.read_text()), signal.SIGKILL)

            session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
            TaskRunner(session, task, experiment.workload, sink).collect(range(60))
            counters = session.counters()
    assert essence(rows) == reference
    assert attempts(rows), "the death is on record"
    assert counters["power_cycles"] == 1
    assert any("power was cycled" in event.note for event in told)


def patient_session(target: str, progress: ProgressSink, folder: Path) -> Session:
    """A session with a node that is just starting."""
    end_s = time.monotonic() + 60
    while True:
        try:
            return open_session(target, progress, [folder])
        except PortError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)


def test_a_board_without_hooks_stays_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_session, "RETURN_TIMEOUT_S", 0.1)
    monkeypatch.setattr(hosts, "RECOVER_S", 0.1)
    with listen_tcp() as listener:
        url = f"tcp://127.0.0.1:{listener.port}"
        serving = threading.Thread(target=lambda: serve_fake(listener))
        serving.start()
        session = open_session(url, silent)
    serving.join(10)
    with session, pytest.raises(PortError, match="cannot connect"):
        session.restart()
