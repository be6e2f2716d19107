"""When a wait is tried without sleeping: against waits of scripted lengths, without a clock."""

from itertools import cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.waiting import LONGEST_TRY_S, ShortWaits

LENGTHS = st.lists(st.sampled_from([2e-6, 20e-6, 45e-6, 60e-6, 250e-6, 5e-3]), max_size=400)


class Waiter:
    """Waits for as long as the script says, as a channel does, and counts."""

    def __init__(self, waits):
        self.waits = waits
        self.found = self.vain = 0
        self.vain_s = 0.0

    def wait(self, length_s, stolen_s=0.0):
        """One wait of that length; ``stolen_s`` of a try go to somebody else's work."""
        try_s = self.waits.try_s
        if try_s:
            took_s = min(length_s, try_s) + stolen_s
            found = length_s <= took_s
            self.waits.tried(took_s, found=found)
            self.found += found
            self.vain += not found
            self.vain_s += 0.0 if found else took_s
            if found:
                return
        self.waits.slept(length_s)


@given(LENGTHS)
def test_no_try_is_long_and_few_are_in_vain(lengths):
    waiter = Waiter(ShortWaits())
    for length_s in lengths:
        assert 0.0 <= waiter.waits.try_s <= LONGEST_TRY_S
        waiter.wait(length_s)
    assert waiter.vain <= 1 + len(lengths) / 4
    assert waiter.vain_s <= LONGEST_TRY_S * waiter.vain + 1e-12


@pytest.mark.parametrize("length_s", [1e-6, 15e-6, 49e-6])
def test_answers_that_always_come_soon_are_never_slept_for_again(length_s):
    waiter = Waiter(ShortWaits())
    for _ in range(100):
        waiter.wait(length_s)
    assert (waiter.found, waiter.vain) == (99, 0)


@pytest.mark.parametrize("length_s", [201e-6, 500e-6, 1.0])
def test_waits_that_are_not_short_are_slept_through(length_s):
    """The gaps between the frames of a UART, and a line that is idle."""
    waiter = Waiter(ShortWaits())
    for _ in range(100):
        waiter.wait(length_s)
    assert (waiter.found, waiter.vain) == (0, 0)


def test_tries_die_out_where_others_take_the_processor():
    """Short as long as one sleeps, but a try hands the processor to somebody who keeps it."""
    waiter = Waiter(ShortWaits())
    for _ in range(5000):
        try_s = waiter.waits.try_s
        waiter.wait(20e-6, stolen_s=3e-3 if try_s else 0.0)
    assert waiter.vain + waiter.found <= 8


def test_tries_die_out_where_each_burst_ends_in_a_pause():
    waiter = Waiter(ShortWaits())
    for length_s in islice(cycle([20e-6, 20e-6, 20e-6, 1e-3]), 4000):
        waiter.wait(length_s)
    assert waiter.vain <= 2


def test_they_come_back_when_the_line_is_quick_again():
    waiter = Waiter(ShortWaits())
    for _ in range(20):
        waiter.wait(20e-6)
        waiter.wait(1e-3)
    for _ in range(200):
        waiter.wait(20e-6)
    before = waiter.found
    for _ in range(100):
        waiter.wait(20e-6)
    assert waiter.found == before + 100


def test_nothing_is_tried_where_that_is_ruled_out():
    waiter = Waiter(ShortWaits(0.0))
    for length_s in (0.0, 1e-6, 1e-3) * 10:
        waiter.wait(length_s)
    assert waiter.found == waiter.vain == 0


def test_success_makes_up_for_what_was_in_vain():
    waiter = Waiter(ShortWaits())
    for _ in range(10_000):
        waiter.wait(20e-6, stolen_s=3e-3 if waiter.waits.try_s else 0.0)
    for _ in range(2 * 4096):
        waiter.wait(20e-6)
    waiter.wait(1.0)
    found = waiter.found
    for _ in range(5):
        waiter.wait(20e-6)
    assert waiter.found == found + 1
