"""What a target may be called."""

from __future__ import annotations

import pytest

from firmware_bridge.errors import ConfigError
from hil.boards.address import TARGETS, check_target


@pytest.mark.parametrize(
    "target",
    [
        *sorted(name for name in TARGETS if "host:port" not in name),
        "serial:///dev/ttyAMA0",
        "tcp://[::1]:7001",
        "rfc2217://pi:3001?baud=9600",
    ],
)
def test_known_forms_pass(target: str) -> None:
    check_target(target, "--target")


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("simm", "did you mean 'sim'?"),
        ("ptty", "did you mean 'pty'?"),
        ("serial://", "serial:///dev/ttyUSB0?baud=921600"),
        ("/dev/ttyUSB0", "serial:///dev/ttyUSB0?baud=921600"),
        ("", "choose from sim, memory, pty"),
        ("ftp://x", "no such target"),
        ("SIM", "no such target"),
        ("serial://dev/ttyUSB0", "serial:///dev/ttyUSB0"),
        ("serial:///dev/ttyUSB0?bauds=9600", "has the options baud"),
        ("serial:///dev/ttyUSB0?baud=fast", "baud = 'fast': give bits per second"),
        ("serial:///dev/ttyUSB0?baud=", "baud = ''"),
        ("serial:///dev/ttyUSB0?baud=-5", "baud = '-5'"),
        ("serial:///dev/ttyUSB0?baud=99999999999", "1 to 20000000"),
        ("tcp://host", "tcp://host:port"),
        ("tcp://host:99999", "a port from 1 to 65535"),
        ("tcp://host:http", "a port from 1 to 65535"),
    ],
)
def test_other_forms_are_errors_with_a_hint(target: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_target(target, "--target")
    assert hint in str(caught.value)
    assert str(caught.value).startswith("--target")
