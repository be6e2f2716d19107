"""The traps of a board's UARTs, each on a made-up machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.machine import Machine
from node.uart import (
    MINI_UART,
    PL011,
    check_bluetooth,
    check_console,
    check_getty,
    check_latency_timers,
    check_line_errors,
    uart_kind,
)

PI_4 = "Raspberry Pi 4 Model B Rev 1.4\0"
PI_5 = "Raspberry Pi 5 Model B Rev 1.0\0"


def machine(root: Path, files: dict[str, str]) -> Machine:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root=root)


def pi(root: Path, model: str = PI_4, **files: str) -> Machine:
    return machine(root, {"proc/device-tree/model": model} | files)


# ---- which UART ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "device", "kind"),
    [
        (PI_4, "ttyS0", MINI_UART),
        (PI_4, "/dev/ttyAMA0", PL011),
        (PI_4, "ttyUSB0", ""),
        ("Some other board\0", "ttyS0", ""),
    ],
)
def test_by_model_and_name(tmp_path: Path, model: str, device: str, kind: str) -> None:
    assert uart_kind(pi(tmp_path, model), device) == kind


def test_the_device_tree_knows_better_than_the_name(tmp_path: Path) -> None:
    compatible = "sys/class/tty/ttyS0/device/of_node/compatible"
    assert uart_kind(machine(tmp_path, {compatible: "brcm,bcm2835-aux-uart\0"}), "ttyS0") == MINI_UART
    assert uart_kind(pi(tmp_path, **{compatible: "arm,pl011\0arm,primecell\0"}), "ttyS0") == PL011


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/serial0").symlink_to("ttyS0")
    assert uart_kind(pi(tmp_path), "/dev/serial0") == MINI_UART
    (tmp_path / "dev/serial0").unlink()
    (tmp_path / "dev/serial0").symlink_to("ttyAMA0")
    assert uart_kind(pi(tmp_path), "serial0") == PL011


# ---- what spoils a line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "config", "sound"),
    [
        (PI_4, "enable_uart=1\n", False),
        (PI_4, "enable_uart=1\ndtoverlay=disable-bt\n", True),
        (PI_4, "#dtoverlay=disable-bt\n", False),
        (PI_4, "dtoverlay=miniuart-bt # for the link\n", True),
        ("Raspberry Pi Zero W Rev 1.1\0", "", False),
        ("Raspberry Pi 2 Model B Rev 1.1\0", "", True),
        (PI_5, "", True),
        ("", "", True),
    ],
)
@pytest.mark.parametrize("folder", ["boot", "boot/firmware"])
def test_bluetooth_holds_the_better_uart(tmp_path: Path, model: str, config: str, sound: bool, folder: str) -> None:
    check = check_bluetooth(pi(tmp_path, model, **{f"{folder}/config.txt": config}))
    assert (check.remedy == "") == sound
    if not sound:
        assert f"/{folder}/config.txt" in check.remedy
        assert "disable-bt" in check.remedy


@pytest.mark.parametrize(
    ("now", "later", "finding", "remedy"),
    [
        ("console=ttyAMA0,115200", "console=serial0,115200", "on ttyAMA0, serial0", "remove console=ttyAMA0"),
        ("console=ttyAMA0,115200", "console=tty1", "on ttyAMA0 until the next boot", "reboot"),
        ("console=tty1", "console=serial0,115200", "on serial0 after the next boot", "/boot/firmware/cmdline.txt"),
        ("console=tty1", "console=tty1", "off", ""),
    ],
)
def test_the_console_now_and_after_the_next_boot(
    tmp_path: Path, now: str, later: str, finding: str, remedy: str
) -> None:
    check = check_console(machine(tmp_path, {"proc/cmdline": now, "boot/firmware/cmdline.txt": later}))
    assert check.finding == finding
    assert remedy in check.remedy
    assert bool(remedy) == bool(check.remedy)


def test_a_login_prompt_is_found_among_the_processes(tmp_path: Path) -> None:
    quiet = {"proc/1/cmdline": "/sbin/init\0", "proc/7/cmdline": "/sbin/agetty\0-\0tty1\0linux\0"}
    assert check_getty(machine(tmp_path, quiet)).remedy == ""
    loud = machine(tmp_path, {"proc/8/cmdline": "/sbin/agetty\0--keep-baud\x00115200\0ttyAMA0\0vt220\0"})
    check = check_getty(loud)
    assert "on ttyAMA0" in check.finding
    assert "mask --now serial-getty@ttyAMA0.service" in check.remedy


@pytest.mark.parametrize(("text", "sound"), [("16\n", False), ("1\n", True)])
def test_an_adapter_that_holds_bytes_back(tmp_path: Path, text: str, sound: bool) -> None:
    (check,) = check_latency_timers(machine(tmp_path, {"sys/bus/usb-serial/devices/ttyUSB0/latency_timer": text}))
    assert check.name == "latency timer of ttyUSB0"
    assert (check.remedy == "") == sound
    if not sound:
        assert "tee /sys/bus/usb-serial/devices/ttyUSB0/latency_timer" in check.remedy


def test_lost_bytes_are_told_as_the_kernel_counts_them(tmp_path: Path) -> None:
    files = {
        "proc/tty/driver/ttyAMA": "serinfo:1.0 driver revision:\n"
        "0: uart:PL011 rev3 mmio:0xFE201000 irq:19 tx:812 rx:90211 fe:2 oe:17 RTS|CTS|DTR\n"
        "1: uart:PL011 rev3 mmio:0xFE201400 irq:20 tx:8 rx:9 RTS|CTS\n",
        "proc/tty/driver/serial": "serinfo:1.0 driver revision:\n0: uart:16550A port:3F8 irq:4 tx:1 rx:2 bo:1\n",
    }
    checks = check_line_errors(machine(tmp_path, files))
    assert [(check.name, check.finding) for check in checks] == [
        ("line errors of ttyS0", "1 buffer overruns since boot"),
        ("line errors of ttyAMA0", "2 framing errors, 17 overruns since boot"),
    ]
    assert all("baud rate" in check.remedy for check in checks)


def test_nothing_is_wrong_with_an_empty_machine(tmp_path: Path) -> None:
    empty = Machine(root=tmp_path)
    checks = [check_bluetooth(empty), check_console(empty), check_getty(empty), *check_latency_timers(empty)]
    checks += check_line_errors(empty)
    assert [check.remedy for check in checks] == ["", "", ""]
