"""A real trade from the campaign file to the page: interrupted, gone on with, the same on other targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError
from hil.boards.cost_profile import write_profile
from hil.campaign import sweep
from hil.campaign.collect import RunOptions
from hil.campaign.configuration import load_campaign
from hil.campaign.store import read_header, read_rows
from hil.campaign.sweep import candidates, computation_key, on_computation, swept
from hil.campaign.trade import TradeFolders, TradeSettings, resume_trade, run_trade
from hil.cli import main
from hil.progress import ProgressEvent, silent
from hil.report.trade import FRESH, trade_of
from node.protection import OnDetected, Protection
from tests.campaigns import essence, write_campaign
from tests.hil.profiles import profile
from tests.proof import PROVING

SMALL = ("parity", "hsiao_72_64", "tmr", "scrub every 2nd", "reload", "checkpoint", "ranges", "twice")
OWN = '\n[[protection]]\nname = "mine"\ncode = "tmr"\nscrub_period = 3\n'
TRIALS = 3


@pytest.fixture
def few_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole sweep compiles every code; `make prove` does, a test run takes those that are compiled anyway."""
    if not PROVING:
        monkeypatch.setattr(sweep, "OPTIONS", tuple(each for each in sweep.OPTIONS if each.label in SMALL))
        monkeypatch.setattr(sweep, "STACKS", (("parity", "reload"), ("tmr", "checkpoint")))
        monkeypatch.setattr(sweep, "BASE", "hsiao_72_64")


def traded(tmp_path: Path, out: str, target: str = "sim", models: tuple[str, ...] = ("byte",)) -> TradeFolders:
    described = swept(load_campaign(write_campaign(tmp_path, trials=TRIALS, protections=OWN)))
    options = RunOptions(target=target)
    settings = TradeSettings(fault_models=models)
    return run_trade(described, settings, None, out=tmp_path / out, options=options, progress=silent)


def contents(folders: TradeFolders) -> list[dict]:
    return [essence(read_rows(path)) for path in (*folders.runs, folders.runs[0] / "confirmation")]


def test_the_sweep_has_single_and_stacked_ones_and_keeps_what_the_file_lists(tmp_path: Path) -> None:
    found = candidates()
    assert len(found) >= 12
    assert len(set(found.values())) == len(found)
    assert found["vertical_hsiao + checkpoint"].on_detected is OnDetected.ROLLBACK
    described = swept(load_campaign(write_campaign(tmp_path, protections=OWN, regions=["weights", "steps"])))
    held = {entry.name: entry for entry in described.protections}
    assert {"none", "null", "oracle", "restore", "mine", *found} == set(held)
    assert held["tmr"].protection.regions == ("weights", "steps")
    assert all(entry.temperature_c is None for entry in described.protections)
    again = swept(load_campaign(write_campaign(tmp_path, protections=OWN.replace("scrub_period = 3", ""))))
    assert "tmr" not in {entry.name for entry in again.protections}  # it is there as "mine"


def test_what_acts_on_the_computation_is_timed_by_itself_and_once() -> None:
    tried = on_computation(candidates().values())
    assert {"abft=True", "ranges=clip", "redundancy=2", "redundancy=3"} <= set(tried)
    assert all(each.scrub_period == 0 and each.checkpoint_period == 0 for each in tried.values())
    assert all(computation_key(each) == key for key, each in tried.items())
    assert computation_key(Protection(code="parity", on_detected=OnDetected.RELOAD)) == ""


@pytest.mark.usefixtures("few_codes")
def test_a_trade_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = traded(tmp_path, "whole")
    assert sum(not task.control for task in read_header(whole.runs[0]).tasks) >= 12

    class Killed(BaseException):
        pass

    def kill(event: ProgressEvent) -> None:
        if event.stage == "byte: hsiao_72_64" and event.done == 1:
            raise Killed

    described = swept(load_campaign(write_campaign(tmp_path, trials=TRIALS, protections=OWN)))
    with pytest.raises(Killed):
        run_trade(
            described,
            TradeSettings(fault_models=("byte",)),
            None,
            out=tmp_path / "cut",
            options=RunOptions(),
            progress=kill,
        )
    resumed = resume_trade(tmp_path / "cut", progress=silent)
    assert contents(resumed) == contents(whole)
    assert [path.name for path in resumed.runs] == ["clusters", "byte"]
    one, other = trade_of(resumed), trade_of(whole)
    assert one.verdict.kind is other.verdict.kind
    assert [run.label for run in one.runs] == ["clusters", FRESH, "byte"]
    with pytest.raises(ConfigError, match="a trade with other settings"):
        traded(tmp_path, "cut", models=("row",))


@pytest.mark.usefixtures("few_codes")
def test_another_target_gives_the_same_trade(tmp_path: Path) -> None:
    own = ("clusters",)
    here, there = traded(tmp_path, "sim", models=own), traded(tmp_path, "pty", "pty", models=own)
    assert contents(here) == contents(there)


@pytest.mark.usefixtures("few_codes")
def test_the_command_prints_and_keeps_a_trade_and_resume_prints_it_again(tmp_path: Path, capsys) -> None:
    path = write_campaign(tmp_path, trials=2, protections=OWN)
    out = tmp_path / "t"
    given = ["trade", str(path), "--fault-model", "byte", "--out", str(out)]
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert "costs of this CPU, no recommendation for a board" in printed
    assert printed.index("Struck: weights") < printed.index("Undecided")
    assert main(["resume", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "trade.json").read_text())
    assert found["verdict"]["kind"] == "undecided"
    assert (out / "trade.html").stat().st_size > 10_000
    write_profile(profile(digest="00"), tmp_path / "pi.cost.toml")
    assert main([*given, "--costs", str(tmp_path / "pi.cost.toml")]) == 2
    assert "a trade with other costs; choose another --out" in capsys.readouterr().err
    assert main([*given, "--margin", "1.5"]) == 2


def test_a_rule_to_stop_is_refused(tmp_path: Path, capsys) -> None:
    path = write_campaign(tmp_path, protections=OWN + "\n[stop]\nhalf_width = 0.1\n")
    assert main(["trade", str(path), "--out", str(tmp_path / "t")]) == 2
    assert "take [stop] out" in capsys.readouterr().err
