import struct
from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import link as link_module
from firmware_bridge.codec import catalogue_crc
from firmware_bridge.errors import DataError, LinkError
from firmware_bridge.framing import FrameDecoder, encode_frame
from firmware_bridge.line import Impairment, LineSpec
from firmware_bridge.link import APID_ACK, APID_BULK, APID_SYNC, APID_URGENT, Link, SyncKind
from firmware_bridge.packets import PacketType, SpacePacket, decode_packet, encode_packet
from firmware_bridge.streams import GIVE_UP_TRIES, INBOX_BYTES, MAX_MESSAGE, WINDOW


class Pair:
    """A host and a node joined by a line with latency, in virtual time."""

    def __init__(self, spec: LineSpec | None = None, *, seed: int = 1, latency_s: float = 0.002, baud=None):
        nonces = Random(seed)
        self.host = Link("host", baud=baud, nonce=lambda: nonces.getrandbits(32))
        self.node = Link("node", baud=baud)
        self.latency_s = latency_s
        self.now_s = 0.0
        spec = spec or LineSpec()
        self.damage = {self.host: Impairment(2 * seed, spec).apply, self.node: Impairment(2 * seed + 1, spec).apply}
        self.flying: dict[Link, deque[tuple[float, bytes]]] = {self.host: deque(), self.node: deque()}
        self.at_host: list[bytes] = []
        self.at_node: list[bytes] = []
        self.cut = False

    def step(self) -> bool:
        """Send what is due, then go to the next event; False when there is none."""
        for source, sink in ((self.host, self.node), (self.node, self.host)):
            while data := source.to_transmit(self.now_s):
                if not self.cut:
                    self.flying[sink].append((self.now_s + self.latency_s, self.damage[source](data)))
            while self.flying[sink] and self.flying[sink][0][0] <= self.now_s:
                sink.receive(self.flying[sink].popleft()[1], self.now_s)
        self.at_host += self.host.received()
        self.at_node += self.node.received()
        times = [link.next_event(self.now_s) for link in (self.host, self.node)]
        times += [queue[0][0] for queue in self.flying.values() if queue]
        known = [time_s for time_s in times if time_s is not None]
        if not known:
            return False
        self.now_s = max(self.now_s + 1e-6, min(known))
        return True

    def run(self, until_s: float, done=lambda: False) -> None:
        while self.now_s < until_s and not done() and self.step():
            pass


def messages(random: Random, count: int) -> list[bytes]:
    sizes = (5, 12, 60, 300, 3000)
    return [index.to_bytes(4, "big") + random.randbytes(random.choice(sizes)) for index in range(count)]


def exchange(pair: Pair, seed: int, count: int = 60, limit_s: float = 120.0) -> None:
    random = Random(seed)
    out, back = messages(random, count), messages(random, count)
    pair.run(5.0, lambda: pair.host.established and pair.node.established)
    for ahead, behind in zip(out, back, strict=True):
        pair.host.send(ahead)
        pair.node.send(behind)
    pair.run(limit_s, lambda: len(pair.at_node) >= count and len(pair.at_host) >= count)
    assert pair.at_node == out
    assert pair.at_host == back
    pair.run(pair.now_s + 5.0)
    assert pair.host.idle
    assert pair.node.idle
    assert len(pair.at_node) == len(pair.at_host) == count


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
@given(seed=st.integers(0, 2**20), loss=st.floats(0.0, 0.5), repeat=st.floats(0.0, 0.3))
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


# ---- sessions ---------------------------------------------------------------------------------------------------


def packets_in(data: bytes) -> list[SpacePacket]:
    return [packet for body in FrameDecoder().feed(data) if (packet := decode_packet(body))]


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
        host.receive(sync_answer(7, link_module.LINK_VERSION, catalogue_crc() ^ 1), 0.0)


def test_a_node_written_by_others_may_leave_the_catalogue_out():
    host = Link("host", nonce=lambda: 7)
    host.to_transmit(0.0)
    host.receive(sync_answer(7, link_module.LINK_VERSION, 0), 0.0)
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
