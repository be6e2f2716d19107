"""What a bad line costs, in the simulated time of a line with a baud rate."""

from collections.abc import Callable
from random import Random

import pytest

from firmware_bridge.line import BURST_BYTES, Impairment, LineSpec, Wire
from firmware_bridge.link import Link

BAUD = 921_600
LATENCY_S = 0.001
BULK_BYTES = 64 << 10
FRAME_S = 1035 * 10 / BAUD
"""The time of a longest frame. Bytes on the border of two frames damage both."""
LONGEST_TIMEOUT_S = 0.03
"""A round trip of a long frame, an acknowledgement's delay, and what the estimate allows for."""


class Holed(Wire):
    """A wire that loses eight bytes, once."""

    def __init__(self, hole: int):
        super().__init__(1, LineSpec(baud=BAUD, latency_s=LATENCY_S))
        self.hole = hole
        self.seen = 0

    def offer(self, data: bytes, now_s: float) -> None:
        start = self.hole - self.seen
        self.seen += len(data)
        if -BURST_BYTES < start < len(data):
            data = data[: max(0, start)] + data[max(0, start + BURST_BYTES) :]
        super().offer(data, now_s)


class Bench:
    def __init__(self, out: Wire, back: Wire):
        self.now_s = 0.0
        self.host, self.node = Link("host", baud=BAUD), Link("node", baud=BAUD)
        self.ways = ((self.host, out, self.node), (self.node, back, self.host))

    def until(self, done: Callable[[], bool], limit_s: float = 600.0) -> None:
        while True:
            assert self.now_s < limit_s, "it never ended"
            for source, wire, sink in self.ways:
                while data := source.to_transmit(self.now_s):
                    wire.offer(data, self.now_s)
                sink.receive(wire.take(self.now_s), self.now_s)
            if done():
                return
            times = [link.next_event(self.now_s) for link in (self.host, self.node)]
            times += [wire.due_s for _, wire, _ in self.ways]
            self.now_s = max(self.now_s + 1e-6, min(time_s for time_s in times if time_s is not None))

    def transfer_s(self, payload: bytes) -> float:
        """Time from the first byte sent until the other program has the whole."""
        self.until(lambda: self.host.established)
        start_s = self.now_s
        self.host.send(payload)
        got: list[bytes] = []

        def arrived() -> bool:
            got.extend(self.node.received())
            return bool(got)

        self.until(arrived)
        assert got == [payload]
        return self.now_s - start_s


def noisy(bit_error_rate: float, seed: int) -> Bench:
    spec = LineSpec(baud=BAUD, latency_s=LATENCY_S, bit_error_rate=bit_error_rate)
    return Bench(Wire(2 * seed, spec), Wire(2 * seed + 1, spec))


@pytest.mark.parametrize(
    ("bit_error_rate", "least_share"), [(0.0, 0.96), (1e-6, 0.94), (1e-5, 0.88), (1e-4, 0.70)], ids=str
)
def test_bulk_arrives_at_the_promised_share_of_the_lines_rate(bit_error_rate, least_share):
    payload = Random(3).randbytes(4 * BULK_BYTES)
    seconds = sum(noisy(bit_error_rate, seed).transfer_s(payload) for seed in (1, 2))
    assert 2 * len(payload) * 10 / BAUD / seconds >= least_share


def test_an_adapter_that_hands_over_every_16_ms_costs_no_bulk():
    """What is under way covers the wait: an untuned USB adapter delays answers, not the bulk."""
    spec = LineSpec(baud=BAUD, latency_s=LATENCY_S, batch_s=0.016)
    payload = Random(3).randbytes(4 * BULK_BYTES)
    seconds = Bench(Wire(1, spec), Wire(2, spec)).transfer_s(payload)
    assert len(payload) * 10 / BAUD / seconds >= 0.94


class Garbled(Wire):
    """A wire on which, between two moments, half of the bits are inverted: a UART whose clock is off by 5 %."""

    def __init__(self, start_s: float, end_s: float):
        super().__init__(1, LineSpec(baud=BAUD, latency_s=LATENCY_S))
        self.window_s = (start_s, end_s)
        self.noise = Impairment(7, LineSpec(bit_error_rate=0.5))

    def offer(self, data: bytes, now_s: float) -> None:
        within = self.window_s[0] <= now_s < self.window_s[1]
        super().offer(self.noise.apply(data) if within else data, now_s)


@pytest.mark.parametrize("silent_s", [0.05, 1.0])
def test_a_line_whose_clock_is_off_for_a_while_delivers_once_it_is_right_again(silent_s):
    """As the mini UART's is when the core clock throttles: nothing passes, then all of it does."""
    start_s = 0.1
    bench = Bench(Garbled(start_s, start_s + silent_s), Garbled(start_s, start_s + silent_s))
    payload = Random(5).randbytes(BULK_BYTES)
    unharmed_s = len(payload) * 10 / BAUD / 0.9
    assert bench.transfer_s(payload) < silent_s + unharmed_s + 0.6
    assert bench.host.stats.sessions == bench.node.stats.sessions == 1


@pytest.mark.parametrize("seed", range(8))
def test_no_session_is_lost_with_one_bit_in_a_thousand_inverted(seed):
    bench = noisy(1e-3, seed)
    bench.transfer_s(Random(seed).randbytes(BULK_BYTES))
    assert bench.host.stats.sessions == bench.node.stats.sessions == 1
    assert bench.node.stats.bad_crc > 100


@pytest.mark.parametrize("way", ["to the node", "to the host"])
def test_eight_lost_bytes_cost_a_frame_and_a_timeout_at_most(way):
    """Wherever they are lost: in the opening of the session, in the bulk or in its last frame."""

    def transfer_s(hole: int) -> tuple[float, Holed]:
        clean = Wire(1, LineSpec(baud=BAUD, latency_s=LATENCY_S))
        pair = (Holed(hole), clean) if way == "to the node" else (clean, Holed(hole))
        bench = Bench(*pair)
        bench.until(lambda: bench.host.established)
        return bench.transfer_s(payload), pair[way == "to the host"]

    payload = Random(9).randbytes(BULK_BYTES // 4)
    unharmed_s, wire = transfer_s(-BURST_BYTES)
    at_the_end = range(wire.seen - 2 * BURST_BYTES, wire.seen - BURST_BYTES + 1)
    for hole in [*range(0, wire.seen, 150 if way == "to the node" else 20), *at_the_end]:
        lost_s = transfer_s(hole)[0] - unharmed_s
        assert lost_s <= 2 * FRAME_S + LONGEST_TIMEOUT_S, hole
