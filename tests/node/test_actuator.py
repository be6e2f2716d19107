"""Actuators: pauses in proportion, clocks set and put back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.errors import ConfigError
from node.actuator import (
    MAX_CREDIT_S,
    MIN_PAUSE_S,
    CpufreqActuator,
    PauseActuator,
    choose_actuator,
)


class FakeTime:
    """A clock that only work and sleeps move; each sleep takes ``overshoot_s`` longer than asked."""

    def __init__(self, overshoot_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.overshoot_s = overshoot_s
        self.sleeps: list[float] = []

    def sleep(self, period_s: float) -> None:
        self.sleeps.append(period_s)
        self.now_s += period_s + self.overshoot_s

    def clock(self) -> float:
        return self.now_s

    def work(self, actuator: PauseActuator, busy_s: float) -> float:
        self.now_s += busy_s
        return actuator.worked(busy_s)


def pauses(time: FakeTime, clock_ratio: float) -> PauseActuator:
    actuator = PauseActuator(time.sleep, time.clock)
    actuator.limit(clock_ratio)
    return actuator


def test_what_is_owed_is_paused_at_the_next_operator():
    time = FakeTime()
    actuator = pauses(time, 0.4)
    assert actuator.owe(0.010) == pytest.approx(0.015)
    assert time.sleeps == []
    time.work(actuator, 0.002)
    assert time.sleeps == [pytest.approx(0.015 + 0.003)]
    actuator.limit(1.0)
    assert actuator.owe(0.010) == 0.0


# ---- pauses ---------------------------------------------------------------------------------------------------


@given(
    st.floats(0.05, 1.0),
    st.lists(st.floats(1e-6, 5e-3), min_size=1, max_size=200),
    st.sampled_from([0.0, 60e-6, 1e-3]),
)
def test_work_is_stretched_by_the_inverse_ratio(clock_ratio, pieces, overshoot_s):
    time = FakeTime(overshoot_s)
    actuator = pauses(time, clock_ratio)
    for busy_s in pieces:
        time.work(actuator, busy_s)
    wanted_s = sum(pieces) / clock_ratio
    assert abs(time.now_s - wanted_s) <= MIN_PAUSE_S + overshoot_s + 1e-9


def test_full_clock_never_pauses():
    time = FakeTime()
    actuator = pauses(time, 1.0)
    assert [time.work(actuator, 1.0) for _ in range(5)] == [0.0] * 5
    assert time.sleeps == []


def test_small_debts_are_saved_up_until_a_pause_is_worth_it():
    time = FakeTime()
    actuator = pauses(time, 0.5)
    given_s = [time.work(actuator, 30e-6) for _ in range(14)]
    assert given_s[:6] == [0.0] * 6
    assert given_s[6] == pytest.approx(210e-6)
    assert len(time.sleeps) == 2
    assert min(time.sleeps) >= MIN_PAUSE_S


def test_a_debt_is_paid_after_the_limit_is_lifted():
    time = FakeTime()
    actuator = pauses(time, 0.5)
    time.work(actuator, 150e-6)
    actuator.limit(0.25)
    assert time.work(actuator, 50e-6) == pytest.approx(150e-6 + 3 * 50e-6)


def test_a_very_long_sleep_is_not_paid_back_for_ever():
    time = FakeTime(overshoot_s=10.0)
    actuator = pauses(time, 0.5)
    time.work(actuator, 1e-3)
    time.overshoot_s = 0.0
    time.work(actuator, MAX_CREDIT_S)
    assert len(time.sleeps) == 1
    time.work(actuator, 1e-3)
    assert len(time.sleeps) == 2


def test_close_forgets_the_debt():
    time = FakeTime()
    actuator = pauses(time, 0.5)
    time.work(actuator, 150e-6)
    actuator.close()
    assert time.work(actuator, 100e-6) == 0.0


@pytest.mark.parametrize("clock_ratio", [0.0, -0.1, 1.01, float("nan")])
def test_a_ratio_that_is_no_share_is_refused(clock_ratio):
    with pytest.raises(ConfigError, match="clock ratio"):
        PauseActuator().limit(clock_ratio)


# ---- clocks ---------------------------------------------------------------------------------------------------


def board(root: Path, *, domains: int = 2, model: bytes = b"Raspberry Pi 4 Model B Rev 1.4\0") -> list[Path]:
    """Lay down the files of a board; give the limit files."""
    files = []
    for number in range(domains):
        domain = root / f"sys/devices/system/cpu/cpufreq/policy{4 * number}"
        domain.mkdir(parents=True)
        (domain / "cpuinfo_min_freq").write_text("600000\n")
        (domain / "cpuinfo_max_freq").write_text("1500000\n")
        (domain / "scaling_max_freq").write_text("1400000\n")
        files.append(domain / "scaling_max_freq")
    tree = root / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(model)
    return files


def test_every_domain_is_set_and_put_back(tmp_path):
    files = board(tmp_path)
    with CpufreqActuator(tmp_path) as actuator:
        assert [file.read_text() for file in files] == ["1400000\n"] * 2
        actuator.limit(0.5)
        assert [file.read_text() for file in files] == ["750000\n"] * 2
        assert actuator.worked(1.0) == 0.0
    assert [file.read_text() for file in files] == ["1400000\n"] * 2


def test_no_domain_is_set_below_its_lowest_clock(tmp_path):
    (file,) = board(tmp_path, domains=1)
    with CpufreqActuator(tmp_path) as actuator:
        actuator.limit(0.1)
        assert file.read_text() == "600000\n"


def test_the_same_ratio_again_writes_nothing(tmp_path):
    (file,) = board(tmp_path, domains=1)
    actuator = CpufreqActuator(tmp_path)
    actuator.limit(0.5)
    file.write_text("touched by somebody\n")
    actuator.limit(0.5)
    assert file.read_text() == "touched by somebody\n"
    actuator.limit(0.4)
    assert file.read_text() == "600000\n"


def test_ratios_do_not_compound_after_a_kill(tmp_path):
    (file,) = board(tmp_path, domains=1)
    CpufreqActuator(tmp_path).limit(0.5)
    CpufreqActuator(tmp_path).limit(0.5)
    assert file.read_text() == "750000\n"


# ---- the choice -----------------------------------------------------------------------------------------------


def test_a_raspberry_pi_sets_its_clock_by_itself(tmp_path):
    board(tmp_path)
    assert choose_actuator(tmp_path).name == "cpufreq"


def test_a_raspberry_pi_told_not_to_pauses(tmp_path):
    board(tmp_path)
    assert choose_actuator(tmp_path, cpufreq=False).name == "pause"


def test_another_computer_is_left_alone_unless_asked(tmp_path):
    files = board(tmp_path, model=b"Somebody's workstation")
    assert choose_actuator(tmp_path).name == "pause"
    assert choose_actuator(tmp_path, cpufreq=True).name == "cpufreq"
    assert files[0].read_text() == "1400000\n"


def test_an_empty_system_pauses_and_says_why_it_cannot_do_more(tmp_path):
    assert choose_actuator(tmp_path).name == "pause"
    with pytest.raises(ConfigError, match="no clock"):
        choose_actuator(tmp_path, cpufreq=True)


def test_a_clock_that_cannot_be_written_falls_back_or_is_an_error_when_asked_for(tmp_path):
    for file in board(tmp_path):
        file.unlink()
        file.mkdir()
    assert choose_actuator(tmp_path).name == "pause"
    with pytest.raises(ConfigError, match=r"scaling_max_freq.*start as root"):
        choose_actuator(tmp_path, cpufreq=True)
