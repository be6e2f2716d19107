"""The far end of a round trip, as a process of its own: ``python -m benchmarks.echo raw|channel PTY [BAUD]``."""

from __future__ import annotations

import os
import sys

from firmware_bridge.channel import Channel
from firmware_bridge.errors import LinkError
from firmware_bridge.transport import open_transport


def echo_bytes(path: str, baud: float | None) -> None:
    """Send back what comes, as it comes."""
    del baud
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    while data := os.read(descriptor, 65536):
        os.write(descriptor, data)


def echo_messages(path: str, baud: float | None) -> None:
    """Send back each message of the reliable link, at the pace of a line with that baud rate."""
    transport = open_transport(f"pty:{path}")
    transport.baud = baud
    with Channel(transport, "node") as channel:
        while True:
            for message in channel.poll(1.0):
                channel.send(message)


if __name__ == "__main__":
    try:
        kind, path, *pace = sys.argv[1:]
        {"raw": echo_bytes, "channel": echo_messages}[kind](path, float(pace[0]) if pace else None)
    except (OSError, LinkError):
        sys.exit(0)  # the near end is closed: that is how a benchmark ends
