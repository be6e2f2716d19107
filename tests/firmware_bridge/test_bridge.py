import threading
import time
from random import Random

import pytest

from firmware_bridge import Bridge
from firmware_bridge import messages as m
from firmware_bridge.bridge import CHUNK_BYTES
from firmware_bridge.channel import Channel
from firmware_bridge.errors import DataError, LinkError, LinkLost, PortError, Refused
from firmware_bridge.line import LineSpec, NoisyLine
from firmware_bridge.loading import BlobKind, LoadChunk, LoadStatus
from firmware_bridge.transport import listen_tcp, memory_pair, open_pty
from tests.fake_node import FakeNode, run_result

FAULT = m.Fault(strike=1, region="weights", bit=5)


def open_bridge(transport, **options):
    channel = Channel(transport, "host")
    channel.wait_established(10.0)
    return Bridge(channel, **options)


@pytest.fixture
def node():
    near, far = memory_pair()
    with FakeNode(far) as fake:
        fake.near = near
        yield fake


@pytest.fixture
def bridge(node):
    with open_bridge(node.near, silence_s=5.0) as opened:
        yield opened


def runs(count, first=0):
    return [m.Run(run_id=index, inputs=(index, index + 1), faults=(FAULT,)) for index in range(first, first + count)]


# ---- commands -------------------------------------------------------------------------------------------------


def test_every_command_gets_its_reply(bridge, node):
    assert bridge.hello().agent_version == "1.2"
    bridge.configure("{}", deadline_ms=1000)
    assert bridge.inject([FAULT, FAULT]) == (m.Readback(before=1, after=2),) * 2
    bridge.set_temperature(61.5)
    bridge.set_throttle_limits(60.0, 80.0)
    assert bridge.telemetry().plant_c == 61.5
    assert bridge.scrub().corrected == 1
    assert bridge.checkpoint().sequence == 3
    assert bridge.restore().size_bytes == 100
    run = runs(1)[0]
    assert bridge.run(run) == run_result(run)
    bridge.reset()
    assert set(node.executed.values()) == {1}
    assert len(node.executed) == 11


def test_connect_by_address_over_a_pty():
    master, path = open_pty()
    with FakeNode(master) as fake, Bridge.connect(f"pty:{path}") as bridge:
        assert bridge.boot_ids == [fake.boot_id]
        assert bridge.stats.sessions == 1


def test_many_runs_come_back_in_order_and_paired(bridge, node):
    wanted = runs(200)
    got = list(bridge.run_many(iter(wanted), window=8))
    assert [run for run, _ in got] == wanted
    assert [result for _, result in got] == [run_result(run) for run in wanted]
    assert node.executed["Run"] == 200


@pytest.mark.parametrize("window", [1, 3, 50])
def test_no_more_than_the_window_is_under_way(bridge, window):
    drawn = []

    def draw():
        for run in runs(30):
            drawn.append(run)
            yield run

    for index, _ in enumerate(bridge.run_many(draw(), window=window)):
        assert len(drawn) - index <= window


def test_an_empty_window_is_the_callers_mistake(bridge):
    with pytest.raises(DataError, match="window"):
        list(bridge.run_many(runs(1), window=0))


def test_runs_nobody_waits_for_any_more_leave_nothing_behind(bridge):
    many = bridge.run_many(runs(50), window=8)
    next(many)
    many.close()
    assert bridge.scrub().corrected == 1
    bridge.telemetry()
    assert not bridge._pending
    assert not bridge._replies


def test_a_refused_command_carries_the_nodes_words(node):
    node._behaviour = lambda _, message: m.Failed(text="load an image first") if isinstance(message, m.Run) else None
    with open_bridge(node.near) as bridge:
        with pytest.raises(Refused, match="load an image first"):
            bridge.run(runs(1)[0])
        with pytest.raises(Refused, match="load an image first"):
            list(bridge.run_many(runs(3)))
        assert bridge.scrub().words == 10


def test_a_crash_is_a_result_of_a_run_and_an_error_elsewhere(node):
    crash = m.Abnormal(kind=m.AbnormalKind.CRASH, detail="signal 11", boot_id=99)
    node._behaviour = lambda _, message: crash if isinstance(message, (m.Run, m.Scrub)) else None
    with open_bridge(node.near) as bridge:
        bridge.hello()
        assert bridge.run(runs(1)[0]) == crash
        assert bridge.boot_ids == [22, 99]
        assert [result for _, result in bridge.run_many(runs(2))] == [crash, crash]
        with pytest.raises(Refused, match=r"crash.*signal 11"):
            bridge.scrub()


def test_a_wrong_kind_of_reply_is_the_nodes_mistake(node):
    node._behaviour = lambda _, message: m.Done() if isinstance(message, m.Scrub) else None
    with open_bridge(node.near) as bridge, pytest.raises(LinkError, match="Done where ScrubReport"):
        bridge.scrub()


def test_a_message_that_cannot_be_read_is_the_nodes_mistake(bridge, node):
    node.channel.send(b"\xfagarbage")
    with pytest.raises(LinkError, match="cannot be read"):
        bridge.scrub()


def test_another_protocol_version_is_named(node):
    node.protocol = 2
    with open_bridge(node.near) as bridge, pytest.raises(LinkError, match="protocol 2"):
        bridge.hello()


def test_values_that_do_not_fit_are_the_callers_mistake_and_nothing_is_sent(bridge, node):
    with pytest.raises(DataError):
        bridge.configure("{}", deadline_ms=-1)
    assert "Configure" not in node.executed
    assert bridge.scrub().words == 10


# ---- uploads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, 10 * CHUNK_BYTES + 7])
def test_an_upload_arrives_whole(bridge, node, size):
    data = Random(size).randbytes(size)
    seen = []
    status = bridge.load(BlobKind.IMAGE, data, lambda done, total: seen.append((done, total)))
    assert status == LoadStatus(received=size, complete=True)
    assert node.blobs[BlobKind.IMAGE] == data
    assert [done for done, _ in seen] == [min(size, (i + 1) * CHUNK_BYTES) for i in range(len(seen))]
    assert {total for _, total in seen} <= {size}
    assert node.executed["LoadChunk"] == -(-size // CHUNK_BYTES)


def test_an_upload_goes_on_where_an_earlier_one_stopped(bridge, node):
    data = Random(1).randbytes(20 * CHUNK_BYTES)

    def stop_early(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bridge.load(BlobKind.INPUTS, data, stop_early)
    bridge.telemetry()
    before = node.executed["LoadChunk"]
    assert bridge.load(BlobKind.INPUTS, data).complete
    assert node.blobs[BlobKind.INPUTS] == data
    assert before < node.executed["LoadChunk"] == 20
    assert bridge.load(BlobKind.INPUTS, data).complete, "a blob that is held is not sent again"
    assert node.executed["LoadChunk"] == 20


def test_an_upload_that_does_not_verify_is_an_error(bridge, node):
    node._behaviour = lambda _, message: (
        LoadStatus(received=5, complete=False) if isinstance(message, LoadChunk) else None
    )
    with pytest.raises(LinkError, match="5 of 100 bytes"):
        bridge.load(BlobKind.IMAGE, bytes(100))


# ---- life and death ---------------------------------------------------------------------------------------------


def test_silence_is_a_lost_link(node):
    with open_bridge(node.near, silence_s=0.3) as bridge:
        bridge.hello()
        node._stop.set()
        node._thread.join()
        start_s = time.monotonic()
        with pytest.raises(LinkLost, match="nothing heard"):
            bridge.scrub()
        assert 0.25 < time.monotonic() - start_s < 5.0


def slow_scrub(seconds, progress_every_s=None):
    """A node that computes in another thread: its link lives while the reply is due."""

    def behaviour(node, message):
        end_s = time.monotonic() + seconds
        while isinstance(message, m.Scrub) and time.monotonic() < end_s:
            if progress_every_s is not None:
                node.send(m.Progress(stage="compiling", done=1, total=2))
            node.channel.poll(progress_every_s or 0.02)

    return behaviour


def test_a_quiet_node_whose_link_lives_is_waited_for(node):
    node._behaviour = slow_scrub(1.5)
    with open_bridge(node.near, silence_s=0.8) as bridge:
        assert bridge.scrub().words == 10


def test_a_reply_that_never_comes_is_a_lost_node(node):
    node._behaviour = slow_scrub(2.0)
    with open_bridge(node.near, silence_s=2.0, reply_s=0.5) as bridge:
        bridge.hello()
        with pytest.raises(LinkLost, match="link is alive"):
            bridge.scrub()


def test_a_reply_is_waited_for_longer_than_the_watchdog_needs(node):
    node._behaviour = slow_scrub(1.2)
    with open_bridge(node.near, silence_s=2.0, reply_s=0.5) as bridge:
        bridge.configure("{}", deadline_ms=5000)
        assert bridge.scrub().words == 10


def test_progress_counts_as_life(node):
    node._behaviour = slow_scrub(1.2, progress_every_s=0.1)
    seen = []
    with open_bridge(node.near, silence_s=2.0, reply_s=0.6) as bridge:
        bridge.progress = seen.append
        assert bridge.scrub().words == 10
    assert len(seen) > 3
    assert seen[0] == m.Progress(stage="compiling", done=1, total=2)


def test_a_restarted_computer_is_noticed(bridge, node):
    bridge.hello()
    node.boot_id = 23
    node.send(m.Hello(agent_version="1.2", agent_id=node.agent_id, boot_id=23, state="restarted"))
    bridge.telemetry()
    bridge.hello()
    assert bridge.boot_ids == [22, 23]


def test_a_vanished_port_is_an_error(bridge, node):
    bridge.hello()
    node._stop.set()
    node._thread.join()
    node.channel.close()
    with pytest.raises(PortError, match="vanished"):
        bridge.scrub()
        bridge.scrub()


# ---- new sessions -----------------------------------------------------------------------------------------------


def test_a_new_session_in_the_middle_repeats_requests_and_executes_none_twice(bridge, node):
    wanted = runs(100)
    got = []
    for index, pair in enumerate(bridge.run_many(wanted, window=8)):
        got.append(pair)
        if index % 10 == 3:
            bridge._channel.restart()
    assert got == [(run, run_result(run)) for run in wanted]
    assert node.executed["Run"] == 100
    assert bridge.stats.sessions > 5


class Server:
    """Accepts hosts on TCP one after the other, and cuts their lines on order; the node's memory stays."""

    def __init__(self):
        self.listener = listen_tcp()
        self.url = f"tcp://127.0.0.1:{self.listener.port}"
        self.lines = 0
        self.stop = threading.Event()
        self.nodes = []
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        memory = None
        while not self.stop.is_set():
            try:
                transport = self.listener.accept(0.05)
            except PortError:
                continue
            self.lines += 1
            node = FakeNode(transport)
            if memory is not None:
                node.replies, node.executed = memory
            memory = node.replies, node.executed
            self.nodes.append(node)
            node._thread.start()
            while node._thread.is_alive() and not self.stop.is_set():
                node._thread.join(0.02)
            node.__exit__(None, None, None)

    def cut(self):
        """As if the cable were pulled: the node's thread sees its line end."""
        self.nodes[-1]._stop.set()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.listener.close()


def test_a_line_that_is_cut_and_comes_back_loses_and_repeats_nothing():
    wanted = runs(60)
    with Server() as server, Bridge.connect(server.url, recover_s=10.0) as bridge:
        got = []
        for index, pair in enumerate(bridge.run_many(wanted, window=8)):
            got.append(pair)
            if index in (10, 30, 31):
                server.cut()
        assert got == [(run, run_result(run)) for run in wanted]
        assert server.nodes[-1].executed["Run"] == 60
        assert server.lines == bridge.stats.sessions >= 3


def test_without_recovery_a_cut_is_an_error():
    with Server() as server, Bridge.connect(server.url) as bridge:
        server.cut()
        with pytest.raises(LinkError):
            for _ in range(100):
                bridge.telemetry()
                time.sleep(0.01)


def test_an_agent_that_was_restarted_has_lost_what_was_loaded():
    with Server() as server, Bridge.connect(server.url, recover_s=10.0) as bridge:
        original = FakeNode._carry_out

        def reborn(node, message):
            node.agent_id = 11 + server.lines
            return original(node, message)

        FakeNode._carry_out = reborn
        try:
            server.cut()
            with pytest.raises(LinkLost, match="agent was restarted"):
                for _ in range(100):
                    bridge.telemetry()
                    time.sleep(0.01)
        finally:
            FakeNode._carry_out = original


# ---- a bad line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "pty"])
def test_a_bad_line_completes_an_upload_and_two_hundred_requests(kind):
    spec = LineSpec(bit_error_rate=1e-4, deletion_rate=2e-5, duplication_rate=1e-5, latency_s=0.0005)
    data = Random(1).randbytes(60_000)
    wanted = runs(200)
    with NoisyLine(spec, seed=5, kind=kind) as line, FakeNode(line.far) as node:
        with open_bridge(line.near) as bridge:
            assert bridge.load(BlobKind.IMAGE, data).complete
            assert node.blobs[BlobKind.IMAGE] == data
            got = list(bridge.run_many(wanted))
            stats = bridge.stats
        assert got == [(run, run_result(run)) for run in wanted]
        assert node.executed["Run"] == 200
        assert stats.retransmitted > 5
        assert sum(wire.impairment.deleted_bursts for wire in line.wires) > 0
