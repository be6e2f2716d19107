from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from firmware_bridge.line import LineSpec
from firmware_bridge.link import Link
from firmware_bridge.streams import INBOX_BYTES, MAX_MESSAGE, WINDOW
from tests.link_pair import Pair, exchange

# ---- delivery -------------------------------------------------------------------------------------------------


def test_a_clean_line_repeats_nothing():
    pair = Pair()
    exchange(pair, 1)
    for stats in (pair.host.stats, pair.node.stats):
        assert stats.retransmitted == stats.duplicates == stats.bad_crc == stats.noise_bytes == 0
        assert stats.messages_sent == stats.messages_received == 60
        assert stats.sessions == 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    bit_error_rate=st.sampled_from([0.0, 1e-5, 1e-4, 4e-4]),
    deletion_rate=st.sampled_from([0.0, 1e-4, 1e-3]),
    duplication_rate=st.sampled_from([0.0, 1e-4, 1e-3]),
    latency_s=st.sampled_from([0.0001, 0.02, 0.2]),
)
def test_every_message_arrives_once_and_in_order(seed, bit_error_rate, deletion_rate, duplication_rate, latency_s):
    spec = LineSpec(bit_error_rate=bit_error_rate, deletion_rate=deletion_rate, duplication_rate=duplication_rate)
    exchange(Pair(spec, seed=seed, latency_s=latency_s), seed)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), loss=st.floats(0.0, 0.4), repeat=st.floats(0.0, 0.3))
def test_lost_and_repeated_frames(seed, loss, repeat):
    random = Random(seed)

    def damage(data: bytes) -> bytes:
        out = []
        for frame in data.split(b"\x00"):
            if random.random() >= loss:
                out.append(frame + b"\x00")
                if random.random() < repeat:
                    out.append(frame + b"\x00")
        return b"".join(out)

    pair = Pair()
    pair.damage = {pair.host: damage, pair.node: damage}
    exchange(pair, seed, count=40)


def test_damage_is_repaired_and_counted():
    pair = Pair(LineSpec(bit_error_rate=1e-4, deletion_rate=1e-5), seed=3)
    exchange(pair, 3, count=150)
    host, node = pair.host.stats, pair.node.stats
    assert host.retransmitted > 10
    assert node.bad_crc + node.bad_cobs + node.bad_length > 10
    assert host.body_bytes < 400


def test_losses_are_noticed_without_a_timeout():
    """With later frames acknowledged, a gap is filled within a few round trips, not a timeout."""
    pair = Pair(latency_s=0.001)
    pair.run(1.0, lambda: pair.host.established)
    host_damage = pair.damage[pair.host]
    frames = iter(range(1000))
    pair.damage[pair.host] = lambda data: b"".join(
        host_damage(frame + b"\x00") for frame in data.split(b"\x00")[:-1] if next(frames) != 3
    )
    start_s = pair.now_s
    body = Random(1).randbytes(20_000)
    pair.host.send(body)
    pair.run(start_s + 5, lambda: bool(pair.at_node))
    assert pair.at_node == [body]
    assert pair.host.stats.retransmitted == 1
    assert pair.now_s - start_s < 0.02


def test_the_last_frame_lost_costs_one_timeout():
    pair = Pair(latency_s=0.001)
    exchange(pair, 1, count=20)
    pair.cut = True
    pair.host.send(b"lost at first")
    pair.step()
    pair.cut = False
    start_s = pair.now_s
    pair.run(start_s + 5, lambda: len(pair.at_node) > 20)
    assert pair.at_node[-1] == b"lost at first"
    assert pair.now_s - start_s < 0.1


def test_selective_repeat_sends_again_only_what_was_lost():
    pair = Pair(latency_s=0.005)
    pair.run(1.0, lambda: pair.host.established)
    numbers = iter(range(10_000))
    lost = {2, 7, 20}
    pair.damage[pair.host] = lambda data: b"".join(
        frame + b"\x00" for frame in data.split(b"\x00")[:-1] if next(numbers) not in lost
    )
    pair.host.send(Random(2).randbytes(12_000))
    pair.run(5.0, lambda: bool(pair.at_node))
    assert pair.host.stats.retransmitted == len(lost)
    assert pair.node.stats.duplicates == 0


def test_counts_wrap_around():
    pair = Pair(latency_s=0.0)
    pair.run(1.0, lambda: pair.host.established)
    total = 17_000  # more than the 16384 counts there are
    sent = 0
    while sent < total:
        for _ in range(50):
            pair.host.send(sent.to_bytes(4, "big"))
            sent += 1
        pair.run(pair.now_s + 1, lambda: pair.host.idle)
    assert pair.at_node == [number.to_bytes(4, "big") for number in range(total)]


# ---- priorities and pace ----------------------------------------------------------------------------------------


def test_urgent_messages_overtake_bulk():
    pair = Pair()
    pair.run(1.0, lambda: pair.host.established)
    pair.host.send(bytes(1 << 18))
    pair.host.send(b"urgent", urgent=True)
    pair.run(pair.now_s + 60, lambda: len(pair.at_node) == 2)
    assert [len(message) for message in pair.at_node] == [6, 1 << 18]


@pytest.mark.parametrize("baud", [115_200, 921_600])
def test_an_urgent_message_waits_for_one_frame_at_most(baud):
    """With the baud rate known, frames are handed out at the line's pace, one ahead."""
    pair = Pair(baud=baud, latency_s=0.0)
    pair.run(1.0, lambda: pair.host.established)
    bytes_per_s = baud / 10
    line_free_s = pair.now_s
    pair.host.send(bytes(range(1, 256)) * 200)
    random = Random(7)
    for _ in range(20):
        urgent_s = pair.now_s + random.random() * 0.02
        while pair.now_s < urgent_s:
            data = pair.host.to_transmit(pair.now_s)
            pair.node.receive(data, pair.now_s)
            pair.host.receive(pair.node.to_transmit(pair.now_s), pair.now_s)
            line_free_s = max(line_free_s, pair.now_s) + len(data) / bytes_per_s
            pair.now_s += 0.0002
        pair.host.send(b"urgent", urgent=True)
        waited_s = max(0.0, line_free_s - pair.now_s)
        frame_s = 1100 / bytes_per_s
        assert waited_s <= frame_s + 0.0035
        while not [message for message in pair.node.received() if message == b"urgent"]:
            data = pair.host.to_transmit(pair.now_s)
            pair.node.receive(data, pair.now_s)
            pair.host.receive(pair.node.to_transmit(pair.now_s), pair.now_s)
            line_free_s = max(line_free_s, pair.now_s) + len(data) / bytes_per_s
            pair.now_s += 0.0002


def test_a_paced_link_keeps_the_line_busy():
    baud = 921_600
    pair = Pair(baud=baud, latency_s=0.001)
    pair.run(1.0, lambda: pair.host.established)
    start_s = pair.now_s
    data = Random(1).randbytes(200_000)
    pair.host.send(data)
    pair.run(start_s + 30, lambda: bool(pair.at_node))
    goodput = len(data) / (pair.now_s - start_s)
    assert pair.at_node == [data]
    assert goodput > 0.94 * baud / 10
    assert pair.host.stats.bytes_sent <= (pair.now_s * baud / 10) + 2500


def test_acknowledgements_are_few():
    pair = Pair()
    pair.run(1.0, lambda: pair.host.established)
    for _ in range(400):
        pair.host.send(b"x" * 200)
    pair.run(30.0, lambda: len(pair.at_node) == 400)
    assert pair.node.stats.acks_sent <= 400 / 8


# ---- flow control -----------------------------------------------------------------------------------------------


def test_a_node_that_takes_nothing_is_not_flooded():
    host, node = Link("host"), Link("node")
    for number in range(2000):
        host.send(number.to_bytes(4, "big") + bytes(996))
    now_s = 0.0
    while now_s < 30.0:
        node.receive(host.to_transmit(now_s), now_s)
        host.receive(node.to_transmit(now_s), now_s)
        now_s += 0.002
    held = sum(map(len, node._receiver.inbox))
    assert INBOX_BYTES < held < INBOX_BYTES + WINDOW * 1100
    sent_bytes = host.stats.bytes_sent
    assert sent_bytes < 2 * INBOX_BYTES, "without credit the line is nearly silent"
    got = []
    while len(got) < 2000 and now_s < 200.0:
        got += node.received()
        node.receive(host.to_transmit(now_s), now_s)
        host.receive(node.to_transmit(now_s), now_s)
        now_s += 0.002
    assert [int.from_bytes(message[:4], "big") for message in got] == list(range(2000))


def test_credit_that_is_lost_is_asked_for_again():
    """The acknowledgement that gives credit back goes missing: the sender must not wait for ever."""
    host, node = Link("host"), Link("node")
    now_s = 0.0
    for _ in range(400):
        host.send(bytes(1000))

    def turn(lose_acks: bool) -> None:
        nonlocal now_s
        node.receive(host.to_transmit(now_s), now_s)
        data = node.to_transmit(now_s)
        host.receive(b"" if lose_acks else data, now_s)
        now_s += 0.002

    while now_s < 10.0:
        turn(False)
    got = len(node.received())
    assert got < 400
    while now_s < 11.0:
        turn(True)
    while now_s < 60.0:
        turn(False)
        got += len(node.received())
    assert got == 400


def test_messages_of_impossible_size_are_refused():
    with pytest.raises(DataError, match="chunks"):
        Link("host").send(bytes(MAX_MESSAGE + 1))
    with pytest.raises(DataError):
        Link("host").send(b"")


@pytest.mark.parametrize(("baud", "share"), [(921_600, 0.85), (3_000_000, 0.3)])
def test_acknowledgements_ride_along_with_data_on_a_busy_paced_line(baud, share):
    """Each write wakes the other end: with bulk both ways there are hardly more writes than packets of data.

    And one acknowledgement stands for several packets: it takes the last ride before it is due.
    """
    pair = Pair(baud=baud)
    pair.run(1.0, lambda: pair.host.established)
    data = bytes(200_000)
    for link in (pair.host, pair.node):
        link.send(data)
    pair.run(30.0, lambda: bool(pair.at_host and pair.at_node))
    assert pair.at_host == pair.at_node == [data]
    stats = [link.stats for link in (pair.host, pair.node)]
    acks, frames = sum(each.acks_sent for each in stats), sum(each.frames_sent for each in stats)
    assert 20 < acks < share * (frames - acks)
    assert pair.writes < frames - 0.8 * acks
    assert sum(each.retransmitted for each in stats) == 0


# ---- what goes out at once ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    baud=st.sampled_from([None, 921_600]),
    sent=st.lists(st.tuples(st.integers(1, 300), st.booleans(), st.booleans(), st.floats(0.0, 0.01)), max_size=90),
)
def test_a_message_sent_at_once_is_the_same_on_the_wire(baud, sent):
    """Through the queue or around it: the same bytes, acknowledgements and full windows in between included."""
    queued, direct = Pair(baud=baud), Pair(baud=baud)
    for pair in (queued, direct):
        pair.run(1.0, lambda pair=pair: pair.host.established)
    now_s = queued.now_s
    for size, urgent, answered, pause_s in sent:
        message = bytes(size)
        queued.host.send(message, urgent)
        expected = queued.host.to_transmit(now_s)
        frame = direct.host.send_at_once(message, urgent, now_s)
        assert frame is not None or size > 200 or baud is not None or queued.host.stats.messages_sent > 1
        if frame is None:
            direct.host.send(message, urgent)
            frame = direct.host.to_transmit(now_s)
        assert frame == expected
        for pair in (queued, direct):
            pair.node.receive(frame, now_s)
        now_s += pause_s
        if answered:
            for pair in (queued, direct):
                pair.node.send(b"answer")
                while data := pair.node.to_transmit(now_s):
                    pair.host.receive(data, now_s)
    assert queued.host.stats == direct.host.stats
    assert queued.host.next_event(now_s) == direct.host.next_event(now_s)
