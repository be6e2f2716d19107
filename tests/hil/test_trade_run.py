"""A real trade from the campaign file to the page: interrupted, gone on with, the same on other targets."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hil
from firmware_bridge.errors import ConfigError
from hil.boards.cost_profile import CostProfile, write_profile
from hil.campaign import sweep
from hil.campaign.collect import RunOptions
from hil.campaign.configuration import load_campaign
from hil.campaign.store import read_header, read_rows
from hil.campaign.sweep import candidates, computation_key, on_computation, swept
from hil.campaign.trade import TradeFolders, TradeSettings, resume_trade, run_trade
from hil.cli import main
from hil.progress import ProgressEvent, silent
from hil.report.trade import FRESH, trade_of
from hil.report.trade_table import trade_json, trade_table
from node.ecc import CODES
from node.protection import OnDetected, Protection
from tests.campaigns import essence, write_campaign
from tests.hil.profiles import cost, profile
from tests.proof import PROVING

SMALL = ("parity", "hsiao_72_64", "tmr", "scrub every 2nd", "reload", "checkpoint", "ranges", "twice")
OWN = '\n[[protection]]\nname = "mine"\ncode = "tmr"\nscrub_period = 3\n'
TRIALS = 3


@pytest.fixture(scope="module")
def few_codes() -> Iterator[None]:
    """The whole sweep compiles every code; `make prove` does, a test run takes those that are compiled anyway."""
    with pytest.MonkeyPatch.context() as patched:
        if not PROVING:
            take_few_codes(patched)
        yield


def take_few_codes(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(sweep, "OPTIONS", tuple(each for each in sweep.OPTIONS if each.label in SMALL))
    patched.setattr(sweep, "STACKS", (("parity", "reload"), ("tmr", "checkpoint")))
    patched.setattr(sweep, "BASE", "hsiao_72_64")


def board_of(campaign: Path) -> CostProfile:
    """Give the costs of a board that nobody has, for every protection that the sweep tries on a campaign."""
    described = swept(load_campaign(campaign))
    protections = [entry.protection for entry in described.protections]
    digest = hil.compile_model(described.model_path).digest
    scrubs = (cost("scrub", 500.0 * size, code, size) for code in CODES if code != "none" for size in (1_000, 100_000))
    inferences = (cost("inference", 1e6 * (1 + len(key)), key) for key in on_computation(protections))
    return profile(cost("inference", 1e6), cost("save", 3e6), *inferences, *scrubs, digest=digest)


def traded(
    tmp_path: Path,
    out: str,
    target: str = "sim",
    models: tuple[str, ...] = ("byte",),
    costs: CostProfile | None = None,
) -> TradeFolders:
    described = swept(load_campaign(write_campaign(tmp_path, trials=TRIALS, protections=OWN)))
    options = RunOptions(target=target)
    settings = TradeSettings(fault_models=models)
    return run_trade(described, settings, costs, out=tmp_path / out, options=options, progress=silent)


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


@pytest.fixture(scope="module")
def whole(few_codes: None, tmp_path_factory: pytest.TempPathFactory) -> TradeFolders:
    """A trade on `sim` that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return traded(folder, "trade", costs=board_of(write_campaign(folder, trials=TRIALS, protections=OWN)))


def _with_few_codes(proving: bool, *given: Any) -> None:
    with pytest.MonkeyPatch.context() as patched:
        if not proving:
            take_few_codes(patched)
        kill_when_half_done(*given)


def kill_when_half_done(campaign: Path, out: Path, costs: CostProfile) -> None:
    """Trade in this process and end it by SIGKILL in the middle of the second run."""

    def kill(event: ProgressEvent) -> None:
        if event.stage == "byte: hsiao_72_64" and event.done == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    settings = TradeSettings(fault_models=("byte",))
    run_trade(swept(load_campaign(campaign)), settings, costs, out=out, options=RunOptions(), progress=kill)


def test_a_trade_that_was_killed_goes_on_and_ends_in_the_same_report(whole: TradeFolders, tmp_path: Path) -> None:
    """With a profile no clock of this machine has a say, so every figure of the report is the same."""
    path = write_campaign(tmp_path, trials=TRIALS, protections=OWN)
    costs = whole.costs
    assert costs is not None
    assert sum(not task.control for task in read_header(whole.runs[0]).tasks) >= 12
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=_with_few_codes, args=(PROVING, path, tmp_path / "cut", costs))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "cut").glob("*/rows.jsonl"))) == 2
    resumed = resume_trade(tmp_path / "cut", progress=silent)
    assert contents(resumed) == contents(whole)
    assert [path.name for path in resumed.runs] == ["clusters", "byte"]
    one, other = trade_of(resumed), trade_of(whole)
    assert trade_json(one) == trade_json(other)
    assert trade_table(one) == trade_table(other)
    assert [run.label for run in one.runs] == ["clusters", FRESH, "byte"]
    with pytest.raises(ConfigError, match="a trade with other settings"):
        traded(tmp_path, "cut", models=("row",), costs=costs)


def test_another_target_gives_the_same_trade(whole: TradeFolders, tmp_path: Path) -> None:
    """The same records, strike by strike, hence the same front, choices and verdict."""
    there = traded(tmp_path, "pty", "pty", models=("clusters",), costs=whole.costs)
    here = replace(whole, runs=whole.runs[:1], settings=there.settings)
    assert contents(here) == contents(there)
    found, again = trade_of(here), trade_of(there)
    assert len(found.rivals) >= 12
    assert found.front == again.front
    assert trade_json(found) == trade_json(again)


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
