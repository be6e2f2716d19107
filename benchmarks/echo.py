"""The far end of a round trip, as a process of its own: ``python -m benchmarks.echo raw|channel PTY``."""

from __future__ import annotations

import os
import sys

from firmware_bridge.channel import Channel
from firmware_bridge.errors import LinkError
from firmware_bridge.transport import open_transport


def echo_bytes(path: str) -> None:
    """Send back what comes, as it comes."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    while data := os.read(descriptor, 65536):
        os.write(descriptor, data)


def echo_messages(path: str) -> None:
    """Send back each message of the reliable link."""
    with Channel(open_transport(f"pty:{path}"), "node") as channel:
        while True:
            for message in channel.poll(1.0):
                channel.send(message)


if __name__ == "__main__":
    try:
        {"raw": echo_bytes, "channel": echo_messages}[sys.argv[1]](sys.argv[2])
    except (OSError, LinkError):
        sys.exit(0)  # the near end is closed: that is how a benchmark ends
