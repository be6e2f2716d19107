"""A campaign that stops when its intervals are narrow enough: the same trial, whatever happened on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.campaign.collect import RunOptions, missing_trials_of, resume_campaign, run_campaign
from hil.campaign.configuration import CampaignFile, load_campaign
from hil.campaign.confirm import confirm_campaign
from hil.campaign.record import StopRow, TrialRow
from hil.campaign.stopping import looks, widest_half_width
from hil.campaign.store import CONFIRMATION_FOLDER, read_header, read_rows
from hil.progress import ProgressEvent, silent
from hil.report import summarise, to_json
from hil.report.answer import answer
from tests.campaigns import essence, write_campaign
from tests.hil.synthetic_results import header, task, trial, write

PARITY = '\n[[protection]]\nname = "parity"\ncode = "parity"\n'


def described(folder: Path, half_width: float, trials: int = 60) -> CampaignFile:
    path = write_campaign(folder, trials=trials, protections=PARITY, fault_model="single_bit")
    path.write_text(path.read_text() + f"[stop]\nhalf_width = {half_width}\nleast_trials = 20\n")
    return load_campaign(path)


def test_looks_are_fixed_in_advance() -> None:
    head = header(trials=400, stop_half_width=0.01, stop_least_trials=100)
    assert list(looks(head)) == [100, 125, 157, 197, 247, 309, 387, 400]
    assert list(looks(header(trials=400))) == [400]
    assert list(looks(header(trials=50, stop_half_width=0.01, stop_least_trials=100))) == [50]


def test_the_widest_ranked_interval_decides_and_later_trials_have_no_say() -> None:
    tasks = (task("none", "none"), task("tmr"), task("null", "null"), task("hot", temperature_c=83.0))
    head = header(*tasks, trials=400, stop_half_width=0.01, stop_least_trials=100)
    rows = [
        trial(each.name, n, "DUE" if n % 2 and each.name == "none" else "MASKED") for each in tasks for n in range(80)
    ]
    width = widest_half_width(head, rows, 80)
    assert width == widest_half_width(head, rows[:80], 80) or width > 0.1
    assert widest_half_width(head, [*rows, *(trial("none", n, "DUE") for n in range(80, 300))], 80) == width
    assert widest_half_width(head, [*rows, *(trial("hot", n, "DUE") for n in range(40))], 80) == width
    assert widest_half_width(head, rows, 40) > width


def test_a_run_stops_early_and_says_so(tmp_path: Path) -> None:
    campaign = described(tmp_path, 0.4)
    run_campaign(campaign, out=tmp_path / "run", options=RunOptions(), progress=silent)
    (stop,) = [row for row in read_rows(tmp_path / "run") if isinstance(row, StopRow)]
    assert 20 <= stop.trials < 60
    assert stop.half_width <= 0.4
    head = read_header(tmp_path / "run")
    before = [look for look in looks(head) if look < stop.trials]
    rows = list(read_rows(tmp_path / "run"))
    assert all(widest_half_width(head, rows, look) > 0.4 for look in before)
    summary = summarise(tmp_path / "run")
    assert (summary.stopped_at, summary.complete) == (stop.trials, True)
    assert {each.trials for each in summary.tasks} == {stop.trials}
    assert to_json(summary)["stopped_at"] == stop.trials
    assert any(f"ended the run after {stop.trials} trials" in remark for remark in answer(summary).remarks)
    assert missing_trials_of(tmp_path / "run") == 0


def test_resuming_changes_nothing(tmp_path: Path) -> None:
    """Cut off anywhere, a run ends with the same trials; a finished one runs nothing more."""
    campaign = described(tmp_path, 0.4)
    run_campaign(campaign, out=tmp_path / "whole", options=RunOptions(), progress=silent)
    whole = essence(read_rows(tmp_path / "whole"))
    size = (tmp_path / "whole" / "rows.jsonl").stat().st_size
    resume_campaign(tmp_path / "whole", progress=silent)
    assert (tmp_path / "whole" / "rows.jsonl").stat().st_size == size

    class Cut(Exception):
        pass

    def cut_at(done: int):
        def progress(event: ProgressEvent) -> None:
            if event.stage == "parity" and event.done >= done:
                raise Cut

        return progress

    with pytest.raises(Cut):
        run_campaign(campaign, out=tmp_path / "cut", options=RunOptions(), progress=cut_at(50))
    resume_campaign(tmp_path / "cut", progress=silent)
    assert essence(read_rows(tmp_path / "cut")) == whole


def test_a_rule_that_is_never_met_runs_all_trials_and_keeps_its_wider_limits(tmp_path: Path) -> None:
    campaign = described(tmp_path, 0.001, trials=25)
    run_campaign(campaign, out=tmp_path / "run", options=RunOptions(), progress=silent)
    rows = list(read_rows(tmp_path / "run"))
    assert not any(isinstance(row, StopRow) for row in rows)
    assert sum(isinstance(row, TrialRow) for row in rows) == 25 * len(read_header(tmp_path / "run").tasks)
    summary = summarise(tmp_path / "run")
    assert summary.tasks[0].strata.sequential
    assert any("was not met" in remark for remark in answer(summary).remarks)


def test_a_stopped_run_is_confirmed_with_as_many_trials(tmp_path: Path) -> None:
    run_campaign(described(tmp_path, 0.4), out=tmp_path / "run", options=RunOptions(), progress=silent)
    confirm_campaign(tmp_path / "run", progress=silent)
    second = read_header(tmp_path / "run" / CONFIRMATION_FOLDER)
    assert second.trials == summarise(tmp_path / "run").stopped_at
    assert second.stop_half_width is None


def test_a_stopped_run_cannot_be_divided(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be divided"):
        run_campaign(described(tmp_path, 0.4), out=tmp_path / "r", options=RunOptions(shard=(1, 2)), progress=silent)


def test_trials_beyond_the_stop_are_left_out(tmp_path: Path) -> None:
    tasks = (task("none", "none"), task("tmr"))
    rows = [trial(each.name, number) for each in tasks for number in range(30)]
    head = header(*tasks, trials=40, stop_half_width=0.4, stop_least_trials=10)
    summary = summarise(write(tmp_path, head, *rows, StopRow(trials=20, half_width=0.3)))
    assert [each.trials for each in summary.tasks] == [20, 20]
    assert summary.complete


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("half_width = 0.0", "half_width = 0.0"),
        ("half_width = 2.0", "half_width = 2.0"),
        ("half_width = 0.1\nleast_trials = 3", "least_trials = 3"),
        ("least_trials = 30", "half_width is missing"),
        ("half_width = 0.1\nat = 3", "unknown key 'at'"),
    ],
)
def test_bad_rules_name_the_key(tmp_path: Path, text: str, words: str) -> None:
    path = write_campaign(tmp_path)
    path.write_text(path.read_text() + f"[stop]\n{text}\n")
    with pytest.raises(ConfigError, match=r"\[stop\]") as caught:
        load_campaign(path)
    assert words in str(caught.value)
