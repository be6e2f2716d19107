"""Heat on a Raspberry Pi's mini UART would garble the line: the node says what it serves, the campaign refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from firmware_bridge.transport import open_pty
from hil.campaign.record import HeatRow, TrialRow
from hil.cli import main
from hil.progress import silent
from hil.targets.target import open_session
from node import doors
from node.machine import Machine
from node.uart import MINI_UART
from tests.campaigns import campaign, run, write_campaign

TMR = '\n[[protection]]\nname = "tmr"\ncode = "tmr"\n'


@pytest.fixture
def on_mini_uart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors.OneLine, "uart", MINI_UART)


def test_the_node_says_which_uart_it_serves(on_mini_uart: None) -> None:
    with open_session("memory", silent) as session:
        assert session.facts()["uart"] == MINI_UART


def test_other_lines_have_none() -> None:
    with open_session("memory", silent) as session:
        assert "uart" not in session.facts()


def test_a_port_is_looked_at_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    master, path = open_pty()
    model = tmp_path / "proc/device-tree/model"
    model.parent.mkdir(parents=True)
    model.write_text("Raspberry Pi 4 Model B Rev 1.4\0")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / Path(path).name).symlink_to("ttyS0")
    monkeypatch.setattr(doors, "Machine", lambda: Machine(root=tmp_path))
    door = doors.door_of(f"serial://{path}?baud=115200")
    assert door.uart == MINI_UART
    door.close()
    master.close()


def test_a_campaign_with_heat_is_refused_before_its_first_trial(
    on_mini_uart: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_campaign(tmp_path, trials=2, protections=TMR + "[heat]\nduration_s = 0.3\n")
    assert main(["run", str(path), "--target", "memory", "--out", str(tmp_path / "run")]) == ConfigError.exit_code
    assert "allow_mini_uart" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "nothing was measured"


@pytest.mark.parametrize("heat", ["", "[heat]\nduration_s = 0.3\nallow_mini_uart = true\n"])
def test_without_heat_or_when_forced_it_runs(on_mini_uart: None, tmp_path: Path, heat: str) -> None:
    rows = run(campaign(tmp_path, trials=2, protections=TMR + heat), tmp_path / "run", "memory")
    assert sum(isinstance(row, TrialRow) for row in rows) == 10
    assert any(isinstance(row, HeatRow) for row in rows) == bool(heat)
