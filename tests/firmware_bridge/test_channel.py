import os
import threading
import time

import pytest

from firmware_bridge.channel import Channel
from firmware_bridge.errors import LinkLost, PortError
from firmware_bridge.line import LineSpec, NoisyLine
from firmware_bridge.transport import memory_pair, open_pty, open_transport


@pytest.fixture
def channels():
    near, far = memory_pair()
    with Channel(near, "host") as host, Channel(far, "node") as node:
        yield host, node


def serve_until(node, stop):
    while not stop.is_set():
        for message in node.poll(0.02):
            node.send(message[::-1])


@pytest.fixture
def echo(channels):
    """A host whose node sends everything back reversed, from a thread."""
    host, node = channels
    stop = threading.Event()
    thread = threading.Thread(target=serve_until, args=(node, stop))
    thread.start()
    yield host
    stop.set()
    thread.join()


def settle(host, node):
    for _ in range(50):
        host.poll(0.001)
        node.poll(0.001)
        if host.established:
            return


def test_a_session_is_opened_and_messages_cross(channels):
    host, node = channels
    settle(host, node)
    host.send(b"there")
    assert node.poll(1.0) == [b"there"]
    node.send(b"back")
    assert host.poll(1.0) == [b"back"]


def test_poll_waits_no_longer_than_asked(channels):
    host, node = channels
    settle(host, node)
    start_s = time.monotonic()
    assert host.poll(0.1) == []
    assert 0.09 < time.monotonic() - start_s < 2.0
    assert host.poll(0.0) == []


def test_poll_ends_when_another_descriptor_is_readable(channels):
    host, node = channels
    settle(host, node)
    reader, writer = os.pipe()
    threading.Timer(0.05, os.write, (writer, b"x")).start()
    start_s = time.monotonic()
    assert node.poll(10.0, also=(reader,)) == []
    assert time.monotonic() - start_s < 5.0
    os.close(reader)
    os.close(writer)


def test_flush_keeps_what_arrives_for_the_next_poll(echo):
    echo.wait_established(5.0)
    echo.send(b"abc")
    assert echo.flush(5.0)
    deadline_s = time.monotonic() + 5
    got = []
    while not got and time.monotonic() < deadline_s:
        got = echo.poll(0.1)
    assert got == [b"cba"]


def test_flush_says_when_nobody_acknowledges(channels):
    host, node = channels
    settle(host, node)
    host.send(b"to nobody")
    assert not host.flush(0.05)


def test_nobody_there_is_a_lost_link_that_says_what_to_check(channels):
    host, _ = channels
    with pytest.raises(LinkLost, match=r"0 bytes came.*baud rate"):
        host.wait_established(0.2)


def test_noise_alone_is_told_apart_from_silence():
    near, far = memory_pair()
    with Channel(near, "host") as host, far:
        far.write(b"login: \x00raspberrypi login: \x00")
        with pytest.raises(LinkLost, match=r"\([1-9][0-9]* bytes came, 0 good frames\)"):
            host.wait_established(0.2)


def test_time_since_the_last_good_frame(channels):
    host, node = channels
    settle(host, node)
    assert host.silent_s < 1.0
    heard_s = host.heard_s
    node.transport.write(b"noise\x00")
    host.poll(0.05)
    assert host.heard_s == heard_s, "noise is no sign of life"
    host.probe()
    node.poll(0.05)
    host.poll(0.05)
    assert host.heard_s > heard_s


def test_a_vanished_line_is_an_error_in_poll_and_in_send(channels):
    host, node = channels
    settle(host, node)
    node.close()
    with pytest.raises(PortError, match="vanished"):
        host.poll(1.0)
    with pytest.raises(PortError):
        host.send(b"x")


def test_a_big_message_passes_a_line_with_a_small_buffer():
    master, path = open_pty()
    data = bytes(range(256)) * 1000
    with Channel(open_transport(f"pty:{path}"), "host") as host, Channel(master, "node") as node:
        stop = threading.Event()
        thread = threading.Thread(target=serve_until, args=(node, stop))
        thread.start()
        host.wait_established(5.0)
        host.send(data)
        got = []
        while not got:
            got = host.poll(5.0)
        stop.set()
        thread.join()
    assert got == [data[::-1]]


def test_a_line_that_comes_back_carries_a_new_session(channels):
    host, node = channels
    settle(host, node)
    node.close()
    near, far = memory_pair()
    tries = []

    def open_line():
        tries.append(1)
        if len(tries) < 3:
            raise PortError("not there yet")
        return near

    with Channel(far, "node") as node_again:
        stop = threading.Event()
        thread = threading.Thread(target=serve_until, args=(node_again, stop))
        thread.start()
        host.reopen(open_line, 10.0)
        assert host.generation == 2
        host.send(b"abc")
        assert host.poll(5.0) == [b"cba"]
        stop.set()
        thread.join()
    assert len(tries) == 3


def test_a_line_that_does_not_come_back_is_the_last_error(channels):
    host, _ = channels

    def open_line():
        raise PortError("no port /dev/ttyX")

    with pytest.raises(PortError, match="ttyX"):
        host.reopen(open_line, 0.3)


@pytest.mark.parametrize("kind", ["memory", "pty"])
def test_a_noisy_line_delivers_everything(kind):
    spec = LineSpec(bit_error_rate=1e-4, deletion_rate=1e-5, duplication_rate=1e-5, latency_s=0.001)
    with NoisyLine(spec, seed=11, kind=kind) as line:
        host, node = Channel(line.near, "host"), Channel(line.far, "node")
        stop = threading.Event()
        thread = threading.Thread(target=serve_until, args=(node, stop))
        thread.start()
        host.wait_established(10.0)
        sent = [index.to_bytes(2, "big") * 400 for index in range(60)]
        for message in sent:
            host.send(message)
        got = []
        deadline_s = time.monotonic() + 30
        while len(got) < len(sent) and time.monotonic() < deadline_s:
            got += host.poll(0.2)
        stop.set()
        thread.join()
        assert got == [message[::-1] for message in sent]
        assert host.stats.retransmitted > 0
        assert sum(wire.impairment.flipped_bits for wire in line.wires) > 20


@pytest.mark.parametrize(("baud", "tries"), [(None, True), (3_000_000, False)])
def test_after_quick_answers_a_wait_is_tried_once_and_then_slept_through(baud, tries, monkeypatch):
    near, far = memory_pair()
    near.baud = baud
    in_vain = []
    read = near.read
    monkeypatch.setattr(near, "read", lambda: read() or in_vain.append(1) or b"")
    with Channel(near, "host") as host, Channel(far, "node") as node:
        settle(host, node)
        in_vain.clear()
        for _ in range(10):
            host.send(b"quick")
            assert node.poll(5.0) == [b"quick"]
            node.send(b"as quick")
            assert host.poll(5.0) == [b"as quick"]
        for tried in (tries, False):
            in_vain.clear()
            assert host.poll(0.02) == []
            assert bool(in_vain) == tried
