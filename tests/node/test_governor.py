"""The governor against the Raspberry Pi's documented behaviour."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError, DataError
from node.governor import PI3B_PLUS, PI4B, PI5, POLICIES, Governor, ThrottleFlag

ALL = sorted(POLICIES)
TEMPERATURES = st.floats(-40.0, 130.0)


class NotedActuator:
    """Writes down the ratios it is given."""

    name = "noted"

    def __init__(self) -> None:
        self.ratios: list[float] = []

    def limit(self, clock_ratio: float) -> None:
        self.ratios.append(clock_ratio)

    def worked(self, busy_s: float) -> float:
        return 0.0

    def close(self) -> None:
        pass


def governor(policy=PI4B) -> Governor:
    return Governor(policy, NotedActuator())


# ---- the flags ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "names"),
    [
        (0x50000, ["HAS_BEEN_UNDER_VOLTAGE", "HAS_BEEN_THROTTLED"]),
        (0x80008, ["SOFT_LIMIT", "HAS_BEEN_SOFT_LIMIT"]),
        (0xE0008, ["SOFT_LIMIT", "HAS_BEEN_CAPPED", "HAS_BEEN_THROTTLED", "HAS_BEEN_SOFT_LIMIT"]),
        (0x50005, ["UNDER_VOLTAGE", "THROTTLED", "HAS_BEEN_UNDER_VOLTAGE", "HAS_BEEN_THROTTLED"]),
        (0x0, []),
    ],
)
def test_words_seen_on_boards_decode_as_documented(word, names):
    assert [flag.name for flag in ThrottleFlag(word)] == names


def test_the_bits_have_the_documented_numbers():
    numbers = {flag.name: int(flag).bit_length() - 1 for flag in ThrottleFlag}
    assert numbers == {
        "UNDER_VOLTAGE": 0,
        "CAPPED": 1,
        "THROTTLED": 2,
        "SOFT_LIMIT": 3,
        "HAS_BEEN_UNDER_VOLTAGE": 16,
        "HAS_BEEN_CAPPED": 17,
        "HAS_BEEN_THROTTLED": 18,
        "HAS_BEEN_SOFT_LIMIT": 19,
    }


def test_an_under_voltage_that_is_over_leaves_0x50000():
    board = governor()
    board.update(45.0, under_voltage=True)
    assert (int(board.flags), board.clock_mhz) == (0x50005, 600)
    board.update(45.0)
    assert (int(board.flags), board.clock_mhz) == (0x50000, 1500)


def test_a_3b_plus_above_its_soft_limit_shows_0x80008_and_1200_mhz():
    board = governor(PI3B_PLUS)
    board.update(59.9)
    assert (int(board.flags), board.clock_mhz) == (0, 1400)
    board.update(65.0)
    assert (int(board.flags), board.clock_mhz) == (0x80008, 1200)


def test_a_3b_plus_back_from_the_hard_limit_shows_0xe0008():
    board = governor(PI3B_PLUS)
    for temperature_c in (65.0, 82.0, 85.0, 78.0):
        board.update(temperature_c)
    assert int(board.flags) == 0xE0008


def test_sticky_bits_outlast_the_cause_and_end_with_a_reset():
    board = governor()
    board.update(82.0)
    assert int(board.flags) == 0x20002
    board.update(86.0)
    assert int(board.flags) == 0x60004
    board.update(20.0)
    assert int(board.flags) == 0x60000
    board.reset()
    assert (int(board.flags), board.clock_ratio) == (0, 1.0)


@given(st.lists(TEMPERATURES, min_size=1, max_size=30), st.sampled_from(ALL))
def test_every_current_bit_has_its_sticky_twin_and_none_is_lost(path, name):
    board, seen = governor(POLICIES[name]), 0
    for temperature_c in path:
        board.update(temperature_c)
        word = int(board.flags)
        seen |= word & 0xF
        assert word >> 16 == seen


# ---- the clock ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature_c", "clock_mhz"),
    [(79.9, 1500), (80.0, 1000), (82.4, 1000), (82.5, 750), (84.9, 750), (85.0, 600), (120.0, 600)],
)
def test_a_4b_takes_its_four_clocks_between_80_and_85(temperature_c, clock_mhz):
    board = governor()
    board.update(temperature_c)
    assert board.clock_mhz == clock_mhz
    assert board.clock_ratio == clock_mhz / 1500


@pytest.mark.parametrize("name", ALL)
def test_every_policy_uses_each_of_its_clocks_and_starts_and_ends_where_documented(name):
    policy = POLICIES[name]
    board, clocks = governor(policy), []
    for tenth in range(200, 900):
        board.update(tenth / 10)
        clocks.append(board.clock_mhz)
    assert tuple(dict.fromkeys(clocks)) == policy.clocks_mhz
    board.reset()
    board.update(79.99)
    assert not board.flags & (ThrottleFlag.CAPPED | ThrottleFlag.THROTTLED)
    board.update(85.0)
    assert board.clock_mhz == policy.clocks_mhz[-1]


def test_a_5_goes_down_in_steps_of_100_mhz():
    assert PI5.clocks_mhz == (2400, 2300, 2200, 2100, 2000, 1900, 1800, 1700, 1600, 1500)


@given(TEMPERATURES, TEMPERATURES, st.sampled_from(ALL))
def test_hotter_is_never_faster(a, b, name):
    cool, hot = governor(POLICIES[name]), governor(POLICIES[name])
    cool.update(min(a, b))
    hot.update(max(a, b))
    assert 0 < hot.clock_ratio <= cool.clock_ratio <= 1


@given(st.lists(TEMPERATURES, max_size=20), TEMPERATURES, TEMPERATURES, st.sampled_from(ALL))
def test_from_any_past_hotter_is_never_faster(past, a, b, name):
    cool, hot = governor(POLICIES[name]), governor(POLICIES[name])
    for temperature_c in past:
        cool.update(temperature_c)
        hot.update(temperature_c)
    cool.update(min(a, b))
    hot.update(max(a, b))
    assert hot.clock_ratio <= cool.clock_ratio


@given(st.lists(TEMPERATURES, max_size=20), TEMPERATURES, st.sampled_from(ALL))
def test_the_past_matters_only_within_the_hysteresis(past, temperature_c, name):
    policy = POLICIES[name]
    board, warmer, fresh = governor(policy), governor(policy), governor(policy)
    for each in past:
        board.update(each)
    board.update(temperature_c)
    fresh.update(temperature_c)
    warmer.update(temperature_c + policy.hysteresis_k)
    assert warmer.clock_ratio <= board.clock_ratio <= fresh.clock_ratio


def test_a_temperature_trembling_on_a_limit_changes_the_clock_once():
    board = governor()
    clocks = []
    for turn in range(40):
        board.update(80.0 + (0.2 if turn % 2 else -0.2))
        clocks.append(board.clock_mhz)
    assert clocks[:2] == [1500, 1000]
    assert set(clocks[1:]) == {1000}
    board.update(80.0 - PI4B.hysteresis_k - 0.01)
    assert board.clock_mhz == 1500


def test_the_soft_limit_has_the_same_hysteresis():
    board = governor(PI3B_PLUS)
    clocks = []
    for temperature_c in (60.0, 59.6, 59.4, 59.9, 60.0):
        board.update(temperature_c)
        clocks.append(board.clock_mhz)
    assert clocks == [1200, 1200, 1400, 1400, 1200]


def test_the_actuator_hears_each_ratio():
    board = governor()
    for temperature_c in (70.0, 81.0, 83.0, 90.0):
        board.update(temperature_c)
    assert board.actuator.ratios == [1.0, 1.0, 1000 / 1500, 0.5, 0.4]


# ---- limits and bad input -------------------------------------------------------------------------------------


def test_limits_can_be_lowered_and_act_at_once():
    board = governor()
    board.update(70.0)
    board.set_limits(60.0, 65.0)
    assert board.clock_mhz == 600
    assert int(board.flags) == 0x40004
    board.set_limits(80.0, 85.0)
    assert board.clock_mhz == 1500
    assert int(board.flags) == 0x40000


def test_limits_outlast_a_reset():
    board = governor()
    board.set_limits(60.0, 65.0)
    board.reset()
    board.update(66.0)
    assert board.clock_mhz == 600


@pytest.mark.parametrize(
    "limits", [(81.0, 85.0), (80.0, 86.0), (70.0, 70.0), (75.0, 70.0), (math.nan, 85.0), (70.0, math.nan)]
)
def test_limits_that_a_board_refuses_change_nothing(limits):
    board = governor()
    with pytest.raises(ConfigError):
        board.set_limits(*limits)
    board.update(79.0)
    assert board.clock_mhz == 1500


@pytest.mark.parametrize("temperature_c", [math.nan, math.inf, -math.inf, -300.0])
def test_a_temperature_that_is_none_is_refused_and_changes_nothing(temperature_c):
    board = governor()
    board.update(83.0)
    with pytest.raises(DataError, match="finite"):
        board.update(temperature_c)
    assert board.clock_mhz == 750


@pytest.mark.parametrize(
    "change",
    [
        {"clocks_mhz": (1500,)},
        {"clocks_mhz": (600, 1500)},
        {"clocks_mhz": (1500, 0)},
        {"throttle_c": 85.0},
        {"hard_c": math.inf},
        {"soft_limit_c": 60.0},
        {"soft_limit_mhz": 1200.0},
        {"hysteresis_k": -1.0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(change):
    with pytest.raises(ConfigError, match="pi4b"):
        replace(PI4B, **change)
