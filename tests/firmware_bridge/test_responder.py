from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.responder import Replies


def test_a_running_request_is_neither_run_again_nor_answered():
    replies = Replies()
    assert replies.admit(5)
    assert not replies.admit(5)
    assert replies.answer(5) is None


def test_a_finished_request_is_answered_from_memory():
    replies = Replies()
    replies.admit(5)
    replies.finish(5, b"reply")
    assert not replies.admit(5)
    assert replies.answer(5) == b"reply"


def test_unknown_requests_have_no_answer():
    assert Replies().answer(1) is None


def test_the_oldest_finished_reply_goes_first_and_running_ones_stay():
    replies = Replies(capacity=3)
    replies.admit(1)  # stays under way
    for request_id in (2, 3, 4, 5):
        replies.admit(request_id)
        replies.finish(request_id, bytes([request_id]))
    assert not replies.admit(1)
    assert replies.answer(2) is None
    assert replies.answer(5) == b"\x05"
    assert replies.admit(2)


@given(st.lists(st.integers(0, 20), max_size=200))
def test_memory_is_bounded_and_the_newest_is_kept(ids):
    replies = Replies(capacity=4)
    for request_id in ids:
        if replies.admit(request_id):
            replies.finish(request_id, bytes([request_id]))
        assert replies.answer(request_id) == bytes([request_id])
    assert len(replies._replies) <= 4
