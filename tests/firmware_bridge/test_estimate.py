from math import exp
from random import Random

import pytest

from firmware_bridge.estimate import DEFAULT_BODY, MIN_DATA_BODY, FrameSize, RoundTrip
from firmware_bridge.framing import MAX_BODY


def feed(size: FrameSize, loss_per_byte: float, total_bytes: int, seed: int = 1) -> None:
    random = Random(seed)
    while total_bytes > 0:
        body = size.body_bytes
        size.observed(body, random.random() > exp(-loss_per_byte * body))
        total_bytes -= body


def test_before_anything_is_known():
    assert FrameSize().body_bytes == DEFAULT_BODY


def test_a_clean_line_gets_long_frames():
    size = FrameSize()
    feed(size, 0.0, 300_000)
    assert size.body_bytes == MAX_BODY


@pytest.mark.parametrize(("bit_error_rate", "low", "high"), [(1e-5, 320, 1024), (1e-4, 110, 260), (1e-3, 64, 75)])
def test_a_noisy_line_gets_the_length_that_carries_most(bit_error_rate, low, high):
    size = FrameSize()
    feed(size, 8 * bit_error_rate, 200_000)
    assert low <= size.body_bytes <= high


def test_a_line_that_turns_bad_and_good_again_is_followed():
    size = FrameSize()
    feed(size, 0.0, 300_000)
    feed(size, 8e-4, 150_000)
    assert size.body_bytes < 300
    feed(size, 0.0, 600_000)
    assert size.body_bytes == MAX_BODY


def test_a_line_that_stays_clean_for_days_is_no_trouble():
    size = FrameSize()
    for _ in range(5000):  # 160 MB: the loss halves at every step, to 0 in the end
        size.observed(32_768, 0)
    assert size.body_bytes == MAX_BODY
    feed(size, 8e-4, 150_000)
    assert size.body_bytes < 300


def test_frames_never_get_too_short_to_carry_anything():
    size = FrameSize()
    for _ in range(1000):
        size.observed(64, 1)
    assert size.body_bytes == MIN_DATA_BODY


def test_the_other_end_may_ask_for_shorter_frames():
    size = FrameSize()
    size.restrict(100)
    assert size.body_bytes == 100
    feed(size, 0.0, 300_000)
    assert size.body_bytes == 100
    size.restrict(1)
    assert size.body_bytes == MIN_DATA_BODY
    size.restrict(1 << 16)
    feed(size, 0.0, 300_000)
    assert size.body_bytes == MAX_BODY


def test_the_timeout_follows_the_round_trip():
    trip = RoundTrip(floor_s=0.02, initial_s=0.2)
    assert trip.timeout_s == 0.2
    for _ in range(50):
        trip.measured(0.1)
    assert trip.smoothed_s == pytest.approx(0.1)
    assert 0.1 <= trip.timeout_s < 0.11
    trip.measured(0.5)
    assert trip.timeout_s > 0.45, "a jump must be allowed for at once"


def test_the_timeout_has_a_floor():
    trip = RoundTrip(floor_s=0.02)
    for _ in range(50):
        trip.measured(0.0001)
    assert trip.timeout_s == 0.02


def test_first_measurement_as_in_rfc_6298():
    trip = RoundTrip(floor_s=0.0)
    trip.measured(0.1)
    assert trip.timeout_s == pytest.approx(0.1 + 4 * 0.05)
    trip.measured(0.2)
    deviation = 0.75 * 0.05 + 0.25 * 0.1
    assert trip.timeout_s == pytest.approx(0.875 * 0.1 + 0.125 * 0.2 + 4 * deviation)
