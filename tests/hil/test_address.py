"""What a target may be called."""

from __future__ import annotations

import pytest

from firmware_bridge.errors import ConfigError
from hil.boards.address import TARGETS, check_target


@pytest.mark.parametrize("target", [*TARGETS, "serial:///dev/ttyAMA0", "tcp://127.0.0.1:7001"])
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
    ],
)
def test_other_forms_are_errors_with_a_hint(target: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_target(target, "--target")
    assert hint in str(caught.value)
    assert str(caught.value).startswith("--target")
