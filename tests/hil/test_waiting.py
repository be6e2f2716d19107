"""A board that is switched on after the command."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import pytest

from firmware_bridge.errors import PortError
from firmware_bridge.transport import open_pty
from hil.cli import main
from hil.progress import ProgressEvent
from hil.targets.waiting import wait_for_nodes
from tests.campaigns import write_campaign
from tests.fake_node import FakeNode


def test_a_port_that_appears_late_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "ttyUSB0"
    master, path = open_pty(persistent=True)
    monkeypatch.setattr(sys, "stdin", io.StringIO("temp 61.5\nquit\n"))

    def plug() -> None:
        time.sleep(0.5)
        link.symlink_to(path)

    thread = threading.Thread(target=plug)
    with FakeNode(master) as node:
        thread.start()
        assert main(["console", f"serial://{link}", "--wait", "30"]) == 0
        thread.join()
        assert node.celsius == 61.5
    assert f"wait for serial://{link}  no port {link}" in capsys.readouterr().err


def test_only_what_is_missing_is_waited_for(tmp_path: Path) -> None:
    master, path = open_pty(persistent=True)
    told: list[ProgressEvent] = []
    with FakeNode(master):
        wait_for_nodes(f"sim,serial://{path}", [tmp_path], 30.0, told.append)
        assert told == []
        with pytest.raises(PortError, match=r"no port /dev/ttyNONE.*waited for 0\.3 s"):
            wait_for_nodes(f"serial://{path},serial:///dev/ttyNONE", [tmp_path], 0.3, told.append)
    assert all("ttyNONE" in event.note for event in told)


def test_what_is_missing_at_the_end_is_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_campaign(tmp_path, trials=1)
    words = ["run", str(path), "--target", "serial:///dev/ttyNONE", "--out", str(tmp_path / "out")]
    assert main([*words, "--wait", "0.3"]) == PortError.exit_code
    assert "waited for 0.3 s" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
