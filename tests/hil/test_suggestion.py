"""What `hil suggest` prints can be used as it is."""

import tomllib
from pathlib import Path

import pytest

from firmware_bridge.ports import PortInfo
from hil.boards import bench_file
from hil.boards.bench_file import board_url, load_bench
from hil.boards.suggestion import bench_entries, udev_rules
from hil.cli import main


def port(device: str, serial_number: str = "", usb_path: str = "", description: str = "") -> PortInfo:
    return PortInfo(device=device, description=description, serial_number=serial_number, usb_path=usb_path)


PORTS = (
    port("/dev/ttyUSB0", "AAA", "1-1.1", 'FT232R "USB" UART'),
    port("/dev/ttyUSB1", "", "1-1.2", "CH340"),
    port("/dev/ttyUSB2", "TWIN", "1-1.3:1.0"),
    port("/dev/ttyUSB3", "TWIN", "1-1.3:1.1"),
    port("/dev/ttyAMA0"),
)


def test_each_port_is_found_again_by_the_entry_suggested_for_it(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(bench_entries(PORTS))
    boards = load_bench(tmp_path / "bench.toml")
    assert len(boards) == len(PORTS)
    for board, expected in zip(boards.values(), PORTS, strict=True):
        assert board_url(board, lambda: PORTS).startswith(f"serial://{expected.device}?baud=921600")


def test_marks_are_preferred_in_the_order_of_their_worth() -> None:
    entries = tomllib.loads(bench_entries(PORTS))["board"]
    marks = [next(key for key in ("serial_number", "usb_path", "url") if key in entry) for entry in entries]
    assert marks == ["serial_number", "usb_path", "usb_path", "usb_path", "url"]
    assert entries[0]["note"] == 'FT232R "USB" UART, now /dev/ttyUSB0'


def test_udev_rules_name_each_adapter_once() -> None:
    lines = [line for line in udev_rules(PORTS).splitlines() if not line.startswith("#")]
    assert len(lines) == 3, "two ports are of one adapter"
    assert all('ENV{ID_MM_DEVICE_IGNORE}="1"' in line and 'SUBSYSTEM=="tty"' in line for line in lines)
    assert 'ATTRS{serial}=="AAA"' in lines[0]
    assert 'KERNELS=="1-1.2"' in lines[1]


@pytest.mark.parametrize(("option", "word"), [((), "[[board]]"), (("--udev",), "ID_MM_DEVICE_IGNORE")])
def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys, option: tuple[str, ...], word: str) -> None:
    monkeypatch.setattr(bench_file, "ports_of_this_machine", lambda: PORTS)
    assert main(["suggest", *option]) == 0
    assert word in capsys.readouterr().out
    monkeypatch.setattr(bench_file, "ports_of_this_machine", lambda: ())
    assert main(["suggest", *option]) == 0
    assert "plug the adapter in" in capsys.readouterr().out
