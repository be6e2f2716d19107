"""hil doctor: every finding that is not well has a one-line remedy, and only what prevents running fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from hil import doctor
from hil.cli import main
from hil.doctor import Check, check_bits, check_package, check_probers, check_space, examine, exit_code


def process(root: Path, number: int, name: str) -> None:
    folder = root / str(number)
    folder.mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")


def test_this_machine_can_run(tmp_path: Path) -> None:
    checks = examine(tmp_path / "runs")
    names = [check.name for check in checks]
    assert exit_code(checks) == 0
    assert {"system", "python", "numpy", "numba", "pyserial", "crc engine", "sensors", "disk"} <= set(names)
    assert len(names) == len(set(names))
    for check in checks:
        assert check.detail
        assert check.remedy or check.state == "ok", check
        assert "\n" not in check.detail + check.remedy


def test_word_size() -> None:
    assert check_bits(64).state == "ok"
    assert check_bits(32).state == "fail"
    assert "64-bit" in check_bits(32).remedy


def test_a_package_that_is_absent_or_broken_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_package("click", "click").state == "ok"
    absent = check_package("absent_module_q", "absent-q")
    assert (absent.state, absent.remedy) == ("fail", "pip install --force-reinstall absent-q")
    (tmp_path / "broken_module_q.py").write_text("raise OSError('libstdc++.so.6: cannot open shared object file')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert "libstdc++" in check_package("broken_module_q", "broken-q").detail


def test_without_a_package_the_boards_checks_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {"absent_module_q": "absent-q"})
    checks = examine(tmp_path)
    assert exit_code(checks) == 1
    assert "crc engine" not in [check.name for check in checks]


def test_programs_that_talk_into_ports_are_found(tmp_path: Path) -> None:
    process(tmp_path, 1, "systemd")
    assert check_probers(tmp_path).state == "ok"
    process(tmp_path, 77, "ModemManager")
    found = check_probers(tmp_path)
    assert (found.state, found.remedy.split(",")[0]) == ("warn", "sudo systemctl disable --now ModemManager")
    process(tmp_path, 78, "brltty")
    assert "--now ModemManager brltty-udev" in check_probers(tmp_path).remedy


def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_space(tmp_path / "not/yet/there").state == "ok"
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5 * 2**20}))
    small = check_space(tmp_path)
    assert small.state == "warn"
    assert small.detail.startswith("5 MB free")
    monkeypatch.setattr("os.access", lambda *_: False)
    closed = check_space(tmp_path)
    assert closed.state == "warn"
    assert "--out" in closed.remedy


def test_warnings_do_not_fail() -> None:
    assert exit_code([Check(name="a", state="ok", detail="d"), Check(name="b", state="warn", detail="d")]) == 0
    assert exit_code([Check(name="a", state="fail", detail="d")]) == 1


def test_the_command_prints_each_check_and_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = (
        Check(name="a", state="ok", detail="fine"),
        Check(name="b", state="fail", detail="broken", remedy="mend it"),
    )
    monkeypatch.setattr(doctor, "examine", lambda _: checks)
    assert main(["doctor"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["ok", "a", "fine"], ["FAIL", "b", "broken"], ["->", "mend", "it"]]
    assert main(["doctor", "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["ok"] is False
    assert printed["checks"][1] == {"name": "b", "state": "fail", "detail": "broken", "remedy": "mend it"}
