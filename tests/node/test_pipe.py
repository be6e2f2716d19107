"""The pipe between supervisor and computer: whole messages, no blocking, a clean end."""

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge import codec
from firmware_bridge.loading import BlobKind, LoadChunk
from firmware_bridge.messages import Done, Failed, Message, Progress
from node.pipe import LENGTH_BYTES, MessagePipe

BIG = LoadChunk(kind=BlobKind.IMAGE, offset=0, data=bytes(3_000_000))


@pytest.fixture
def ends() -> Iterator[tuple[MessagePipe, MessagePipe]]:
    one, other = socket.socketpair()
    with MessagePipe(one) as left, MessagePipe(other) as right:
        yield left, right


Ends = tuple[MessagePipe, MessagePipe]


def test_messages_arrive_in_order(ends: Ends) -> None:
    sent: list[Message] = [Done(), Failed(text="why"), Progress(stage="s", done=1, total=2)]
    for message in sent:
        ends[0].send(message)
    assert ends[1].receive() == sent
    assert ends[1].receive() == []
    assert not ends[1].ended


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), max_size=20))
def test_any_cut_of_the_stream_gives_the_same_messages(cuts: list[int]) -> None:
    sent: list[Message] = [Failed(text="x" * 20), Done(), Failed(text="")]
    bodies = [codec.encode(message, 0) for message in sent]
    stream = b"".join(len(body).to_bytes(LENGTH_BYTES, "big") + body for body in bodies)
    raw, end = socket.socketpair()
    received: list[Message] = []
    with raw, MessagePipe(end) as pipe:
        for cut in [*cuts, len(stream)]:
            piece, stream = stream[:cut], stream[cut:]
            raw.sendall(piece)
            received += pipe.receive()
    assert received == sent


def test_a_full_socket_does_not_block_and_loses_nothing(ends: Ends) -> None:
    left, right = ends
    left.send(BIG)
    left.send(Done())
    assert left.wants_to_write, "more than a socket holds"
    received: list[Message] = []
    while len(received) < 2:
        received += right.receive()
        left.flush()
    assert received == [BIG, Done()]
    assert not left.wants_to_write


def test_wait_blocks_until_a_message_is_whole(ends: Ends) -> None:
    left, right = ends
    sender = threading.Thread(target=lambda: (left.send(BIG), left.drain()))
    sender.start()
    assert right.wait() == [BIG]
    sender.join()


def test_two_that_send_much_at_once_do_not_block_each_other(ends: Ends) -> None:
    """The child waits for the parent with its own reply still unsent."""
    left, right = ends
    left.send(BIG)
    right.send(BIG)
    results: list[list[Message]] = []
    # A wait ends with the message that it waited for; what is still unsent then has to be drained.
    waiter = threading.Thread(target=lambda: (results.append(right.wait()), right.drain()))
    waiter.start()
    assert left.wait() == [BIG]
    left.drain()
    waiter.join()
    assert results == [[BIG]]


def test_the_end_comes_after_the_last_message(ends: Ends) -> None:
    left, right = ends
    left.send(Done())
    left.close()
    assert right.receive() == [Done()]
    assert right.ended
    assert right.wait() == []


def test_a_message_cut_off_by_the_end_is_not_delivered() -> None:
    raw, end = socket.socketpair()
    with MessagePipe(end) as pipe:
        raw.sendall((100).to_bytes(LENGTH_BYTES, "big") + b"only a part")
        raw.close()
        assert pipe.wait() == []


def test_sending_to_a_closed_end_is_dropped(ends: Ends) -> None:
    left, right = ends
    right.close()
    left.send(BIG)
    left.send(Done())
    assert not left.wants_to_write
    left.drain()
