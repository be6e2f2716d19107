"""What the node says to systemd."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        yield listener


def test_without_a_manager_nothing_is_said_and_nothing_waits_for_it() -> None:
    silent = ServiceManager({})
    silent.ready()
    silent.alive()
    assert silent.wait_s == float("inf")


def test_a_manager_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()


def test_ready_and_alive_at_half_the_watchdogs_period(manager, tmp_path: Path) -> None:
    node = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "40000000"})
    node.ready()
    assert manager.recv(100) == b"READY=1"
    node.alive()
    node.alive()
    assert manager.recv(100) == b"WATCHDOG=1"
    assert 0.0 < node.wait_s <= 20.0
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_alive_is_said_again_when_it_is_due(manager, tmp_path: Path) -> None:
    node = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"})
    for _ in range(3):
        time.sleep(node.wait_s)
        node.alive()
        assert manager.recv(100) == b"WATCHDOG=1"


def test_a_watchdog_meant_for_another_process_is_left_alone(tmp_path: Path) -> None:
    given = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "1000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert ServiceManager(given).wait_s == float("inf")


def test_an_abstract_address(tmp_path: Path) -> None:
    name = f"flightnode-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listener.recv(100) == b"READY=1"


def test_an_idle_node_says_so_itself(manager, tmp_path: Path) -> None:
    standin = Path(__file__).with_name("standin_node.py")
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "300000",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    (tmp_path / "storage").mkdir()
    command = [sys.executable, str(standin), "serve", "pty:", str(tmp_path / "storage")]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        assert manager.recv(100) == b"READY=1"
        started_s = time.monotonic()
        for _ in range(4):
            assert manager.recv(100) == b"WATCHDOG=1"
        assert time.monotonic() - started_s > 0.3
    finally:
        process.terminate()
        process.wait(10)
