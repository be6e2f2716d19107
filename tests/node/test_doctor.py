"""The board's doctor against made-up machines, and against this one."""

from pathlib import Path

import pytest

from node import doctor
from node.__main__ import main
from node.doctor import Check, Machine


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def port(root: Path, name: str) -> Path:
    path = root / "dev" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/dev/null")
    return path


def test_sensors_are_named_with_their_source(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48123\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    finding = doctor.check_sensors(Machine(root=tmp_path))[0].finding
    assert "temperature (thermal_zone0)" in finding
    assert "no clock, no throttle flags" in finding


def test_missing_sensors_need_no_repair(tmp_path: Path) -> None:
    (check,) = doctor.check_sensors(Machine(root=tmp_path))
    assert check.finding.startswith("no temperature, no clock, no throttle flags")
    assert check.remedy == ""


@pytest.mark.parametrize(
    ("answer", "finding", "word"),
    [
        ("throttled=0x0", "none since boot", ""),
        ("throttled=0x50005", "under voltage, throttled, has been under voltage, has been throttled", "power supply"),
        ("throttled=0x60000", "has been capped, has been throttled", "cool the board"),
    ],
)
def test_what_the_firmware_says_of_voltage_and_heat(tmp_path: Path, answer: str, finding: str, word: str) -> None:
    put(tmp_path, "usr/bin/vcgencmd", f'#!/bin/sh\n[ "$1" = get_throttled ] && echo {answer}\n')
    (tmp_path / "usr/bin/vcgencmd").chmod(0o755)
    check = doctor.check_sensors(Machine(root=tmp_path))[-1]
    assert (check.name, check.finding) == ("throttling", finding)
    assert word in check.remedy
    assert bool(word) == bool(check.remedy)


def test_a_clock_that_was_left_limited(tmp_path: Path) -> None:
    policy = "sys/devices/system/cpu/cpufreq/policy0"
    put(tmp_path, f"{policy}/cpuinfo_max_freq", "1800000\n")
    put(tmp_path, f"{policy}/scaling_max_freq", "1800000\n")
    assert len(doctor.check_sensors(Machine(root=tmp_path))) == 1
    put(tmp_path, f"{policy}/scaling_max_freq", "600000\n")
    check = doctor.check_sensors(Machine(root=tmp_path))[-1]
    assert check.finding == "600 of 1800 MHz"
    assert f"echo 1800000 | sudo tee /{policy}/scaling_max_freq" in check.remedy


def test_no_serial_ports(tmp_path: Path) -> None:
    assert [check.finding for check in doctor.check_serial_ports(Machine(root=tmp_path))] == ["none found"]


def test_ports_that_may_be_opened(tmp_path: Path) -> None:
    port(tmp_path, "ttyUSB0")
    port(tmp_path, "ttyAMA0")
    checks = doctor.check_serial_ports(Machine(root=tmp_path))
    assert [(Path(check.name).name, check.remedy) for check in checks] == [("ttyAMA0", ""), ("ttyUSB0", "")]


def test_a_port_of_others_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port(tmp_path, "ttyUSB0")
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    (check,) = doctor.check_serial_ports(Machine(root=tmp_path))
    assert check.remedy.startswith("sudo usermod -aG root $USER"), "the group that owns /dev/null"


@pytest.mark.parametrize(("model", "warned"), [("Raspberry Pi 4 Model B Rev 1.4\0", True), ("other", False)])
def test_the_mini_uart_of_a_raspberry_pi(tmp_path: Path, model: str, warned: bool) -> None:
    put(tmp_path, "proc/device-tree/model", model)
    port(tmp_path, "ttyS0")
    (check,) = doctor.check_serial_ports(Machine(root=tmp_path))
    assert ("disable-bt" in check.remedy) == warned


@pytest.mark.parametrize(
    ("cmdline", "finding"),
    [
        ("console=serial0,115200 console=tty1 root=/dev/sda", "on serial0"),
        ("console=ttyAMA0,921600", "on ttyAMA0"),
        ("console=tty1 quiet", "off"),
        ("", "off"),
    ],
)
def test_the_serial_console(tmp_path: Path, cmdline: str, finding: str) -> None:
    put(tmp_path, "proc/cmdline", cmdline)
    check = doctor.check_console(Machine(root=tmp_path))
    assert check.finding == finding
    assert bool(check.remedy) == (finding != "off")


@pytest.mark.parametrize(("engine", "sound"), [("crcmod C", True), ("crcmod pure Python", False)])
def test_a_slow_crc_engine_is_found(monkeypatch: pytest.MonkeyPatch, engine: str, sound: bool) -> None:
    monkeypatch.setattr(doctor.crc, "engine", lambda: engine)
    assert (doctor.check_crc().remedy == "") == sound


@pytest.mark.parametrize(
    ("head", "finding", "sound"),
    [
        (b"\x7fELF\x02", "64 bit", True),
        (b"\x7fELF\x01", "32 bit", False),
        (b"#!/bin/sh", "no program found", True),
        (b"", "no program found", True),
    ],
)
def test_a_32_bit_system_has_no_wheels(tmp_path: Path, head: bytes, finding: str, sound: bool) -> None:
    path = tmp_path / "usr/bin/env"
    path.parent.mkdir(parents=True)
    path.write_bytes(head)
    check = doctor.check_system(Machine(root=tmp_path))
    assert check.finding.startswith(finding)
    assert (check.remedy == "") == sound


def test_a_missing_compiler_is_no_trouble(tmp_path: Path) -> None:
    assert "none is needed" in doctor.check_compiler(Machine(root=tmp_path)).finding
    put(tmp_path, "usr/bin/gcc", "")
    assert doctor.check_compiler(Machine(root=tmp_path)).finding == "/usr/bin/gcc"


@pytest.mark.parametrize(
    ("device", "setting", "sound"),
    [
        ("dev/null", "", True),
        ("dev/watchdog", "#RuntimeWatchdogSec=15", False),
        ("dev/watchdog0", "RuntimeWatchdogSec=0", False),
        ("dev/watchdog", "RuntimeWatchdogSec=15", True),
    ],
)
def test_the_boards_own_watchdog(tmp_path: Path, device: str, setting: str, sound: bool) -> None:
    put(tmp_path, device, "")
    put(tmp_path, "etc/systemd/system.conf.d/x.conf", f"[Manager]\n{setting}\n")
    assert (doctor.check_watchdog(Machine(root=tmp_path)).remedy == "") == sound


def test_what_is_installed_satisfies_the_doctor(tmp_path: Path) -> None:
    put(tmp_path, "dev/watchdog", "")
    assert doctor.check_watchdog(Machine(root=tmp_path)).remedy
    assert main(["install", "--root", str(tmp_path), "--yes"]) == 0
    assert doctor.check_watchdog(Machine(root=tmp_path)).remedy == ""


def test_another_root_is_examined_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "proc/cmdline", "console=serial0,115200")
    assert main(["doctor", "--root", str(tmp_path)]) == 1
    assert "serial console: on serial0" in capsys.readouterr().out


def test_every_remedy_is_one_line_below_its_finding() -> None:
    lines: list[str] = []
    checks = [Check(name="a", finding="well"), Check(name="b", finding="ill", remedy="take this")]
    assert not doctor.print_checks(checks, lines.append)
    assert lines == ["ok  a: well", "!!  b: ill", "      -> take this"]
    assert doctor.print_checks(checks[:1], lines.append)


def test_this_machine_is_examined_completely() -> None:
    names = [check.name for check in doctor.examine()]
    assert names[:3] == ["crc engine", "kernel cache", "sensors"]
    assert names[-1] == "serial console"
