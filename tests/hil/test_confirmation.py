"""Fresh strikes confirm a winner or do not; a demand of inferences decides how long it is exposed."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.collect import RunOptions, run_campaign
from hil.campaign.configuration import load_campaign
from hil.campaign.confirm import confirm_campaign
from hil.campaign.store import CONFIRMATION_FOLDER, Store, read_header, read_rows
from hil.progress import silent
from hil.report.answer import confirmation_text, winner
from hil.report.as_json import to_json
from hil.report.summary import Summary, summarise
from tests.campaigns import campaign, essence, write_campaign
from tests.hil.synthetic_results import header, task, trial, write

ONE_PROTECTION = '\n[[protection]]\nname = "tmr"\ncode = "tmr"\n'


def _counts(folder: Path, seed: int, trials: int = 200, **failures: int) -> Path:
    tasks = [task(name, "none" if name == "none" else "") for name in failures]
    rows = [
        trial(name, number, "DUE" if number < count else "MASKED")
        for name, count in failures.items()
        for number in range(trials)
    ]
    return write(folder, header(*tasks, trials=trials, seed=seed), *rows)


def _both(tmp_path: Path, first: dict[str, int], second: dict[str, int]) -> Summary:
    _counts(tmp_path / "run", 1, **first)
    _counts(tmp_path / "run" / CONFIRMATION_FOLDER, 2, **second)
    return summarise(tmp_path / "run")


def test_a_winner_that_wins_again_is_recommended(tmp_path: Path) -> None:
    summary = _both(tmp_path, {"none": 90, "parity": 60, "tmr": 2}, {"none": 85, "parity": 70, "tmr": 10})
    text = confirmation_text(summary)
    assert text.startswith("Confirmed: on 200 fresh strikes each (seed 2) tmr again failed least, with 50,000 (")
    found = to_json(summary)
    assert found["winner"] == found["confirmation"]["winner"] == "tmr"


def test_a_winner_by_luck_is_not_confirmed(tmp_path: Path) -> None:
    summary = _both(tmp_path, {"none": 90, "tmr": 2}, {"none": 20, "tmr": 15})
    assert winner(summary).name == "tmr"
    assert "tmr, with 75,000" in confirmation_text(summary)
    assert "was not surely better" in confirmation_text(summary)


def test_the_other_winner_is_no_confirmation(tmp_path: Path) -> None:
    summary = _both(tmp_path, {"none": 90, "tmr": 2}, {"none": 2, "tmr": 90})
    assert "was not surely better" in confirmation_text(summary)


def test_nothing_is_confirmed_where_nobody_won(tmp_path: Path) -> None:
    summary = _both(tmp_path, {"none": 4, "tmr": 2}, {"none": 90, "tmr": 2})
    assert confirmation_text(summary).startswith("Nothing to confirm")


def test_half_a_confirmation_is_none(tmp_path: Path) -> None:
    _counts(tmp_path / "run", 1, none=90, tmr=2)
    head = header(task("none", "none"), task("tmr"), trials=200, seed=2)
    write(tmp_path / "run" / CONFIRMATION_FOLDER, head, trial("none", 0), trial("tmr", 0))
    assert "not complete" in confirmation_text(summarise(tmp_path / "run"))


def test_ranking_limits_are_wider_than_single_ones_and_controls_have_none(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("tmr"), task("hot", temperature_c=83.0), task("null", "null"))
    rows = [trial(each.name, number) for each in tasks for number in range(50)]
    summary = summarise(write(tmp_path, header(*tasks, trials=50), *rows))
    none, tmr, hot, null = summary.tasks
    assert hot.ranked_failure is null.ranked_failure is None
    for ranked in (none, tmr):
        assert ranked.ranked_failure.high > ranked.failure.high


def test_a_campaign_is_confirmed_on_other_strikes(tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=6, protections=ONE_PROTECTION)
    run_campaign(described, out=tmp_path / "run", options=RunOptions(target="sim"), progress=silent)
    confirm_campaign(tmp_path / "run", progress=silent)
    second = tmp_path / "run" / CONFIRMATION_FOLDER
    one, other = read_header(tmp_path / "run"), read_header(second)
    assert other.seed != one.seed
    assert other.strike_key != one.strike_key
    assert [each.name for each in other.tasks] == [each.name for each in one.tasks]
    before = essence(read_rows(second))
    assert len(before) == 6 * len(one.tasks)
    confirm_campaign(tmp_path / "run", progress=silent)
    assert essence(read_rows(second)) == before
    assert summarise(tmp_path / "run").confirmation.complete


def test_an_unfinished_run_has_nothing_to_confirm(tmp_path: Path) -> None:
    head = header(task("none", "none"), task("tmr"), trials=3)
    write(tmp_path, head, trial("none", 0), trial("none", 1), trial("none", 9))
    with pytest.raises(ConfigError, match="4 trials are missing"):
        confirm_campaign(tmp_path, progress=silent)


# ---- demand ----------------------------------------------------------------------------------------------------------


def test_failures_per_day_follow_the_demand(tmp_path: Path) -> None:
    tasks = (task("none", "none"),)
    rows = [trial("none", number, "DUE" if number < 20 else "MASKED") for number in range(100)]
    settings = {"rate_per_bit_day": (1e-9, 1e-8, 1e-7)}
    always = summarise(write(tmp_path / "a", header(*tasks, **settings), *rows)).tasks[0]
    demand = {"demand_per_day": 43_200.0, "inference_s": 0.5}
    quarter = summarise(write(tmp_path / "b", header(*tasks, **settings, **demand), *rows)).tasks[0]
    bits = always.exposure.shared_bits
    assert always.failures_per_day.best == pytest.approx(1e-8 * bits * 0.2)
    assert quarter.failures_per_day.best == pytest.approx(0.25 * always.failures_per_day.best)
    assert quarter.failures_per_day.high == pytest.approx(1e-7 * bits * 0.25 * always.failure.high)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ("demand_per_day = 100", "belong together"),
        ("inference_s = 1.0", "belong together"),
        ("demand_per_day = 0\ninference_s = 1.0", "demand_per_day = 0"),
        ("demand_per_day = 90000\ninference_s = 1.0", "busy for 90000 s of the 86400 s"),
        ("demand_per_day = nan\ninference_s = 1.0", "a number above 0"),
    ],
)
def test_a_demand_that_cannot_be_met_is_refused(tmp_path: Path, rate: str, words: str) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text() + f"[rate]\nlow = 1e-9\nbest = 1e-8\nhigh = 1e-7\n{rate}\n")
    with pytest.raises(ConfigError, match=r"\[rate\]") as caught:
        load_campaign(path)
    assert words in str(caught.value)


def test_a_demand_goes_into_the_record(tmp_path: Path) -> None:
    path = write_campaign(tmp_path, trials=1, protections=ONE_PROTECTION)
    rate = "[rate]\nlow = 1e-9\nbest = 1e-8\nhigh = 1e-7\ndemand_per_day = 864.0\ninference_s = 10.0\n"
    path.write_text(path.read_text() + rate)
    described = load_campaign(path)
    run_campaign(described, out=tmp_path / "run", options=RunOptions(), progress=silent)
    held = read_header(tmp_path / "run")
    assert (held.demand_per_day, held.inference_s) == (864.0, 10.0)
    with Store(tmp_path / "run", held):
        pass
