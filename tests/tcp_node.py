"""A node as a process of its own that listens on a TCP port of this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def tcp_node(storage: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a node and give its URL and process; it has ended when the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"tcp://127.0.0.1:{port}"
    command = [sys.executable, "-m", "node", "serve", "--port", url, "--storage", str(storage)]
    process = subprocess.Popen(command)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        yield url, process
    finally:
        process.terminate()
        process.wait(10)
