import struct
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import link as link_module
from firmware_bridge.apids import APID_ACK, APID_BULK, APID_SYNC, APID_URGENT
from firmware_bridge.codec import catalogue_crc
from firmware_bridge.errors import LinkError
from firmware_bridge.framing import encode_frame
from firmware_bridge.line import Impairment, LineSpec
from firmware_bridge.link import ABANDONED_S, Link
from firmware_bridge.packets import PacketType, SpacePacket, encode_packet
from firmware_bridge.sender import GIVE_UP_TRIES
from firmware_bridge.session import LINK_VERSION, SyncKind
from firmware_bridge.streams import MAX_MESSAGE
from tests.link_pair import Pair, exchange


def test_the_node_is_silent_until_it_is_spoken_to():
    node = Link("node")
    node.send(b"early")
    assert node.stats.unsent == 1
    for second in range(100):
        assert node.to_transmit(float(second)) == b""
    assert node.next_event(0.0) is None


def test_the_host_opens_sessions_until_it_is_answered():
    host = Link("host")
    times = []
    now_s = 0.0
    while now_s < 5.0:
        if host.to_transmit(now_s):
            times.append(now_s)
        now_s = host.next_event(now_s)
    assert 8 < len(times) < 30
    assert not host.established


def test_a_new_host_starts_over():
    pair = Pair()
    exchange(pair, 1, count=5)
    pair.host.restart()
    assert not pair.host.established
    pair.run(pair.now_s + 5, lambda: pair.host.established)
    pair.host.send(b"again")
    pair.node.send(b"hello")
    pair.run(pair.now_s + 5, lambda: len(pair.at_node) > 5 and len(pair.at_host) > 5)
    assert pair.at_node[5:] == [b"again"]
    assert pair.at_host[5:] == [b"hello"]
    assert pair.host.generation == pair.node.generation == 2


def test_packets_of_an_older_session_are_ignored():
    pair = Pair()
    pair.run(1.0, lambda: pair.host.established)
    pair.host.send(b"from before")
    late = pair.host.to_transmit(pair.now_s)
    pair.host.restart()
    pair.run(pair.now_s + 5, lambda: pair.host.established)
    pair.node.receive(late, pair.now_s)
    pair.host.send(b"from now")
    pair.run(pair.now_s + 5, lambda: bool(pair.at_node))
    assert pair.at_node == [b"from now"]
    assert pair.node.stats.stale == 1
    assert pair.host.generation == 2, "the node's complaint about the old session changes nothing"


def test_a_late_copy_of_an_old_opening_does_not_end_the_session():
    pair = Pair()
    opening = pair.host.to_transmit(0.0)
    pair.node.receive(opening, 0.0)
    pair.host.restart()
    pair.run(5.0, lambda: pair.host.established)
    generation = pair.node.generation
    pair.node.receive(opening, pair.now_s)
    pair.run(pair.now_s + 1.0)
    assert pair.node.generation == generation
    assert pair.host.established


def test_a_repeated_opening_is_confirmed_again_and_resets_nothing():
    host, node = Link("host"), Link("node")
    opening = host.to_transmit(0.0)
    node.receive(opening, 0.0)
    first = node.to_transmit(0.0)
    node.send(b"kept")
    node.receive(opening, 0.1)
    assert node.generation == 1
    second = node.to_transmit(0.1)
    host.receive(second, 0.1)
    host.receive(first, 0.1)
    assert host.generation == 1
    assert host.received() == [b"kept"]


@pytest.mark.parametrize("speak", ["data", "probe"])
def test_a_node_that_was_restarted_says_so(speak):
    pair = Pair()
    exchange(pair, 1, count=3)
    newborn = Link("node")
    now_s = pair.now_s
    if speak == "data":
        pair.host.send(b"are you there")
    else:
        pair.host.probe()
    for _ in range(100):
        newborn.receive(pair.host.to_transmit(now_s), now_s)
        pair.host.receive(newborn.to_transmit(now_s), now_s)
        now_s += 0.01
    assert pair.host.generation == 2
    assert newborn.generation == 1
    assert newborn.received() == [], "what was sent in the old session is for the caller to send again"


def test_a_node_does_not_talk_to_an_absent_host_for_ever():
    pair = Pair()
    exchange(pair, 1, count=3)
    pair.cut = True
    pair.node.send(b"is anybody there")
    gone_s = pair.now_s
    pair.run(gone_s + ABANDONED_S - 1)
    before = pair.node.stats.frames_sent
    assert pair.node.established
    pair.run(gone_s + 10 * ABANDONED_S)
    assert pair.node.stats.frames_sent - before < 5
    assert not pair.node.established
    pair.cut = False
    pair.host.send(b"back again")
    pair.run(pair.now_s + 10, lambda: pair.host.generation == 2)
    assert pair.host.generation == 2
    assert pair.node.established


def test_an_idle_session_lasts():
    pair = Pair()
    exchange(pair, 1, count=3)
    pair.now_s += 100 * ABANDONED_S
    pair.node.send(b"good morning")
    pair.run(pair.now_s + 5, lambda: len(pair.at_host) > 3)
    assert pair.at_host[3:] == [b"good morning"]
    assert pair.host.generation == 1


def test_a_probe_is_answered_and_changes_nothing():
    pair = Pair()
    exchange(pair, 1, count=3)
    pair.host.probe()
    probe = pair.host.to_transmit(pair.now_s)
    assert pair.node.receive(probe, pair.now_s) == 1
    assert pair.host.receive(pair.node.to_transmit(pair.now_s), pair.now_s) == 1
    assert pair.host.generation == pair.node.generation == 1


def test_a_line_that_turns_very_bad_gets_frames_cut_anew():
    """Frames cut for a clean line cannot pass at BER 2e-3; a new session is opened with shorter ones."""
    pair = Pair(latency_s=0.001)
    pair.run(1.0, lambda: pair.host.established)
    pair.host.send(bytes(300_000))
    pair.run(20.0, lambda: bool(pair.at_node))
    assert pair.host.stats.body_bytes > 900
    noise = Impairment(1, LineSpec(bit_error_rate=2e-3))
    pair.damage[pair.host] = noise.apply
    pair.host.send(Random(1).randbytes(3000))
    pair.run(pair.now_s + 120, lambda: pair.host.generation > 1 or len(pair.at_node) > 1)
    for _ in range(8):  # the caller sends again what was given up
        pair.run(pair.now_s + 20, lambda: pair.host.established)
        if pair.host.idle and len(pair.at_node) == 1:
            pair.host.send(Random(1).randbytes(3000))
        pair.run(pair.now_s + 60, lambda: len(pair.at_node) > 1)
    assert len(pair.at_node) > 1
    assert pair.host.stats.body_bytes < 200
    assert pair.host.stats.retransmitted >= GIVE_UP_TRIES


def sync_answer(nonce: int, version: int, catalogue: int) -> bytes:
    data = struct.pack(">BBIIH", SyncKind.CONFIRM, version, nonce, catalogue, 1024)
    return encode_frame(encode_packet(SpacePacket(PacketType.TELEMETRY, APID_SYNC, 3, 0, data)))


def test_another_version_is_named():
    host = Link("host", nonce=lambda: 7)
    host.to_transmit(0.0)
    with pytest.raises(LinkError, match="link version 9"):
        host.receive(sync_answer(7, 9, catalogue_crc()), 0.0)


def test_another_catalogue_is_named():
    host = Link("host", nonce=lambda: 7)
    host.to_transmit(0.0)
    with pytest.raises(LinkError, match="catalogue"):
        host.receive(sync_answer(7, LINK_VERSION, catalogue_crc() ^ 1), 0.0)


def test_a_node_written_by_others_may_leave_the_catalogue_out():
    host = Link("host", nonce=lambda: 7)
    host.to_transmit(0.0)
    host.receive(sync_answer(7, LINK_VERSION, 0), 0.0)
    assert host.established


# ---- packets nobody should send -----------------------------------------------------------------------------------


def test_an_echo_of_our_own_frames_is_not_an_answer():
    host = Link("host")
    data = host.to_transmit(0.0)
    assert host.receive(data, 0.0) == 0
    assert host.stats.echoes == 1
    assert not host.established


@settings(max_examples=150, deadline=None)
@given(
    apid=st.sampled_from([APID_SYNC, APID_ACK, APID_URGENT, APID_BULK, 0x222]),
    flags=st.integers(0, 3),
    count=st.integers(0, 16383),
    data=st.binary(min_size=1, max_size=60),
    keep_session=st.booleans(),
)
def test_any_packet_with_a_good_checksum_is_survived(apid, flags, count, data, keep_session):
    pair = Pair()
    pair.run(1.0, lambda: pair.host.established)
    if keep_session:
        data = (pair.host._nonce & 0xFFFF).to_bytes(2, "big") + data
    for kind, link in ((PacketType.TELECOMMAND, pair.node), (PacketType.TELEMETRY, pair.host)):
        link.receive(encode_frame(encode_packet(SpacePacket(kind, apid, flags, count, data))), pair.now_s)
        link.to_transmit(pair.now_s)
        link.next_event(pair.now_s)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000))
def test_any_noise_is_survived(noise):
    pair = Pair()
    pair.run(1.0, lambda: pair.host.established)
    pair.node.receive(noise + b"\x00", pair.now_s)
    pair.host.send(b"after the noise")
    pair.run(pair.now_s + 10, lambda: bool(pair.at_node))
    assert pair.at_node == [b"after the noise"]


def test_a_peer_that_never_ends_a_message_does_not_fill_the_memory():
    pair = Pair()
    pair.run(1.0, lambda: pair.host.established)
    receiver = pair.node._receiver
    for count in range(MAX_MESSAGE // 1000 + 10):
        receiver.receive(link_module.Stream.BULK, count % 16384, 1 if count == 0 else 0, count & 0xFFFF, bytes(1000))
    assert sum(map(len, receiver._streams[link_module.Stream.BULK].parts)) <= MAX_MESSAGE
    assert receiver.refused > 0


def test_stats_are_a_copy():
    link = Link("host")
    link.stats.frames_sent = 99
    assert link.stats.frames_sent == 0
