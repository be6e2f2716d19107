"""Which protection to fly: each verdict from results made by hand, and one real trade from end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from markupsafe import escape

from firmware_bridge.errors import ConfigError
from hil.boards.cost_profile import CostProfile
from hil.campaign.record import TaskRecord
from hil.campaign.store import ROWS_FILE
from hil.campaign.trade import TradeFolders, TradeSettings
from hil.report.trade import FRESH, NO_PROFILE, Kind, Trade, day_of, trade_of
from hil.report.trade_page import write_trade
from hil.report.trade_table import trade_json, trade_table
from hil.strikes import preset
from node.protection import Protection
from tests.hil.profiles import cost, profile
from tests.hil.synthetic_results import header, task, trial, write

TRIALS = 500
RATE = (1e-9, 1e-8, 1e-7)
CLEAR = {"none": 200, "hsiao_72_64": 5, "tmr": 5}
SCRUB_US = {"parity": 5.0, "hsiao_72_64": 10.0, "tmr": 20.0}
Failures = Mapping[str, int]


def costs(**scrub_us: float) -> CostProfile:
    lines = [cost("scrub", 1e3 * us, code, 7424) for code, us in (SCRUB_US | scrub_us).items()]
    return profile(cost("inference", 1e6), *lines, digest="cd" * 32)


def folders(
    tmp_path: Path,
    runs: Mapping[str, Failures],
    *,
    fresh: Failures | None = None,
    trials: int = TRIALS,
    board: CostProfile | None = None,
    margin: float = 0.1,
    **head: object,
) -> TradeFolders:
    """Write runs in which so many trials of each protection fail, the last ones for the unprotected node."""
    paths = []
    for label, failures in runs.items():
        paths.append(_run(tmp_path / label, label, failures, trials, head))
    if fresh is not None:
        _run(paths[0] / "confirmation", next(iter(runs)), fresh, trials, head)
    settings = TradeSettings(fault_models=tuple(runs), margin=margin)
    return TradeFolders(directory=tmp_path, runs=tuple(paths), settings=settings, costs=board)


def _run(path: Path, label: str, failures: Failures, trials: int, head: dict) -> Path:
    tasks = [task(name, name if name in ("none", "null") else "") for name in failures]
    tasks = [replace_task(each) for each in tasks]
    if "null" not in failures:
        tasks.append(replace_task(task("null", "null")))
    rows = [
        trial(each.name, number, "SDC_CRITICAL" if number < failures.get(each.name, 0) else "MASKED")
        for each in tasks
        for number in range(trials)
    ]
    model = replace(preset("single_bit"), name=label).to_json()
    settings = {"rate_per_bit_day": RATE, "trials": trials, "fault_model": model} | head
    return write(path, header(*tasks, **settings), *rows)


def replace_task(record: TaskRecord) -> TaskRecord:
    code = record.name if record.name in ("parity", "hsiao_72_64", "tmr") else "none"
    return msgspec.structs.replace(record, protection=Protection(code=code).to_json())


def decided(tmp_path: Path, runs: Mapping[str, Failures], **settings: object) -> Trade:
    return trade_of(folders(tmp_path, runs, **settings))


def test_a_clear_winner_is_recommended_and_is_the_cheaper_of_equals(tmp_path: Path) -> None:
    found = decided(tmp_path, {"a": CLEAR, "b": CLEAR}, fresh=CLEAR, board=costs())
    assert found.verdict.kind is Kind.RECOMMENDED
    assert found.verdict.sentence.startswith('Recommended for Raspberry Pi 4 Model B, aarch64, "quoted": hsiao_72_64')
    assert found.verdict.would_decide == ()
    assert {choice.winner for run in found.runs for choice in run.choices} == {"hsiao_72_64"}
    assert [run.label for run in found.runs] == ["a", FRESH, "b"]
    again = decided(tmp_path / "other", {"a": CLEAR}, fresh=CLEAR, board=costs(hsiao_72_64=40.0))
    assert {run.winner for run in again.runs} == {"tmr"}


def test_it_is_not_recommended_without_the_boards_costs_or_a_rate(tmp_path: Path) -> None:
    found = decided(tmp_path / "a", {"a": CLEAR}, fresh=CLEAR)
    assert found.verdict.kind is Kind.LEADS
    assert any("hil measure" in line for line in found.verdict.would_decide)
    assert NO_PROFILE in trade_table(found)
    found = decided(tmp_path / "b", {"a": CLEAR}, fresh=CLEAR, board=costs(), rate_per_bit_day=None)
    assert found.verdict.kind is Kind.LEADS
    assert any("[rate]" in line for line in found.verdict.would_decide)
    assert "per million strikes" in trade_table(found)


def test_rates_that_disagree_leave_it_undecided_and_say_so(tmp_path: Path) -> None:
    """75,776 struck bits: 8e-5, 8e-4, 8e-3 strikes a day against 1e-4 crashes."""
    found = decided(
        tmp_path, {"a": CLEAR}, fresh=CLEAR, board=costs(), board_crashes_per_day=(1e-4, 1e-3, 1e-2), margin=0.2
    )
    assert found.verdict.kind is Kind.UNDECIDED
    winners = {choice.rates.label: choice.winner for choice in found.runs[0].choices}
    assert winners["low upset rate, high crash rate"] == "none"
    assert winners["high upset rate, low crash rate"] == "hsiao_72_64"
    assert any(line.startswith("The rates: ") for line in found.verdict.would_decide)


def test_a_board_that_crashes_more_than_strikes_harm_needs_no_code(tmp_path: Path) -> None:
    found = decided(tmp_path, {"a": CLEAR, "b": CLEAR}, fresh=CLEAR, board=costs(), board_crashes_per_day=(1, 2, 4))
    assert found.verdict.kind is Kind.NO_MATTER
    assert (
        "No code matters here: the crash rate of the board dominates, with 2.00 crashes a day" in found.verdict.sentence
    )
    assert "crashes of the board, 2 (1 to 4)" in trade_table(found)


def test_a_day_is_told_in_strikes_failures_and_crashes(tmp_path: Path) -> None:
    """75,776 bits at 1e-9 to 1e-7 upsets a day, worked for an eighth of it; 200 and 5 of 500 strikes fail."""
    part = {"demand_per_day": 10_800.0, "inference_s": 1.0, "board_crashes_source": "somebody's beam"}
    found = decided(tmp_path, {"a": CLEAR}, fresh=CLEAR, board=costs(), board_crashes_per_day=(1, 2, 4), **part)
    day = dict(day_of(found))
    assert list(day) == [
        "strikes on the shared cells",
        "failures by them, unprotected",
        "with hsiao_72_64, the fewest",
        "crashes of the board itself",
    ]
    strikes, unprotected, best, crashes = day.values()
    bits = 8 * sum(region.size_bytes for region in found.summary.tasks[0].record.regions if region.struck)
    assert (strikes.low, strikes.best, strikes.high) == pytest.approx([bits * rate / 8 for rate in RATE])
    assert unprotected.best == pytest.approx(strikes.best * 200 / TRIALS)
    assert unprotected.low < strikes.low * 200 / TRIALS < strikes.high * 200 / TRIALS < unprotected.high
    assert best.best == pytest.approx(1.01 * strikes.best * 5 / TRIALS)  # it takes longer, so that more strikes come
    assert (crashes.low, crashes.best, crashes.high) == (0.125, 0.25, 0.5)
    page = write_trade(tmp_path, found).read_text()
    assert page.index("somebody&#39;s beam") < page.index("What a day brings") < page.index("Benefit against cost")
    assert "A day brings: strikes on the shared cells" in trade_table(found)
    bare = decided(tmp_path / "b", {"a": CLEAR}, fresh=CLEAR, board=costs(), rate_per_bit_day=None)
    assert day_of(bare) == ()
    assert "What a day brings" not in write_trade(tmp_path, bare).read_text()


def test_without_a_profile_one_time_a_protection_holds_for_all_runs(tmp_path: Path) -> None:
    """Times differ from run to run by what else the machine does; what a protection costs does not."""
    held = folders(tmp_path, {"a": CLEAR, "b": CLEAR, "c": CLEAR}, fresh=CLEAR)
    for path, factor in zip(held.runs, (1.0, 5.0, 1.2), strict=True):
        slow(path, "hsiao_72_64", factor)
    found = trade_of(held)
    by_name = {rival.name: rival.relative_time for rival in found.rivals}
    assert by_name["hsiao_72_64"] == pytest.approx(1.1)  # the median of 1, 1, 1.2 and 5
    assert {run.winner for run in found.runs} == {"tmr"}


def slow(path: Path, name: str, factor: float) -> None:
    """Stretch the times of one protection in a run that was written."""
    lines = []
    for line in (path / ROWS_FILE).read_text().splitlines():
        row = json.loads(line)
        if row.get("protection") == name and row.get("timing"):
            row["timing"]["elapsed_us"] = round(factor * row["timing"]["elapsed_us"])
        lines.append(json.dumps(row))
    (path / ROWS_FILE).write_text("\n".join(lines) + "\n")


def test_crashes_count_among_what_is_tolerated_and_slowness_meets_more_of_them(tmp_path: Path) -> None:
    perfect = {"none": 200, "hsiao_72_64": 0, "tmr": 0}
    board = costs(hsiao_72_64=0.0, tmr=1e5)  # as fast as none, and a hundred times slower
    found = decided(tmp_path, {"a": perfect}, fresh=perfect, board=board, board_crashes_per_day=(1, 2, 4))
    assert found.verdict.kind is Kind.NO_MATTER
    assert set(found.worse) == {"tmr"}
    day = {each["protection"]: each["failures"] for each in trade_json(found)["protections"]}
    assert day["tmr"]["high upset rate, low crash rate"]["best"] == pytest.approx(101.0)


def test_what_failed_a_little_more_often_is_not_called_worse(tmp_path: Path) -> None:
    close = {"none": 10, "parity": 14, "hsiao_72_64": 9}
    found = decided(tmp_path, {"a": close}, fresh=close, board=costs())
    assert found.worse == {}
    assert found.verdict.kind is Kind.UNDECIDED


def test_nothing_to_gain_is_not_blamed_on_crashes(tmp_path: Path) -> None:
    level = {"none": 50, "hsiao_72_64": 50, "tmr": 50}
    found = decided(tmp_path, {"a": level}, fresh=level, board=costs(), margin=0.5)
    assert found.verdict.kind is Kind.NO_MATTER
    assert found.verdict.sentence.startswith("No protection is needed")


def test_a_protection_that_makes_it_worse_is_flagged(tmp_path: Path) -> None:
    failing = CLEAR | {"parity": 450}
    found = decided(tmp_path, {"a": CLEAR | {"parity": 0}, "b": failing}, fresh=CLEAR | {"parity": 0}, board=costs())
    assert found.worse == {"parity": ("b",)}
    assert "! parity makes things worse than none under b." in trade_table(found)
    flagged = {each["protection"]: each["worse_than_none_under"] for each in trade_json(found)["protections"]}
    assert flagged == {"none": [], "hsiao_72_64": [], "tmr": [], "parity": ["b"]}


def test_fault_models_that_disagree_leave_it_undecided(tmp_path: Path) -> None:
    other = {"none": 200, "hsiao_72_64": 190, "tmr": 5}
    found = decided(tmp_path, {"a": CLEAR, "b": other}, fresh=CLEAR, board=costs())
    assert found.verdict.kind is Kind.UNDECIDED
    assert "hsiao_72_64 won under a and fresh strikes and tmr won under b" in found.verdict.sentence
    assert any(line.startswith("How memory is struck: ") for line in found.verdict.would_decide)


def test_fresh_strikes_that_disagree_leave_it_undecided(tmp_path: Path) -> None:
    other = {"none": 200, "hsiao_72_64": 190, "tmr": 5}
    found = decided(tmp_path, {"a": CLEAR}, fresh=other, board=costs())
    assert found.verdict.kind is Kind.UNDECIDED
    assert any("fresh strikes of the same kind chose another one" in line for line in found.verdict.would_decide)


def test_too_few_trials_leave_it_open_and_say_how_many_would_do(tmp_path: Path) -> None:
    few = {"none": 12, "hsiao_72_64": 0, "tmr": 0}
    found = decided(tmp_path, {"a": few}, fresh=few, board=costs(), trials=30)
    assert found.verdict.kind is Kind.UNDECIDED
    (line, _) = [line for line in found.verdict.would_decide if line.startswith("More trials under")]
    assert "roughly" in line
    assert int(line.split("roughly ")[1].split(" ")[0].replace(",", "")) > 30


def test_no_failure_seen_in_a_few_trials_is_no_proof_that_nothing_is_needed(tmp_path: Path) -> None:
    quiet = {"none": 0, "hsiao_72_64": 0, "tmr": 0}
    found = decided(tmp_path, {"a": quiet}, fresh=quiet, board=costs(), trials=30)
    assert found.verdict.kind is Kind.UNDECIDED
    assert found.runs[0].open()[0][0] == "none"


def test_half_a_trade_and_a_broken_harness_give_no_verdict(tmp_path: Path) -> None:
    assert decided(tmp_path / "a", {"a": CLEAR}, board=costs()).verdict.kind is Kind.INCOMPLETE
    broken = decided(tmp_path / "b", {"a": CLEAR | {"null": 1}}, fresh=CLEAR, board=costs())
    assert broken.verdict.kind is Kind.DISTRUST


def test_what_cannot_keep_up_with_the_demand_is_not_chosen(tmp_path: Path) -> None:
    busy = {"demand_per_day": 80_000.0, "inference_s": 1.0}
    found = decided(tmp_path, {"a": CLEAR}, fresh=CLEAR, board=costs(hsiao_72_64=20_000.0), **busy)
    assert found.too_slow == ("hsiao_72_64",)
    assert {run.winner for run in found.runs} == {"tmr"}
    assert "hsiao_72_64 is too slow" in trade_table(found)


def test_the_profile_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="measure the board with `hil measure CAMPAIGN"):
        decided(tmp_path, {"a": CLEAR}, fresh=CLEAR, board=profile(cost("inference", 1e6), digest="00"))
    with pytest.raises(ConfigError, match="no scrub of hsiao_72_64"):
        bare = profile(cost("inference", 1e6), digest="cd" * 32)
        decided(tmp_path / "b", {"a": CLEAR}, fresh=CLEAR, board=bare)


def test_a_larger_or_slower_protection_is_exposed_for_longer(tmp_path: Path) -> None:
    found = decided(tmp_path, {"a": CLEAR}, fresh=CLEAR, board=costs(tmr=1e3))
    day = {each["protection"]: each for each in trade_json(found)["protections"]}
    assert day["tmr"]["relative_time"] == pytest.approx(2.0)
    ratio = (
        day["tmr"]["failures"]["central upset rate"]["best"]
        / day["hsiao_72_64"]["failures"]["central upset rate"]["best"]
    )
    assert ratio == pytest.approx(2.0 / 1.01)
    none = day["none"]["failures"]["central upset rate"]["best"]
    bits = 8 * sum(region.size_bytes for region in found.summary.tasks[0].record.regions if region.struck)
    assert none == pytest.approx(1e-8 * bits * 200 / TRIALS)
    assert "none" in found.front
    assert "tmr" not in found.front


def test_the_page_says_what_the_table_says(tmp_path: Path) -> None:
    found = decided(tmp_path, {"a": CLEAR | {"<b>": 400}}, fresh=CLEAR | {"<b>": 400}, board=costs())
    page = write_trade(tmp_path, found).read_text()
    assert "&lt;b&gt; makes things worse" in page
    assert "<b>: " not in page
    assert str(escape(found.verdict.sentence)) in page
    assert page.index("What was struck") < page.index("Every protection") < page.index("Who wins where")
    assert json.loads((tmp_path / "trade.json").read_text()) == json.loads(json.dumps(trade_json(found)))
