"""What lies below the protocol: bytes through a pseudo-terminal and a socket, and the pace of the emulated line."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.contest import Contest, OpenContest
from firmware_bridge.line import LineSpec, NoisyLine
from firmware_bridge.transport import Transport, listen_tcp, open_pty, open_transport

BULK_BYTES = 256 << 10
LEAST_BYTES_PER_S = 5e6
"""Many times a UART's rate: reading must not be what limits it."""
CPU_S_PER_BYTE = 0.1e-6
BAUD = 921_600
PACED_BYTES = 32 << 10


def carry_over(near: Transport, far: Transport, data: bytes) -> None:
    """Write all of ``data`` at one end as it fits, and read it at the other."""
    rest, left = memoryview(data), len(data)
    while left:
        rest = rest[near.write_some(bytes(rest[:8192])) :] if rest else rest
        left -= len(far.read(timeout_s=0.1))


def pty_ends() -> tuple[Transport, Transport]:
    """The two ends of a pseudo-terminal."""
    master, path = open_pty()
    return master, open_transport(f"pty:{path}")


def tcp_ends() -> tuple[Transport, Transport]:
    """The two ends of a connection to this machine."""
    with listen_tcp() as listener:
        near = open_transport(f"tcp://127.0.0.1:{listener.port}")
        return near, listener.accept(5.0)


@contextmanager
def bulk(ends: Callable[[], tuple[Transport, Transport]], *, cpu: bool = False) -> Iterator[Contest]:
    """Bytes written and read by one thread, against a rate or a share of the processor."""
    data = random.Random(1).randbytes(BULK_BYTES)
    near, far = ends()
    with near, far:
        yield Contest(
            ours=lambda: carry_over(near, far, data),
            reference=BULK_BYTES * CPU_S_PER_BYTE if cpu else BULK_BYTES / LEAST_BYTES_PER_S,
            clock=time.thread_time if cpu else time.perf_counter,
        )


@contextmanager
def emulated_pace() -> Iterator[Contest]:
    """The running line with a baud rate, against a tenth of it; that it is never faster is a test's to say."""
    data = bytes(PACED_BYTES)
    with NoisyLine(LineSpec(baud=BAUD), seed=1, kind="pty") as line:
        yield Contest(
            ours=lambda: carry_over(line.near, line.far, data),
            reference=PACED_BYTES * 10 / BAUD,
            clock=time.perf_counter,
        )


CONTESTS: dict[str, OpenContest] = {
    "pty-rate": lambda: bulk(pty_ends),
    "pty-cpu": lambda: bulk(pty_ends, cpu=True),
    "tcp-rate": lambda: bulk(tcp_ends),
    "line-pace": emulated_pace,
}
