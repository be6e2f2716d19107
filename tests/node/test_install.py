"""A board is made a node: what would be written is shown first, and nothing else is touched."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError, UsageError
from node import install as installation
from node.__main__ import main
from node.board_packages import BOARD_PACKAGES, make_bundle
from node.install import RULE_FILE, SERVICE_FILE, WATCHDOG_FILE, Plan, install, plan_installation
from node.machine import Machine
from tests.wheels import write_wheel

ROOT = Path(__file__).parents[2]


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def unit(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str
    parser.read_string(text)
    return parser


# ---- the plan -----------------------------------------------------------------------------------------------------


def test_the_service_is_kept_alive_by_systemd(tmp_path: Path) -> None:
    plan = plan_installation(Machine(root=tmp_path), prefix=Path("/opt/flightnode"))
    service = unit(plan.files[SERVICE_FILE])
    assert (
        dict(service["Service"]).items()
        >= {
            "Type": "notify",
            "WatchdogSec": "30",
            "Restart": "always",
            "ExecStart": "/opt/flightnode/bin/flightnode serve --port serial:///dev/ttyAMA0?baud=921600 "
            "--storage /var/lib/flightnode",
            "StateDirectory": "flightnode",
        }.items()
    )
    assert service["Service"]["SupplementaryGroups"].split() == ["dialout", "video"], "the port; the firmware's mailbox"
    assert "scaling_max_freq" in service["Service"]["ExecStartPre"]
    assert service["Unit"]["BindsTo"] == service["Unit"]["After"] == "dev-ttyAMA0.device"
    assert 'KERNEL=="ttyAMA0"' in plan.files[RULE_FILE]
    assert WATCHDOG_FILE not in plan.files, "this board has none"
    assert plan.commands == (), "below another root nothing is run"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_itself_finds_nothing_to_mend(tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin" / "flightnode").symlink_to("/bin/true")
    path = tmp_path / "flightnode.service"
    path.write_text(plan_installation(Machine(root=tmp_path), prefix=prefix).files[SERVICE_FILE])
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    assert "flightnode.service:" not in done.stderr


def test_the_boards_watchdog_is_kept_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/watchdog").touch()
    files = plan_installation(Machine(root=tmp_path)).files
    assert unit(files[WATCHDOG_FILE])["Manager"]["RuntimeWatchdogSec"] == "15"


def test_a_tcp_port_needs_no_rule(tmp_path: Path) -> None:
    files = plan_installation(Machine(root=tmp_path), port="tcp://0.0.0.0:7000").files
    assert set(files) == {SERVICE_FILE}
    assert "BindsTo" not in files[SERVICE_FILE]


@pytest.mark.parametrize("port", ["pty:", "serial:", "tcp://host", "serial:///dev/tty A", "serial:///dev/%n"])
def test_what_is_no_port_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(UsageError):
        plan_installation(Machine(root=tmp_path), port=port)


def test_the_mini_uart_is_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "proc/device-tree/model"
    path.parent.mkdir(parents=True)
    path.write_text("Raspberry Pi 3 Model B\0")
    plan = plan_installation(Machine(root=tmp_path), port="serial:///dev/ttyS0?baud=115200")
    assert "mini UART" in plan.notes[0]


def test_a_port_that_is_not_there_yet_is_pointed_out(tmp_path: Path) -> None:
    notes = plan_installation(Machine(), port="serial:///dev/ttyNONE?baud=115200").notes
    assert "no /dev/ttyNONE yet" in notes[0]
    assert not any("yet" in note for note in plan_installation(Machine(), port="tcp://0.0.0.0:7000").notes)


def test_on_the_board_itself_the_environment_comes_first(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with pytest.raises(ConfigError, match="flightnode bundle"):
        plan_installation(Machine(), bundle=tmp_path)
    (wheels / "flightnode-1-py3-none-any.whl").touch()
    commands = plan_installation(Machine(), bundle=tmp_path).commands
    assert commands[0] == ("python3", "-m", "venv", "/opt/flightnode")
    assert all("--no-index" in command for command in commands[1:3])
    assert commands[-1] == ("systemctl", "enable", "--now", "flightnode.service")


# ---- carrying it out ----------------------------------------------------------------------------------------------


def test_a_dry_run_prints_every_line_and_writes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", "--root", str(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"write {tmp_path / SERVICE_FILE}" in said
    assert "    Type=notify" in said
    assert files_below(tmp_path) == set()


def test_without_a_yes_nothing_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["no\n", ""])
    monkeypatch.setattr("sys.stdin.readline", lambda: next(answers), raising=False)
    for _ in range(2):
        assert main(["install", "--root", str(tmp_path)]) == 0
        assert "nothing was touched" in capsys.readouterr().out
    assert files_below(tmp_path) == set()


def test_with_a_yes_the_files_are_there_and_a_second_time_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in ("write", "replace"):
        assert main(["install", "--root", str(tmp_path), "--yes"]) == 0
        assert f"{word} {tmp_path / SERVICE_FILE}" in capsys.readouterr().out
    assert files_below(tmp_path) == {SERVICE_FILE, RULE_FILE}


def test_only_root_may_touch_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.os, "geteuid", lambda: 1000)

    def never(*_: object) -> bool:
        raise AssertionError

    with pytest.raises(ConfigError, match="only root"):
        install(Plan(root=Path("/")), confirm=never, run=never)


def test_commands_run_in_order_around_the_files(tmp_path: Path) -> None:
    plan = Plan(root=tmp_path, files={"etc/x": "text"}, commands=(("python3", "-m", "venv"), ("systemctl", "start")))
    seen: list[tuple[str, bool]] = []
    assert install(plan, confirm=lambda: True, run=lambda c: seen.append((c[0], (tmp_path / "etc/x").exists())))
    assert seen == [("python3", False), ("systemctl", True)]


def test_a_command_that_fails_is_named() -> None:
    with pytest.raises(ConfigError, match="`false` failed"):
        installation.run_command(("false",))


# ---- the bundle ---------------------------------------------------------------------------------------------------


def test_the_packages_are_those_of_the_requirements_file() -> None:
    assert tuple((ROOT / "requirements-board.txt").read_text().split()) == BOARD_PACKAGES


def test_a_bundle_holds_arm_wheels_and_installs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for the large wheels, found where pip is told to look."""
    shop = tmp_path / "shop"
    for name in ("numpy", "numba", "crcmod_plus"):
        for machine in ("aarch64", "x86_64"):
            write_wheel(shop, name, "9.0", f"cp311-cp311-manylinux_2_17_{machine}")
    write_wheel(shop, "pyserial", "9.0", "py2.py3-none-any")
    own = write_wheel(
        tmp_path / "own", "flightnode", "9.0", "py3-none-any", tree=(ROOT / "node", ROOT / "firmware_bridge")
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shop))
    bundle = make_bundle(tmp_path / "bundle", python="3.11", source=own)
    names = {path.name.split("-")[0]: path.name for path in (bundle / "wheels").iterdir()}
    assert set(names) == {"numpy", "numba", "crcmod_plus", "pyserial", "flightnode"}
    assert all("aarch64" in names[name] for name in ("numpy", "numba", "crcmod_plus"))
    done = subprocess.run(
        [str(bundle / "install.sh"), "--dry-run"],
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONSAFEPATH": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "run python3 -m venv /opt/flightnode" in done.stdout
    assert "--no-index" in done.stdout


def test_a_bundle_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConfigError, match=r"pip download: .*numpy"):
        make_bundle(tmp_path, python="3.11")
    with pytest.raises(UsageError, match=r"such as 3\.11"):
        make_bundle(tmp_path, python="three")
