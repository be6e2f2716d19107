"""Telemetry that nobody asked for: at its period, once, only to a host that listens, and never in the way."""

import time
from pathlib import Path

import pytest

from firmware_bridge.apids import UNRELIABLE
from firmware_bridge.framing import FrameDecoder
from firmware_bridge.link import UNRELIABLE_KEPT, Link
from firmware_bridge.messages import Abnormal, AbnormalKind, Configure, Done, Run, TelemetryRequest
from firmware_bridge.packets import decode_packet
from firmware_bridge.telemetry import HOUSEKEEPING
from node import serve
from tests.link_pair import Pair
from tests.node.standin_node import StandinService
from tests.node.test_inline_node import inline_node
from tests.node.test_supervisor import Bench

TELEMETRY = StandinService().telemetry()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.packets = []
    bench.supervisor._send_packet = bench.packets.append
    bench.boot()
    return bench


# ---- the link: once and never again -------------------------------------------------------------------------------


def packet(number: int) -> bytes:
    return HOUSEKEEPING.packet(dict.fromkeys((field.name for field in HOUSEKEEPING.fields), number), number)


def test_a_packet_crosses_whole_and_is_not_repeated_when_lost():
    pair = Pair(latency_s=0.001)
    pair.run(1.0, lambda: pair.host.established)
    pair.node.send_unreliable(packet(1))
    pair.run(pair.now_s + 0.1)
    pair.cut = True
    pair.node.send_unreliable(packet(2))
    pair.step()
    pair.cut = False
    pair.node.send_unreliable(packet(3))
    pair.run(pair.now_s + 5.0)
    assert pair.host.unreliable() == [packet(1), packet(3)]
    assert pair.host.unreliable() == []
    assert pair.node.stats.retransmitted == 0
    assert pair.host.stats.acks_sent == 0


def test_without_a_session_nothing_is_said():
    node = Link("node")
    node.send_unreliable(packet(1))
    assert node.to_transmit(0.0) == b""


def test_a_program_that_does_not_fetch_them_loses_the_oldest():
    pair = Pair(latency_s=0.0)
    pair.run(1.0, lambda: pair.host.established)
    for number in range(UNRELIABLE_KEPT + 10):
        pair.node.send_unreliable(packet(number))
        pair.run(pair.now_s + 0.01)
    assert pair.host.unreliable() == [packet(number) for number in range(10, UNRELIABLE_KEPT + 10)]


def test_ground_software_reads_it_off_the_line():
    """What is in the frame is the whole packet: plain fields and no protocol of ours."""
    pair = Pair(latency_s=0.0)
    pair.run(1.0, lambda: pair.host.established)
    pair.node.send_unreliable(packet(5))
    (body,) = FrameDecoder().feed(pair.node.to_transmit(pair.now_s))
    found = decode_packet(body)
    assert body == packet(5)
    assert found is not None
    assert found.apid in UNRELIABLE
    assert HOUSEKEEPING.values(body)["inferences"] == 5


# ---- the supervisor: never in the way -----------------------------------------------------------------------------


def test_it_goes_out_unasked_and_counts_up(bench: Bench) -> None:
    for _ in range(2):
        bench.supervisor.keep_house()
        bench.settle()
        bench.says(TELEMETRY)
    first, second = (decode_packet(each) for each in bench.packets)
    assert (first.sequence, second.sequence) == (0, 1)
    assert HOUSEKEEPING.values(bench.packets[0])["boot_id"] == bench.supervisor.boot_id
    assert bench.sent == []


def test_a_busy_computer_is_asked_once_when_it_is_free(bench: Bench) -> None:
    bench.ask(Run(run_id=1, inputs=(0,)), 7)
    for _ in range(5):
        bench.supervisor.keep_house()
    bench.settle()
    assert bench.runner.given == [Run(run_id=1, inputs=(0,))]
    bench.says(Abnormal(kind=AbnormalKind.CRASH, detail="", boot_id=0))
    assert bench.runner.given.count(TelemetryRequest()) <= 1


def test_a_computer_that_starts_is_not_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.supervisor.start()
    bench.supervisor.keep_house()
    bench.says(Done())
    assert bench.runner.given == []


def test_a_hang_on_it_is_noticed_at_the_usual_deadline(bench: Bench) -> None:
    bench.ask(Configure(protection="", deadline_ms=500), 1)
    bench.says(Done())
    bench.supervisor.keep_house()
    bench.settle()
    bench.later(0.6)
    bench.settle()
    assert bench.runner.kills == 1
    assert bench.packets == []


# ---- a whole node -------------------------------------------------------------------------------------------------


def test_a_node_sends_it_at_its_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "HOUSEKEEPING_S", 0.05)
    got: list[bytes] = []
    with inline_node(tmp_path) as bridge:
        bridge.housekeeping = got.append
        end_s = time.monotonic() + 20
        while len(got) < 5 and time.monotonic() < end_s:
            bridge.hello()
    counts = [decode_packet(each).sequence for each in got]
    assert counts == list(range(counts[0], counts[0] + len(counts)))
    assert len(got) >= 5
