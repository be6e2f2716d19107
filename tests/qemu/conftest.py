"""The emulated board, where it has been built: `make test-qemu` builds it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from firmware_bridge.errors import ConfigError
from hil.boards.qemu.image import find_image
from hil.boards.qemu.machine import Machine
from hil.progress import silent
from hil.targets.link_session import LinkSession
from hil.targets.qemu_host import QemuHost


@pytest.fixture(scope="session")
def board_image():
    if os.environ.get("FLIGHTNODE_QEMU") != "1":
        pytest.skip("takes minutes: `make test-qemu` runs it")
    if shutil.which("qemu-system-aarch64") is None:
        pytest.skip("qemu-system-aarch64 is not here: apt-get install qemu-system-arm")
    try:
        return find_image()
    except ConfigError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def qemu_session(board_image) -> Iterator[tuple[LinkSession, Machine]]:
    """A session on a board that is booted once for a whole file of tests."""
    host = QemuHost(Machine(board_image))
    with LinkSession(host, silent) as session:
        yield session, host.machine
