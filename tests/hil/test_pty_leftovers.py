"""Whoever dies, nothing of a node behind a pseudo-terminal stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from hil.targets.hosts import PtyHost

HOST = """
import sys, time
from hil.targets.hosts import PtyHost
host = PtyHost()
bridge = host.connect()
print(host._storage, flush=True)
time.sleep(60)
"""


def test_a_killed_host_leaves_no_folder() -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True)
    with host:
        storage = Path(host.stdout.readline().strip())
        assert storage.name.startswith("flightnode-pty-")
        assert (storage / "node.log").exists()
        host.send_signal(signal.SIGKILL)
    end_s = time.monotonic() + 20
    while storage.exists() and time.monotonic() < end_s:
        time.sleep(0.02)
    assert not storage.exists()


def test_a_host_that_lives_keeps_it_to_the_end() -> None:
    host = PtyHost()
    storage = host._storage
    for _ in range(2):
        host.connect().close()
    assert storage.exists()
    host.close()
    assert not storage.exists()
