"""The bench file: boards by name, found by what does not change when cables are moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge import transport
from firmware_bridge.errors import ConfigError, PortError
from firmware_bridge.ports import PortInfo, list_ports, told_apart
from hil.boards.bench_file import Board, board_url, check_capabilities, load_bench, plain_target, resolve_target
from hil.boards.suggestion import bench_entries


def port(device: str, serial_number: str = "", usb_path: str = "") -> PortInfo:
    return PortInfo(device=device, description="", serial_number=serial_number, usb_path=usb_path)


PORTS = (port("/dev/ttyUSB0", "AAA", "1-1.1"), port("/dev/ttyUSB1", "BBB", "1-1.2"), port("/dev/ttyS0"))


def bench(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bench.toml"
    path.write_text(text)
    return path


def test_boards_by_name(tmp_path: Path) -> None:
    path = bench(
        tmp_path, '[[board]]\nname = "a"\nurl = "sim"\n[[board]]\nname = "b"\nserial_number = "BBB"\nbaud = 115200\n'
    )
    assert load_bench(path) == {
        "a": Board(name="a", url="sim"),
        "b": Board(name="b", serial_number="BBB", baud=115200),
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[[boards]]\nname = "a"\n', "did you mean 'board'?"),
        ('[[board]]\nname = "a"\nurk = "sim"\n', "did you mean 'url'?"),
        ('[[board]]\nurl = "sim"\n', "name is missing"),
        ('[[board]]\nname = ""\nurl = "sim"\n', "without spaces"),
        ('[[board]]\nname = "a b"\nurl = "sim"\n', "without spaces"),
        ('[[board]]\nname = "a"\n', "give either url, or serial_number"),
        ('[[board]]\nname = "a"\nurl = "sim"\nserial_number = "A"\n', "give either url, or serial_number"),
        ('[[board]]\nname = "a"\nurl = "simm"\n', "did you mean 'sim'?"),
        ('[[board]]\nname = "a"\nurl = "bench:b"\n', "cannot be another entry"),
        ('[[board]]\nname = "a"\nserial_number = "A"\nbaud = 3\n', "baud = 3"),
        ('[[board]]\nname = "a"\nserial_number = "A"\ndtr = "maybe"\n', "dtr"),
        ('[[board]]\nname = "a"\nurl = "serial:///dev/ttyAMA0"\nrts = "off"\n', "serial:///dev/ttyAMA0?rts=off"),
        ('[[board]]\nname = "a"\nurl = "serial:///dev/ttyUSB0?baud=9600"\n', "/dev/ttyUSB0 may be another adapter"),
        ('[[board]]\nname = "a"\nurl = "serial:///dev/ttyACM12"\n', "hil suggest"),
        ('[[board]]\nname = "a"\nurl = "sim"\n[[board]]\nname = "a"\nurl = "pty"\n', "stands there twice"),
        ('[board]\nname = "a"\nurl = "sim"\n', "under its own [[board]]"),
        ("board = [", "not valid TOML"),
    ],
)
def test_bad_entries_are_explained(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_bench(bench(tmp_path, text))
    assert part in str(caught.value)
    assert "bench.toml" in str(caught.value)


def test_a_board_is_found_by_serial_number_or_usb_path() -> None:
    by_number = board_url(Board(name="x", serial_number="BBB"), lambda: PORTS)
    assert by_number == "serial:///dev/ttyUSB1?baud=921600&serial_number=BBB"
    by_path = board_url(Board(name="x", usb_path="1-1.1", baud=9600), lambda: PORTS)
    assert by_path == "serial:///dev/ttyUSB0?baud=9600&usb_path=1-1.1"
    assert board_url(Board(name="x", url="tcp://h:1"), lambda: PORTS) == "tcp://h:1"


def test_a_board_that_a_line_resets_has_it_let_go_each_time_its_port_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(transport, "_open_tty", lambda path, baud, **lines: seen.append((path, baud, lines)))
    monkeypatch.setattr(transport, "list_ports", lambda: PORTS)
    transport.open_transport(board_url(Board(name="x", serial_number="BBB", dtr="off"), lambda: PORTS))
    assert seen == [("/dev/ttyUSB1", 921_600, {"dtr": False, "rts": True})]


def test_both_marks_must_match() -> None:
    with pytest.raises(PortError, match=r"serial number 'AAA' and USB path '1-1\.2'"):
        board_url(Board(name="x", serial_number="AAA", usb_path="1-1.2"), lambda: PORTS)


def test_a_missing_board_says_what_is_there() -> None:
    with pytest.raises(PortError) as caught:
        board_url(Board(name="pi", serial_number="ZZZ"), lambda: PORTS)
    assert "/dev/ttyUSB0 has AAA" in str(caught.value)
    assert "/dev/ttyS0 has neither" in str(caught.value)
    with pytest.raises(PortError, match="no serial port here"):
        board_url(Board(name="pi", serial_number="ZZZ"), lambda: ())


def test_two_adapters_with_one_serial_number_are_told_apart_by_path() -> None:
    twins = (port("/dev/ttyUSB0", "AAA", "1-1"), port("/dev/ttyUSB1", "AAA", "1-2"))
    with pytest.raises(PortError, match="add usb_path"):
        board_url(Board(name="x", serial_number="AAA"), lambda: twins)
    assert board_url(Board(name="x", serial_number="AAA", usb_path="1-2"), lambda: twins).startswith(
        "serial:///dev/ttyUSB1"
    )


def test_ports_of_one_adapter_are_told_apart_by_the_kernels_number(tmp_path: Path) -> None:
    """An adapter with two ports behind one interface: the same serial number, the same place."""
    pair = (port("/dev/ttyUSB0", "AAA", "1-1"), port("/dev/ttyUSB1", "AAA", "1-1"), port("/dev/ttyUSB2", "B", "1-2"))
    assert told_apart(pair, tmp_path) == pair, "a kernel that gives no numbers"
    for number in (0, 1, 2):
        device = tmp_path / f"class/tty/ttyUSB{number}/device"
        device.mkdir(parents=True)
        (device / "port_number").write_text(f"{number}\n")
    found = told_apart(pair, tmp_path)
    assert [each.usb_path for each in found] == ["1-1#0", "1-1#1", "1-2"]
    assert board_url(Board(name="x", usb_path="1-1#1"), lambda: found).startswith("serial:///dev/ttyUSB1")
    entries = bench_entries(found)
    assert 'usb_path = "1-1#1"' in entries
    assert 'serial_number = "B"' in entries


def test_targets_are_resolved_through_the_first_bench_file_found(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    bench(second, '[[board]]\nname = "desk"\nurl = "pty"\n')
    assert resolve_target("sim", [first]) == "sim"
    assert resolve_target("bench:desk", [first, second]) == "pty"
    bench(first, '[[board]]\nname = "desk"\nurl = "sim"\n')
    assert resolve_target("bench:desk", [first, second]) == "sim"
    with pytest.raises(ConfigError, match="did you mean 'desk'"):
        resolve_target("bench:desc", [first])
    with pytest.raises(ConfigError, match=r"no bench\.toml"):
        resolve_target("bench:desk", [tmp_path])


def test_the_ports_of_this_machine_are_listed_in_order() -> None:
    devices = [found.device for found in list_ports()]
    assert devices == sorted(devices)
    assert all(device.startswith("/dev/") for device in devices)


def test_a_board_is_looked_up_in_every_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    bench(first, '[[board]]\nname = "a"\nurl = "tcp://h:1"\n')
    bench(second, '[[board]]\nname = "b"\nurl = "tcp://h:2"\n')
    assert resolve_target("bench:a,bench:b", [first, second]) == "tcp://h:1,tcp://h:2"
    with pytest.raises(ConfigError, match=r"first/bench\.toml and .*second/bench\.toml: no board 'c'"):
        resolve_target("bench:c", [first, second])


def test_a_campaign_keeps_the_name_of_a_board_and_the_url_of_what_any_machine_can_make(tmp_path: Path) -> None:
    bench(tmp_path, '[[board]]\nname = "a"\nurl = "tcp://h:1"\n[[board]]\nname = "b"\nurl = "pty"\n')
    assert plain_target("bench:a", [tmp_path]) == "bench:a"
    assert plain_target("bench:b,bench:b", [tmp_path]) == "pty,pty"


def test_required_capabilities_must_be_named_by_every_board(tmp_path: Path) -> None:
    bench(
        tmp_path,
        '[[board]]\nname = "a"\nurl = "tcp://h:1"\ncapabilities = ["fan", "pl011"]\n'
        '[[board]]\nname = "b"\nurl = "tcp://h:2"\n',
    )
    check_capabilities((), "sim", [tmp_path])
    check_capabilities(("fan", "pl011"), "bench:a", [tmp_path])
    with pytest.raises(ConfigError, match="nothing says that bench:b has it"):
        check_capabilities(("fan",), "bench:a,bench:b", [tmp_path])
    with pytest.raises(ConfigError, match="nothing says that sim has it"):
        check_capabilities(("fan",), "sim", [tmp_path])
