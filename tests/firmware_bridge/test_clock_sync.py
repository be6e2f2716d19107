import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.clock_sync import DRIFT, ClockSample, synchronise
from firmware_bridge.errors import DataError
from firmware_bridge.line import LineSpec, NoisyLine
from firmware_bridge.transport import memory_pair
from tests.fake_node import FakeNode

DELAYS = st.tuples(st.floats(0, 0.5), st.floats(0, 0.1), st.floats(0, 0.5), st.floats(0, 30))


@example(offset_s=0.0, drift=DRIFT, delays=[(0.0, 0.0, 0.5, 0.0)], later_s=0.0)
@given(
    offset_s=st.floats(-1e5, 1e5),
    drift=st.floats(-DRIFT, DRIFT),
    delays=st.lists(DELAYS, min_size=1, max_size=12),
    later_s=st.floats(0, 100),
)
def test_the_true_offset_is_within_the_bound_whatever_the_line_does(offset_s, drift, delays, later_s):
    """Delays of any size and asymmetry, and a node's clock that runs fast or slow."""

    def node_s(host_s: float) -> float:
        return host_s * (1 + drift) + offset_s

    now_s, samples = 0.0, []
    for out_s, at_node_s, back_s, pause_s in delays:
        sent_s, got_s = now_s, now_s + out_s
        let_go_s = got_s + at_node_s
        now_s = let_go_s + back_s
        samples.append(
            ClockSample(sent_s=sent_s, received_s=node_s(got_s), replied_s=node_s(let_go_s), returned_s=now_s)
        )
        now_s += pause_s
    now_s += later_s
    found = synchronise(samples, now_s)
    slack_s = 1e-9 + DRIFT * 0.1  # rounding, and the drift while the node held the request
    assert abs(found.to_node_s(now_s) - node_s(now_s)) <= found.uncertainty_s + slack_s
    assert found.to_host_s(found.to_node_s(3.0)) == pytest.approx(3.0)


def test_the_sample_that_waited_least_counts():
    slow = ClockSample(sent_s=0.0, received_s=10.9, replied_s=10.9, returned_s=1.0)
    quick = ClockSample(sent_s=2.0, received_s=12.001, replied_s=12.001, returned_s=2.002)
    found = synchronise([slow, quick, slow], now_s=2.002)
    assert found.offset_s == pytest.approx(10.0)
    assert found.uncertainty_s == pytest.approx(0.001, abs=1e-6)
    assert found.samples == 3


def test_an_old_sample_is_worth_less():
    sample = ClockSample(sent_s=0.0, received_s=5.0, replied_s=5.0, returned_s=0.0)
    assert synchronise([sample], now_s=100.0).uncertainty_s == pytest.approx(100 * DRIFT)


def test_what_cannot_be():
    with pytest.raises(DataError, match="went back"):
        ClockSample(sent_s=1.0, received_s=0.0, replied_s=0.0, returned_s=0.5)
    with pytest.raises(DataError, match="sample"):
        synchronise([], 0.0)


def test_two_ends_on_one_machine_have_one_clock():
    near, far = memory_pair()
    channel = Channel(near, "host")
    with FakeNode(far), Bridge(channel) as bridge:
        channel.wait_established(10)
        found = bridge.synchronise()
    assert abs(found.offset_s) <= found.uncertainty_s < 1.0


def test_a_slow_line_widens_the_bound():
    with NoisyLine(LineSpec(latency_s=0.02), seed=1) as line, FakeNode(line.far):
        channel = Channel(line.near, "host")
        with Bridge(channel) as bridge:
            channel.wait_established(10)
            started_s = time.monotonic()
            found = bridge.synchronise(samples=3)
            assert time.monotonic() - started_s > 3 * 0.04
    assert abs(found.offset_s) <= found.uncertainty_s
    assert found.uncertainty_s >= 0.02
