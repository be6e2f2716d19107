"""Bulk transfer in real time over the same emulated line: ours against Zmodem, by lrzsz."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contest import Contest
from firmware_bridge.channel import Channel
from firmware_bridge.line import LineSpec, NoisyLine

BAUD = 921_600
PAYLOAD_BYTES = 128 << 10
PATIENCE_S = 60.0


@contextmanager
def against_zmodem(bit_error_rate: float) -> Iterator[Contest]:
    spec = LineSpec(baud=BAUD, bit_error_rate=bit_error_rate, latency_s=0.001)
    payload = random.Random(4).randbytes(PAYLOAD_BYTES)
    with (
        NoisyLine(spec, seed=1, kind="pty") as ours,
        NoisyLine(spec, seed=2, kind="pty") as theirs,
        TemporaryDirectory() as folder,
    ):
        ours.near.baud = ours.far.baud = BAUD
        with Channel(ours.near, "host") as host, Channel(ours.far, "node") as node:
            while not host.established:
                host.poll(0.01)
                node.poll(0.01)
            yield Contest(
                ours=lambda: _by_channel(host, node, payload),
                reference=lambda: _by_zmodem(theirs, Path(folder), payload),
                clock=time.perf_counter,
            )


def _by_channel(host: Channel, node: Channel, payload: bytes) -> None:
    host.send(payload)
    arrived: list[bytes] = []
    while not arrived:
        host.poll(0.0)
        arrived = node.poll(0.001)
    assert arrived == [payload]


def _by_zmodem(line: NoisyLine, folder: Path, payload: bytes) -> None:
    (folder / "out").mkdir(exist_ok=True)
    (folder / "payload").write_bytes(payload)
    for end in (line.near, line.far):
        os.set_blocking(end.fileno(), True)
    near, far = line.near.fileno(), line.far.fileno()
    receive = ("rz", "--quiet", "--binary", "--overwrite")
    send = ("sz", "--quiet", "--binary", str(folder / "payload"))
    with (
        subprocess.Popen(receive, stdin=far, stdout=far, stderr=subprocess.DEVNULL, cwd=folder / "out") as receiver,
        subprocess.Popen(send, stdin=near, stdout=near, stderr=subprocess.DEVNULL) as sender,
    ):
        sender.wait(PATIENCE_S)  # it ends once the receiver has confirmed the whole file
        receiver.kill()  # which would now listen for a farewell for half a minute
    assert (folder / "out" / "payload").read_bytes() == payload
    (folder / "out" / "payload").unlink()
