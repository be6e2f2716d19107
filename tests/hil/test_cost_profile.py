"""The cost profile: a value, its file, and what it says about sizes between those that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.boards.cost_profile import cost_text, read_profile, write_profile
from hil.report.cost_table import cost_table
from tests.hil.profiles import cost, profile


@pytest.mark.parametrize("temperature_c", [51.5, None])
def test_a_profile_comes_back_equal_from_its_file(tmp_path: Path, temperature_c: float | None) -> None:
    held = profile(temperature_c=temperature_c)
    write_profile(held, tmp_path / "pi4.cost.toml")
    assert read_profile(tmp_path / "pi4.cost.toml") == held
    assert [path.name for path in tmp_path.iterdir()] == ["pi4.cost.toml"]


def test_times_between_the_measured_sizes_lie_on_a_line_and_beyond_in_proportion() -> None:
    held = profile(cost("scrub", 300.0, "tmr", 3000), cost("scrub", 100.0, "tmr", 1000), cost("inference", 70.0))
    assert [held.time_ns("scrub", "tmr", size) for size in (500, 1000, 2000, 3000, 6000)] == [50, 100, 200, 300, 600]
    assert held.time_ns("inference") == 70.0
    with pytest.raises(ConfigError, match="no scrub of parity: measure that board again"):
        held.time_ns("scrub", "parity", 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("format = 1", "format = 2"), "format 2; this version reads 1"),
        (("[board]", "[bord]"), "unknown key 'bord'; did you mean 'board'"),
        (('work = "encode"', 'work = "encod"'), "encod tmr: no such work; did you mean 'encode'"),
        (("median_ns = 100.0", "median_ns = 1000.0"), "not in rising order: measure again"),
        (("median_ns = 100.0", "median_ns = nan"), "median_ns = nan"),
        (("median_ns = 100.0", "median_ns = -1.0"), "median_ns = -1.0: expected float >= 0"),
        (("repeats = 9", ""), "repeats is missing"),
        (('crc_engine = "crcmod C"', ""), "crc_engine is missing"),
        (("weight_bytes = 15000", 'weight_bytes = "many"'), "expected int"),
        (("format = 1", "format = "), "not valid TOML"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "bad.cost.toml"
    text = cost_text(profile())
    assert change[0] in text
    path.write_text(text.replace(*change, 1))
    with pytest.raises(ConfigError) as refusal:
        read_profile(path)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith(f"{path}: ")
    assert str(refusal.value).count(str(path)) == 1


def test_a_file_that_is_missing_or_something_else_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="hil measure"):
        read_profile(tmp_path / "none.cost.toml")
    other = tmp_path / "campaign.toml"
    other.write_text("format = 1\n")
    with pytest.raises(ConfigError, match="board is missing: this is no cost profile; measure a board"):
        read_profile(other)
    with pytest.raises(ConfigError, match="cannot be written"):
        write_profile(profile(), tmp_path / "nowhere" / "a.cost.toml")


def test_the_table_shows_every_code_and_what_its_repair_adds() -> None:
    lines = [cost(work, 1000.0, "tmr", 64_000) for work in ("encode", "check", "scrub")]
    text = cost_table(profile(*lines, cost("correct", 3500.0, "tmr", 64_000), cost("inference", 15_500.0)))
    assert "tmr" in text
    assert "2.50 µs" in text  # correct minus scrub
    assert "64.0" in text  # GB/s
    assert "15.5 µs" in text
