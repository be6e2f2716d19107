"""``hil trade``: which protection to fly, by measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hil.commands.waiting import wait_option

if TYPE_CHECKING:
    from hil.campaign.trade import TradeFolders


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option("--costs", type=click.Path(path_type=Path), help="The board's cost profile, from `hil measure`.")
@click.option("--fault-model", "models", multiple=True, help="A preset; can be given several times [default: all].")
@click.option("--margin", type=float, default=0.1, show_default=True, help="Share of the failures without protection.")
@click.option("--count", type=click.Choice(["failure", "sdc"]), default="failure", show_default=True)
@click.option("--target", help="Where: sim, memory, pty, qemu, serial:///dev/..., tcp://host:port, bench:NAME.")
@wait_option
@click.option("--trials", type=click.IntRange(min=1), help="Trials per protection, instead of the file's.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at work.")
@click.option("--out", type=click.Path(path_type=Path), help="Results directory [default: runs/<time>-<name>-trade].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    campaign: Path,
    costs: Path | None,
    models: tuple[str, ...],
    margin: float,
    count: str,
    target: str | None,
    wait_s: float,
    trials: int | None,
    workers: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Try many protections on one list of strikes and choose.

    Those of CAMPAIGN and a sweep of single and stacked ones are struck under every fault model and once more on fresh
    strikes. A cheaper one is as good as the best where it fails more often by at most --margin of the failures without
    protection; --count sdc leaves withheld outputs out. If interrupted, `hil resume` goes on.
    """
    from hil.boards.bench_file import plain_target, resolve_target
    from hil.boards.cost_profile import read_profile
    from hil.campaign.collect import RunOptions
    from hil.campaign.configuration import load_campaign
    from hil.campaign.sweep import swept
    from hil.campaign.trade import TradeSettings, run_trade
    from hil.commands.progress import shown_progress
    from hil.commands.results import new_directory, resumable
    from hil.targets.waiting import wait_for_nodes

    described = swept(load_campaign(campaign))
    settings = TradeSettings(fault_models=models, margin=margin, count=count)
    profile = None if costs is None else read_profile(costs)
    named, folders = target or described.campaign.target, described.bench_folders
    with shown_progress() as progress:
        wait_for_nodes(named, folders, wait_s, progress)
    resolve_target(named, folders)  # a board that is not there is said before anything is made
    directory = out if out is not None else new_directory(f"{described.campaign.name}-trade")
    options = RunOptions(target=plain_target(named, folders), trials=trials, workers=workers)
    with resumable(directory), shown_progress() as progress:
        made = run_trade(described, settings, profile, out=directory, options=options, progress=progress)
    print_trade(made, as_json=as_json)


def print_trade(folders: TradeFolders, *, as_json: bool) -> None:
    """Write the page of a trade and print its table, or one JSON object."""
    from hil.report.trade import trade_of
    from hil.report.trade_page import write_trade
    from hil.report.trade_table import trade_json, trade_table

    trade = trade_of(folders)
    page = write_trade(folders.directory, trade)
    if as_json:
        click.echo(json.dumps(trade_json(trade)))
        return
    click.echo(trade_table(trade))
    click.echo(f"results  {folders.directory}\nreport   {page}")
