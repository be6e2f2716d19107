"""Sessions: a node that died is told from a line that was lost, and whatever fails leaves nothing behind."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest

from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import ConfigError, Interrupted, LinkLost, PortError
from firmware_bridge.messages import Run, RunResult
from hil.campaign.collect import RunOptions, resume_campaign, run_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.record import LinkRow
from hil.campaign.store import Store, read_rows
from hil.campaign.workers import collect_with_workers
from hil.progress import ProgressEvent, silent
from hil.targets.hosts import MemoryHost, PtyHost
from hil.targets.link_session import LinkSession
from node.protection import Protection
from tests.adder_image import SAMPLES, adder_image, right_bytes
from tests.campaigns import campaign, essence, run
from tests.hil.test_campaign_interrupted import children_of

ONE = '[[protection]]\nname = "parity"\ncode = "parity"\n'


def npz(path: Path) -> bytes:
    import numpy as np

    np.savez(path, **{name: np.stack([sample[name] for sample in SAMPLES]) for name in ("a", "b")})
    return path.read_bytes()


def outputs(session: LinkSession) -> list[bytes]:
    answer = session.run(Run(run_id=1, inputs=(2, 5)))
    assert isinstance(answer, RunResult)
    return [inference.output for inference in answer.inferences]


def test_a_process_that_was_killed_has_died_and_one_that_is_silent_has_not(tmp_path: Path) -> None:
    """One node: first stopped, so that nothing is heard of it, then killed; each time it comes back as it was."""
    host = PtyHost()
    assert host.has_died() is False, "nothing has been started yet"
    with LinkSession(host, silent) as session:
        session.prepare(adder_image().to_bytes(), npz(tmp_path / "inputs.npz"))
        session.configure(Protection(), 5000)
        assert host.pid is not None
        os.kill(host.pid, signal.SIGSTOP)
        assert host.has_died() is False
        os.kill(host.pid, signal.SIGCONT)
        assert session.restart() is False
        session.configure(Protection(), 5000)
        assert outputs(session) == [right_bytes(2), right_bytes(5)], "the node holds again what was loaded"
        before = session.counters()["frames_sent"]
        os.kill(host.pid, signal.SIGKILL)
        with pytest.raises((PortError, LinkLost)):
            outputs(session)
        assert session.restart() is True
        assert session.counters()["frames_sent"] > before, "counts go on over connections"
        assert outputs(session)


class FailingHost(MemoryHost):
    """A node in a thread whose line fails at the connections that are named, and which may never come back."""

    def __init__(self, *fails: int, error: type[Exception] = LinkLost, boot_s: float = 5.0) -> None:
        super().__init__()
        self.boot_s = boot_s
        self.connections = 0
        self.closed = 0
        self._fails = fails
        self._error = error

    def connect(self) -> Bridge:
        bridge = super().connect()
        self.connections += 1
        if self.connections - 1 in self._fails:
            bridge.close()
            if self.connections == 1:
                raise self._error("nobody answers")
        return bridge

    def close(self) -> None:
        self.closed += 1
        super().close()


def test_a_node_that_does_not_answer_is_ended() -> None:
    for fails in (0, 1):
        host = FailingHost(0, error=(LinkLost, PortError)[fails])
        with pytest.raises((LinkLost, PortError)):
            LinkSession(host, silent)
        assert host.closed == 1


def test_a_line_that_is_lost_while_the_node_is_loaded_again_is_tried_again(tmp_path: Path) -> None:
    host = FailingHost(1, 2)
    events: list[ProgressEvent] = []
    with LinkSession(host, events.append) as session:
        session.prepare(adder_image().to_bytes(), npz(tmp_path / "inputs.npz"))
        assert session.restart() is False
        session.configure(Protection(), 5000)
        assert outputs(session) == [right_bytes(2), right_bytes(5)]
    assert host.connections == 4
    assert [event.stage for event in events].count("wait for the node") == 2


def test_a_node_that_stays_silent_is_given_up_after_its_time_to_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.targets.link_session.RETURN_TIMEOUT_S", 0.0)
    host = FailingHost(*range(1, 1000), boot_s=0.3)
    with LinkSession(host, silent) as session, pytest.raises((LinkLost, PortError)):
        session.restart()
    assert host.closed == 1


# ---- workers -----------------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_costs_its_chunk_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    described = campaign(tmp_path, trials=101, protections=ONE)
    killed: list[int] = []

    def kill_a_worker(event: ProgressEvent) -> None:
        if event.stage == "all protections" and not killed:
            workers = [pid for pid in children_of(os.getpid()) if is_worker(pid)]
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    out = tmp_path / "run"
    with pytest.raises(Interrupted, match=r"a worker process was killed .*`hil resume") as caught:
        run_campaign(described, out=out, options=RunOptions(workers=2), progress=kill_a_worker)
    assert caught.value.exit_code == 4
    assert essence(read_rows(out)), "the chunk that was complete is kept"
    resume_campaign(out, workers=2, progress=silent)
    assert essence(read_rows(out)) == essence(run(described, tmp_path / "whole"))
    links = [row for row in read_rows(out) if isinstance(row, LinkRow)]
    assert links, "each worker says at its end what its node and its line were like"
    assert all(row.deadline_ms > 0 for row in links)
    assert list(scratch.iterdir()) == [], "a worker that ends takes its node's storage along, and a killed one's"


def is_worker(pid: int) -> bool:
    return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_worker_that_cannot_begin_says_why(tmp_path: Path) -> None:
    experiment = Experiment.of(campaign(tmp_path, trials=2, protections=ONE))
    missing = {task.name: (0, 1) for task in experiment.tasks}
    with Store(tmp_path / "run", experiment.header()) as store, pytest.raises(ConfigError, match=r"holds no campaign/"):
        collect_with_workers(experiment, missing, store, workers=2, progress=silent)
