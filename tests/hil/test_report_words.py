"""Words and pictures: the answer, the terminal table, numbers, scales."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hil.report.answer import answer
from hil.report.budget import Source, budget_of
from hil.report.charts import LogAxis, failure_axis, map_strip, outcome_bar, whisker
from hil.report.costs import Spread
from hil.report.numbers import (
    change_text,
    interval_text,
    list_text,
    microseconds_text,
    share_text,
    signed,
    significant,
    size_text,
    time_text,
)
from hil.report.summary import Summary, summarise
from hil.report.terminal import table
from hil.report.timeline import temperature_panel, throttled_share, time_labels
from hil.report.vulnerability import MapRow
from hil.stats.intervals import Estimate
from tests.hil.synthetic_results import CHECK, demo_like, header, heat, task, timing, trial, write


def _summary(tmp_path: Path, trials: int = 200, **failures: int) -> Summary:
    """Give a run in which each named protection failed so often; names of controls make controls."""
    controls = ("null", "none", "oracle", "restore")
    tasks = [task(name, name if name in controls else "") for name in failures]
    rows = [
        trial(name, number, "SDC_CRITICAL" if number < count else "MASKED")
        for name, count in failures.items()
        for number in range(trials)
    ]
    return summarise(write(tmp_path / "run", header(*tasks, trials=trials), *rows))


def test_a_clear_winner_is_named(tmp_path: Path) -> None:
    found = answer(_summary(tmp_path, none=100, parity=50, tmr=2, null=0, restore=0))
    assert found.sentence == "tmr failed least, in 2 of 200 trials; without protection 100 of 200 trials failed."
    assert found.warnings == ()


def test_overlapping_intervals_are_undecided(tmp_path: Path) -> None:
    found = answer(_summary(tmp_path, none=100, parity=3, tmr=2, null=0, restore=0))
    assert found.sentence == (
        "Undecided: tmr (2 of 200) and parity (3 of 200) failed least, and their intervals for a ranking overlap; "
        "without protection 100 of 200 trials failed."
    )


def test_nothing_told_apart_from_no_protection(tmp_path: Path) -> None:
    found = answer(_summary(tmp_path, none=3, tmr=2))
    assert (
        found.sentence
        == "Undecided: tmr (2 of 200) and none (3 of 200) trials failed, and all intervals for a ranking overlap."
    )


def test_the_unprotected_node_may_win(tmp_path: Path) -> None:
    found = answer(_summary(tmp_path, none=2, parity=90))
    assert found.sentence == "none failed least, in 2 of 200 trials; next comes parity with 90 of 200."


def test_controls_and_hot_tasks_take_no_part(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("hot", temperature_c=83.0), task("oracle", "oracle"))
    rows = [trial("none", number, "DUE") for number in (0, 1)]
    rows += [trial(name, number) for name in ("hot", "oracle") for number in (0, 1)]
    found = answer(summarise(write(tmp_path, header(*tasks, trials=2), *rows)))
    assert found.sentence == "none failed in 2 of 2 trials; there is nothing to compare it with."


def test_no_trial_no_answer(tmp_path: Path) -> None:
    assert answer(_summary(tmp_path, trials=0, none=0)).sentence == "No trial of a protection has been recorded yet."


@pytest.mark.parametrize("control", ["null", "restore"])
def test_a_control_that_fails_is_a_warning(tmp_path: Path, control: str) -> None:
    counts = {"none": 50, "null": 0, "restore": 0} | {control: 1}
    [warning] = answer(_summary(tmp_path, **counts)).warnings
    assert warning.startswith(f"The control {control} failed in 1 of 200 trials and must never fail")


def test_what_makes_figures_doubtful_is_said(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("hot", temperature_c=83.0))
    rows = [trial(name, 0, reloads=2, timing=timing(board_throttled=n)) for n, name in ((4, "none"), (0, "hot"))]
    warnings = answer(summarise(write(tmp_path, header(*tasks, trials=5), *rows))).warnings
    assert "The run is not complete: 2 of 10 trials are done." in warnings
    assert "none: memory was not pristine 2 times; it was reloaded." in warnings
    assert sum("throttled in 1 trials" in warning for warning in warnings) == 1


def test_the_table_fits_a_log_and_says_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = table(summarise(demo_like(tmp_path, 100, rate_per_bit_day=(1e-9, 1e-8, 1e-7))))
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    for words in ("hsiao_72_64", "null*", "per day", "below", "restore", "noise floor 36,200", "Not struck: steps"):
        assert words in text
    assert "Infrastructure attempts, run again: 1." in text
    names = [line for line in text.splitlines() if line.strip().startswith("hsiao_72_64 ")]
    assert len(names) == 3, "in outcomes, rates and costs: no name is squeezed"


def test_the_table_never_takes_names_for_markup(tmp_path: Path) -> None:
    text = table(_summary(tmp_path, **{"[red]x[/red]": 1}), Console(width=100))
    assert "[red]x[/red]" in text


def test_budget_tells_struck_from_present_and_unmodelled(tmp_path: Path) -> None:
    lines = budget_of(summarise(write(tmp_path, header(task("none", "none"), task("parity", own=(CHECK,))))))
    parts = {source: [line.part for line in lines if line.source == source.value] for source in Source}
    assert parts[Source.STRUCK] == ["weights", "activations", "check.weights"]
    assert parts[Source.PRESENT] == ["steps"]
    assert parts[Source.BEAM] == ["nothing"]
    assert "CPU registers other than accumulators, pipeline" in parts[Source.UNMODELLED]
    check = next(line for line in lines if line.part == "check.weights")
    assert (check.bits, check.own, check.whose) == (8 * 928, True, "own cells of parity")


@given(st.floats(1e-4, 9e11))
def test_rounding_keeps_three_digits(value: float) -> None:
    assert float(significant(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)


@given(st.floats(1e-3, 1e9))
def test_times_keep_their_size(value_us: float) -> None:
    number, unit = microseconds_text(value_us).split()
    scale = {"µs": 1.0, "ms": 1e3, "s": 1e6}[unit]
    assert float(number.replace(",", "")) * scale == pytest.approx(value_us, rel=5.1e-3)


def test_numbers_read_well() -> None:
    assert interval_text(None) == time_text(None) == share_text(None) == change_text(None) == "–"
    assert interval_text(Estimate(low=0, best=0, high=30_000)) == "0 (below 30,000)"
    assert time_text(Spread(n=3, first_quartile=1, median=1500, third_quartile=2000)) == "1.50 ms"
    assert (change_text(0.083), change_text(-0.05)) == ("+8.3 %", "−5.0 %")
    assert (size_text(0), size_text(2048), size_text(3 << 20)) == ("0 B", "2.00 KiB", "3.00 MiB")
    assert (signed(-1234), signed(0), signed(5)) == ("−1,230", "0", "+5.00")
    assert [list_text(list(names)) for names in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]


@given(st.lists(st.floats(1e-3, 1e6), min_size=2, max_size=5))
def test_a_larger_value_lies_further_right(values: list[float]) -> None:
    axis = LogAxis(low=-3, high=6)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0.0 <= place <= 1.0 for place in places)
    assert (axis.place(0.0), axis.place(1e-3), axis.place(1e6)) == (0.0, 0.0, 1.0)


def test_the_axis_holds_every_limit(tmp_path: Path) -> None:
    summary = _summary(tmp_path, none=200, tmr=1, null=0)
    axis = failure_axis(summary)
    for found in summary.tasks:
        assert found.failure is not None
        limits = [limit for limit in (found.failure.low, found.failure.high) if limit > 0]
        assert 10.0**axis.low <= 1e6 * min(limits) <= 1e6 * max(limits) <= 10.0**axis.high


def test_a_bar_shares_its_width_among_the_outcomes(tmp_path: Path) -> None:
    [none] = _summary(tmp_path, none=50).tasks
    markup = outcome_bar(none)
    assert 'x="0%" width="25%"' in markup
    assert 'x="25%" width="75%"' in markup
    assert markup.count("<rect") == 2


def test_no_event_has_no_dot(tmp_path: Path) -> None:
    none, null = _summary(tmp_path, none=50, null=0).tasks
    axis = LogAxis(low=3, high=6)
    assert whisker(none, axis, 0.01).count("<circle") == 1
    assert whisker(null, axis, None).count("<circle") == 0
    assert 'class="floor"' not in whisker(none, axis, None)


def test_the_map_puts_the_most_significant_bit_first_and_leaves_the_unstruck_blank() -> None:
    blank = (0,) * 6
    row = MapRow(region="weights", place="w", layer="", struck=(5, *blank, 20), failed=(0, *blank, 20))
    markup = map_strip(row)
    assert markup.count('class="struck"') == 2
    assert markup.index("20/20") < markup.index("0/5")
    assert "bit 7: 20 of 20 strikes failed (100.0 %)" in markup


def test_the_timeline_shades_what_was_throttled() -> None:
    flags = [0, 4, 4, 0xE0000, 2, 0]
    rows = [heat(second, 60.0 + second, throttled=flag) for second, flag in enumerate(flags)]
    markup = temperature_panel(rows)
    assert markup.count('class="throttled"') == 2
    assert 'x="20%" width="40%"' in markup
    assert 'x="80%" width="20%"' in markup
    assert "throttles 80 °C" in markup
    assert "fully 85 °C" in markup
    assert throttled_share(rows) == 0.5
    assert throttled_share([]) == 0.0
    assert "4 s" in time_labels(rows)
