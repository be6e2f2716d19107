"""The summary: counts, limits, costs and exposure from rows alone."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats

from firmware_bridge.errors import ConfigError, DataError
from hil.campaign.outcome import Outcome
from hil.campaign.record import AttemptRow, TrialRow
from hil.campaign.store import ROWS_FILE
from hil.report.answer import answer
from hil.report.costs import spread_of
from hil.report.summary import Summary, summarise
from tests.hil.synthetic_results import CHECK, CHECKPOINT, fault, header, heat, link, task, timing, trial, write


def _run(tmp_path: Path, *rows: object, tasks: tuple = (), **changes: object) -> Summary:
    return summarise(write(tmp_path / "run", header(*tasks, **changes), *rows))


@pytest.mark.parametrize(("failures", "trials"), [(0, 1), (0, 1000), (3, 40), (40, 40), (1, 300)])
def test_limits_are_scipys(tmp_path: Path, failures: int, trials: int) -> None:
    rows = [trial("none", number, "SDC_CRITICAL" if number < failures else "MASKED") for number in range(trials)]
    [none] = _run(tmp_path, *rows, trials=trials).tasks
    exact = stats.binomtest(failures, trials).proportion_ci(0.95, method="exact")
    for name in ("failure", "sdc", "SDC_CRITICAL"):
        assert none.estimates[name].low == pytest.approx(exact.low, abs=1e-12)
        assert none.estimates[name].high == pytest.approx(exact.high, rel=1e-9)
        assert none.estimates[name].best == failures / trials
    assert none.failures == failures


def test_each_outcome_counts_where_it_belongs(tmp_path: Path) -> None:
    rows = [trial("none", number, outcome.value) for number, outcome in enumerate(Outcome)]
    [none] = _run(tmp_path, *rows).tasks
    assert all(none.outcomes[outcome] == 1 for outcome in Outcome)
    assert none.failures == 7
    assert none.estimates["failure"].best == pytest.approx(7 / 9)
    assert none.estimates["sdc"].best == pytest.approx(2 / 9)


def test_zero_events_still_have_an_upper_limit(tmp_path: Path) -> None:
    [none] = _run(tmp_path, *(trial("none", number) for number in range(50))).tasks
    assert none.failure is not None
    assert none.failure.low == none.failure.best == 0.0
    assert none.failure.high == pytest.approx(1 - 0.025 ** (1 / 50))


def test_the_first_row_of_a_trial_counts(tmp_path: Path) -> None:
    rows = (trial("none", 0, "CRASH"), trial("none", 0, "MASKED"), trial("none", 1))
    [none] = _run(tmp_path, *rows).tasks
    assert (none.trials, none.outcomes[Outcome.CRASH], none.outcomes[Outcome.MASKED]) == (2, 1, 1)
    assert none.exposure.faults == 2


def test_rows_beyond_the_trials_asked_for_are_left_out(tmp_path: Path) -> None:
    summary = _run(tmp_path, *(trial("none", number, "DUE") for number in range(9)), trials=4)
    assert summary.tasks[0].trials == 4
    assert summary.complete


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    directory = write(tmp_path, header(), trial("none", 0), trial("none", 1, "DUE"))
    path = directory / ROWS_FILE
    whole = path.read_bytes()
    for cut in (1, 17, len(whole.splitlines()[-1])):
        path.write_bytes(whole[:-cut])
        [none] = summarise(directory).tasks
        assert (none.trials, none.failures) == (1, 0)


def test_an_empty_run_has_no_estimates_and_is_not_complete(tmp_path: Path) -> None:
    summary = _run(tmp_path)
    assert summary.tasks[0].failure is None
    assert summary.tasks[0].estimates == {}
    assert summary.noise_floor is None
    assert not summary.complete


def test_the_noise_floor_is_the_upper_limit_of_the_null_control(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("quiet", "null"))
    rows = [
        trial(name, number, "DUE" if name == "none" else "MASKED") for name in ("none", "quiet") for number in (0, 1)
    ]
    summary = _run(tmp_path, *rows, tasks=tasks)
    assert summary.noise_floor == pytest.approx(1 - 0.025 ** (1 / 2))


def test_failures_per_day_span_the_rate_and_the_interval(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("hsiao_72_64"), task("null", "null"))
    rows = [trial(record.name, number, "DUE" if number < 5 else "MASKED") for record in tasks for number in range(20)]
    rates = (1e-8, 1e-7, 5e-7)
    none, hsiao, null = _run(tmp_path, *rows, tasks=tasks, rate_per_bit_day=rates).tasks
    bits = 8 * (7424 + 2048)
    exact = stats.binomtest(5, 20).proportion_ci(0.95, method="exact")
    for protected in (none, hsiao):
        assert protected.failures_per_day is not None
        assert protected.failures_per_day.low == pytest.approx(1e-8 * bits * exact.low)
        assert protected.failures_per_day.best == pytest.approx(1e-7 * bits * 0.25)
        assert protected.failures_per_day.high == pytest.approx(5e-7 * bits * exact.high)
    assert null.failures_per_day is None


def test_without_a_rate_nothing_is_per_day(tmp_path: Path) -> None:
    assert _run(tmp_path, trial("none", 0)).tasks[0].failures_per_day is None


def test_exposure_counts_the_struck_bits_of_both_kinds(tmp_path: Path) -> None:
    exposure = _run(tmp_path, tasks=(task("x", own=(CHECK, CHECKPOINT)),)).tasks[0].exposure
    assert exposure.shared_bits == 8 * (7424 + 2048)
    assert exposure.own_bits == 8 * (928 + 14848)
    assert exposure.mean_strikes == pytest.approx(1 + (928 + 14848) / (7424 + 2048))


def test_pairs_are_strikes_on_the_shared_cells(tmp_path: Path) -> None:
    """Trial 8 fails by a strike on check bits alone, which ``none`` has not: the pair is the shared strike."""
    tasks = (task("none", "none"), task("parity", own=(CHECK,)))
    rows = [trial("none", number, "SDC_CRITICAL" if number < 6 else "MASKED") for number in range(10)]
    rows += [trial("parity", number, "MASKED") for number in range(8)]
    rows.append(with_added(8))
    none, parity = _run(tmp_path, *rows, tasks=tasks).tasks
    assert none.paired is None
    assert parity.paired is not None
    assert (parity.paired.trials, parity.paired.only_first, parity.paired.only_second) == (9, 0, 6)
    difference = parity.paired.difference()
    assert difference.best == pytest.approx(-6 / 9)
    assert parity.paired.p_value() == pytest.approx(stats.binomtest(0, 6).pvalue)


def with_added(number: int) -> TrialRow:
    faults = (fault(), msgspec.structs.replace(fault("check.weights", 3), strike=99))
    row = trial("parity", number, "DUE", strikes=(f"{number}:0", f"{number}:99"), faults=faults)
    return msgspec.structs.replace(row, strike_outcomes=("MASKED", "DUE"))


def test_rates_add_up_shared_and_added_strikes(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("parity", own=(CHECK,)))
    rows = [trial("parity", number, "MASKED") for number in range(8)] + [with_added(8), with_added(9)]
    _, parity = _run(tmp_path, *rows, tasks=tasks).tasks
    added = 928 / (7424 + 2048)
    shared = stats.binomtest(0, 10).proportion_ci(0.975, method="exact")
    seen = stats.binomtest(2, 2).proportion_ci(0.975, method="exact")
    assert parity.failures == 2
    assert parity.failure is not None
    assert parity.failure.best == pytest.approx(added)
    assert parity.failure.low == pytest.approx(shared.low + added * seen.low)
    assert parity.failure.high == pytest.approx(shared.high + added * seen.high)


def test_the_map_blames_the_strike_that_failed(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("parity", own=(CHECK,)))
    _, parity = _run(tmp_path, with_added(8), tasks=tasks).tasks
    failed = {row.region: sum(row.failed) for row in parity.map_rows}
    assert failed == {"weights": 0, "check.weights": 1}


def test_times_are_medians_over_trials_that_delivered_all(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("slow"))
    draw = random.Random(1)
    none_us = [draw.randrange(700, 900) for _ in range(31)]
    rows = [trial("none", number, timing=timing(elapsed_us=value)) for number, value in enumerate(none_us)]
    rows.append(trial("none", 60, "DUE", withheld=(3,), timing=timing(elapsed_us=5)))
    rows.append(trial("none", 61, "CRASH", timing=None))
    rows += [trial("slow", number, timing=timing(elapsed_us=1200)) for number in range(3)]
    none, slow = (record.costs for record in _run(tmp_path, *rows, tasks=tasks).tasks)
    assert none.time_per_inference_us is not None
    expected = np.percentile(np.array(none_us) / 8, [25, 50, 75])
    found = none.time_per_inference_us
    assert [found.first_quartile, found.median, found.third_quartile] == pytest.approx(expected)
    assert none.timed_trials == 32
    assert none.relative_time == 0.0
    assert slow.relative_time == pytest.approx(150 / expected[1] - 1)


def test_checkpoint_times_are_per_save_and_per_rollback(tmp_path: Path) -> None:
    last = timing(save_us=600, verify_us=90, restore_us=500)
    rows = (
        trial("c", 0, saves=2, timing=timing(elapsed_us=4000, save_us=1000, verify_us=200)),
        trial("c", 1, saves=3, timing=timing(elapsed_us=4000, save_us=1800, verify_us=330)),
        trial("c", 2, saves=1, rollbacks=2, lost_inferences=6, timing=last),
    )
    costs = _run(tmp_path, *rows, tasks=(task("c", own=(CHECK, CHECKPOINT)),)).tasks[0].costs
    assert costs.save_us is not None
    assert costs.verify_us is not None
    assert costs.restore_us is not None
    assert (costs.save_us.median, costs.verify_us.median, costs.restore_us.median) == (600, 100, 250)
    assert (costs.saves, costs.rollbacks, costs.lost_inferences, costs.lost_per_rollback) == (6, 2, 6, 3.0)
    assert costs.protection_share is not None
    assert costs.protection_share.median == pytest.approx((80 + 1800 + 330) / 4000)


def test_memory_and_storage_are_kept_apart(tmp_path: Path) -> None:
    memory = _run(tmp_path, tasks=(task("x", own=(CHECK, CHECKPOINT)),)).tasks[0].costs.memory
    assert (memory.shared_bytes, memory.own_bytes, memory.storage_bytes) == (9984, 928, 14848)
    assert memory.overhead == pytest.approx(928 / 9984)


def test_what_was_never_measured_is_none(tmp_path: Path) -> None:
    costs = _run(tmp_path, trial("none", 0, "CRASH", timing=None)).tasks[0].costs
    assert costs.time_per_inference_us is costs.relative_time is costs.save_us is costs.clock_mhz is None
    assert costs.lost_per_rollback is None


def test_a_hot_task_says_so(tmp_path: Path) -> None:
    tasks = (task("a"), task("b", temperature_c=83.0), task("c", temperature_c=70.0))
    rows = (trial("b", 0, timing=timing(throttled=0xE000E)), trial("c", 0, timing=timing(throttled=0xE0000)))
    labels = [record.label for record in _run(tmp_path, *rows, tasks=tasks).tasks]
    assert labels == ["a", "b (while throttled, 83\N{NO-BREAK SPACE}°C)", "c (70\N{NO-BREAK SPACE}°C)"]


def test_throttling_changes_no_outcome(tmp_path: Path) -> None:
    def summary(name: str, flags: int) -> Summary:
        rows = [trial("none", n, "DUE" if n < 3 else "MASKED", timing=timing(throttled=flags)) for n in range(9)]
        return _run(tmp_path / name, *rows)

    cool, hot = summary("cool", 0), summary("hot", 0x4)
    assert cool.tasks[0].estimates == hot.tasks[0].estimates
    assert (cool.tasks[0].costs.throttled_trials, hot.tasks[0].costs.throttled_trials) == (0, 9)


@pytest.mark.parametrize(("flags", "slowed"), [(0x2, True), (0x4, True), (0x8, True), (0x1, True), (0xF0000, False)])
def test_real_throttling_takes_the_times_out_and_no_outcome(tmp_path: Path, flags: int, slowed: bool) -> None:
    hot = timing(elapsed_us=80_000, save_us=900, board_throttled=flags, board_mhz=600.0)
    rows = [trial("none", n) for n in range(3)]
    rows += [trial("none", n, "SDC_CRITICAL", saves=1, timing=hot) for n in range(3, 9)]
    summary = _run(tmp_path, *rows)
    (task_summary,) = summary.tasks
    costs = task_summary.costs
    assert task_summary.outcomes[Outcome.SDC_CRITICAL] == 6
    assert (costs.untimed_trials, costs.timed_trials, costs.saves) == ((6, 3, 6) if slowed else (0, 9, 6))
    assert costs.time_per_inference_us is not None
    assert costs.time_per_inference_us.median == (100.0 if slowed else 10_000.0)
    assert (costs.save_us is None) == slowed
    warning = "none: the board itself throttled in 6 trials; their times are left out, their outcomes count."
    assert (warning in answer(summary).warnings) == slowed


def test_other_rows_are_kept_in_order(tmp_path: Path) -> None:
    attempt = AttemptRow(protection="none", trial=3, reason="link lost")
    summary = _run(tmp_path, heat(0, 61.0), attempt, link(), heat(1, 62.0))
    assert summary.attempts == (attempt,)
    assert [row.temperature_c for row in summary.heat] == [61.0, 62.0]
    assert summary.links == (link(),)


def test_alarms_add_up_and_their_answers_are_timed(tmp_path: Path) -> None:
    rows = (
        trial("c", 0, alarms=2, recomputed_steps=3, timing=timing(elapsed_us=1000, protect_us=0, respond_us=100)),
        trial("c", 1),
        trial("c", 2, alarms=1, recomputed_steps=8),
    )
    costs = _run(tmp_path, *rows, tasks=(task("c"),)).tasks[0].costs
    assert (costs.alarms, costs.recomputed_steps) == (3, 11)
    assert costs.respond_us is not None
    assert (costs.respond_us.n, costs.respond_us.median) == (1, 50.0)
    assert costs.protection_share is not None
    assert costs.protection_share.median == pytest.approx(0.1)


def test_reloads_add_up(tmp_path: Path) -> None:
    assert _run(tmp_path, trial("none", 0, reloads=2), trial("none", 1, reloads=1)).tasks[0].costs.reloads == 3


def test_a_row_that_fits_no_task_or_outcome_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'tmr', which this run has not"):
        _run(tmp_path / "a", trial("tmr", 0))
    with pytest.raises(DataError, match="outcome 'FINE' is none of MASKED"):
        _run(tmp_path / "b", trial("none", 0, "FINE"))
    with pytest.raises(ConfigError, match="give the directory of a run"):
        summarise(tmp_path / "nowhere")


def test_spread_of_little() -> None:
    assert spread_of([]) is None
    one = spread_of([4])
    assert one is not None
    assert (one.n, one.first_quartile, one.median, one.third_quartile) == (1, 4.0, 4.0, 4.0)
