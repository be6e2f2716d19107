"""The serial link: CPU per frame, round trips over a pseudo-terminal, and what of a line's rate arrives."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.contest import Contest
from benchmarks.raw_lines import CONTESTS as RAW_LINES
from benchmarks.zmodem import against_zmodem
from firmware_bridge.channel import Channel
from firmware_bridge.framing import FrameDecoder, encode_frame
from firmware_bridge.line import LineSpec, Wire
from firmware_bridge.link import Link
from firmware_bridge.packets import PacketType, SequenceFlags, SpacePacket, decode_packet, encode_packet
from firmware_bridge.transport import open_pty

FRAME_BYTES = 64
FRAMES = 256
FRAME_BUDGET_S = 2.5e-6

BAUD = 921_600
DUPLEX_MESSAGES = 8
DUPLEX_BYTES = 8192
BULK_BYTES = 256 << 10
"""As much as a small model: what is loaded before a campaign can begin."""


@contextmanager
def frame_budget() -> Iterator[Contest]:
    """Open frames of 64 bytes on the wire, and the packets in them, out of one large read."""
    body = random.Random(1).randbytes(FRAME_BYTES)
    frames = b"".join(
        encode_frame(encode_packet(SpacePacket(PacketType.TELEMETRY, 1, SequenceFlags.UNSEGMENTED, i, body[:52])))
        for i in range(FRAMES)
    )
    assert len(frames) == FRAMES * FRAME_BYTES
    decoder = FrameDecoder()

    def receive() -> None:
        for opened in decoder.feed(frames):
            decode_packet(opened)

    yield Contest(ours=receive, reference=FRAMES * FRAME_BUDGET_S)


@contextmanager
def round_trip() -> Iterator[Contest]:
    """A message of 16 bytes there and back, against as many bytes without any protocol."""
    message = bytes(range(1, 17))
    with _echo("raw") as raw, _echo("channel") as line, Channel(line, "host") as channel:
        channel.wait_established(10.0)

        def ask() -> None:
            channel.send(message)
            while not channel.poll(1.0):
                pass

        def ask_raw() -> None:
            os.write(raw.fileno(), message)
            left = len(message)
            while left:
                left -= len(os.read(raw.fileno(), left))

        os.set_blocking(raw.fileno(), True)
        yield Contest(ours=ask, reference=ask_raw, clock=time.perf_counter)


@contextmanager
def full_duplex(baud: int, cpu_share: float) -> Iterator[Contest]:
    """Bulk both ways at the pace of a line: a share of one core, against the CPU time of one end, waits included."""
    message = random.Random(3).randbytes(DUPLEX_BYTES)
    with _echo("channel", str(baud)) as line:
        line.baud = baud
        with Channel(line, "host") as channel:
            channel.wait_established(10.0)

            def ask() -> None:
                for _ in range(DUPLEX_MESSAGES):
                    channel.send(message)
                left = DUPLEX_MESSAGES
                while left:
                    left -= len(channel.poll(1.0))

            budget_s = cpu_share * DUPLEX_MESSAGES * DUPLEX_BYTES * 10 / baud
            yield Contest(ours=ask, reference=budget_s)


@contextmanager
def _echo(kind: str, *pace: str):
    master, path = open_pty()
    with master, subprocess.Popen([sys.executable, "-m", "benchmarks.echo", kind, path, *pace]) as process:
        try:
            yield master
        finally:
            process.kill()


class SimulatedLine:
    """A host and a node on a line with a baud rate and bit errors, in simulated time."""

    def __init__(self, bit_error_rate: float) -> None:
        spec = LineSpec(baud=BAUD, bit_error_rate=bit_error_rate, latency_s=0.001)
        self.now_s = 0.0
        self.host, self.node = Link("host", baud=BAUD), Link("node", baud=BAUD)
        self._ways = ((self.host, Wire(1, spec), self.node), (self.node, Wire(2, spec), self.host))
        self._until(lambda: self.host.established)

    def clock(self) -> float:
        """Give the simulated time in seconds."""
        return self.now_s

    def deliver(self, payload: bytes) -> None:
        """Send a payload and let time pass until it has arrived whole."""
        self.host.send(payload)
        arrived: list[bytes] = []

        def done() -> bool:
            arrived.extend(self.node.received())
            return bool(arrived)

        self._until(done)
        assert arrived == [payload]

    def _until(self, done: Callable[[], bool]) -> None:
        while True:
            for source, wire, sink in self._ways:
                while data := source.to_transmit(self.now_s):
                    wire.offer(data, self.now_s)
                sink.receive(wire.take(self.now_s), self.now_s)
            if done():
                return
            times = [link.next_event(self.now_s) for link in (self.host, self.node)]
            times += [wire.due_s for _, wire, _ in self._ways]
            self.now_s = max(self.now_s + 1e-6, min(event_s for event_s in times if event_s is not None))


@contextmanager
def goodput(bit_error_rate: float) -> Iterator[Contest]:
    """Payload delivered, against the time its bytes alone need at the line's rate."""
    line = SimulatedLine(bit_error_rate)
    payload = random.Random(2).randbytes(BULK_BYTES)
    yield Contest(ours=lambda: line.deliver(payload), reference=BULK_BYTES * 10 / BAUD, clock=line.clock)


CONTESTS = {
    "frame": frame_budget,
    "round-trip": round_trip,
    "duplex-3M": lambda: full_duplex(3_000_000, 0.15),
    "duplex-921600": lambda: full_duplex(BAUD, 0.05),
    "goodput": lambda: goodput(0.0),
    "goodput-1e-6": lambda: goodput(1e-6),
    "goodput-1e-5": lambda: goodput(1e-5),
    "goodput-1e-4": lambda: goodput(1e-4),
    "zmodem": lambda: against_zmodem(0.0),
    "zmodem-1e-5": lambda: against_zmodem(1e-5),
} | RAW_LINES


def test_link(benchmark, side):
    benchmark(side)
