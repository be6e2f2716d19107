from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.pacing import SLACK_S, Pace

FRAMES = st.lists(st.integers(1, 1100), min_size=1, max_size=60)


@given(FRAMES, st.sampled_from([9600, 115_200, 921_600, 3_000_000]))
def test_frames_go_out_at_the_pace_of_the_line_and_never_stop_early(sizes, baud):
    """Each frame is handed over when the pace says: at most the slack before the line has carried all before it."""
    pace, now_s, carried_s = Pace(baud), 0.0, 0.0
    for size in sizes:
        now_s = max(now_s, pace.room_s)
        assert pace.has_room(0, now_s)
        assert carried_s - now_s <= SLACK_S + 1e-9
        assert now_s <= max(0.0, carried_s - SLACK_S) + 2e-6
        pace.sent(size, now_s)
        carried_s = max(carried_s, now_s) + size * 10 / baud


def test_what_is_about_to_be_sent_counts_too():
    pace = Pace(100_000)
    assert pace.has_room(30, 1.0)
    assert not pace.has_room(31, 1.0)


def test_a_line_without_a_rate_always_has_room():
    pace = Pace(None)
    pace.sent(10**9, 0.0)
    assert pace.has_room(10**9, 0.0)
    assert pace.room_s <= 0.0
