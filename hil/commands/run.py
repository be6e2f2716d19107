"""``hil run``: carry out a campaign."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hil.commands.waiting import wait_option

if TYPE_CHECKING:
    from hil.campaign.collect import RunOptions
    from hil.campaign.configuration import CampaignFile
    from hil.campaign.machine_strikes import MachineOptions


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Where: sim, memory, pty, qemu, serial:///dev/..., tcp://host:port, bench:NAME; again: boards side by side.",
)
@wait_option
@click.option("--trials", type=click.IntRange(min=1), help="Trials per protection, instead of the file's.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at work.")
@click.option("--dask", metavar="ADDRESS", help="Have the workers of a Dask cluster do it: tcp://host:8786.")
@click.option("--shard", help="Do the part NUMBER/OF of the trials here, such as 1/2; then `hil merge` the parts.")
@click.option("--out", type=click.Path(path_type=Path), help="Results directory [default: runs/<time>-<name>].")
@click.option(
    "--strike",
    "struck",
    type=click.Choice(["cells", "machine"]),
    default="cells",
    show_default=True,
    help="The node's cells, as the campaign says, or any bit of the RAM of the whole emulated board (qemu).",
)
@click.option(
    "--density",
    type=click.FloatRange(min=0.0),
    help="With --strike machine: bits struck at once in each MiB, at least one [default: one bit].",
)
@click.option("--part", "parts", multiple=True, help='With --strike machine: only memory of this kind ("kernel code").')
@click.option("--confirm", is_flag=True, help="Then repeat it on fresh strikes, as `hil confirm` does.")
@click.option(
    "--verify", type=click.FloatRange(0.0, 1.0), metavar="SHARE",
    help="On sim, trials whose end follows from golden values are not carried out; this share is, too [default: 0.02].",
)  # fmt: skip
@click.option("--exhaustive", is_flag=True, help="Flip every bit of the weights instead: `hil exhaustive`.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@click.option("--plan", "plan_only", is_flag=True, help="Say what would be run and how long it takes; run nothing.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    campaign: Path,
    targets: tuple[str, ...],
    wait_s: float,
    trials: int | None,
    workers: int,
    dask: str | None,
    shard: str | None,
    out: Path | None,
    struck: str,
    density: float | None,
    parts: tuple[str, ...],
    confirm: bool,
    verify: float | None,
    exhaustive: bool,
    as_json: bool,
    plan_only: bool,
) -> None:
    """Run a campaign and report it.

    CAMPAIGN is a file that `hil init` writes. The table is printed, the report lies in the results directory. With
    `--strike machine` each kind of memory of the emulated board (its kernel, its programs, ...) is struck that many
    times behind its back, under the load of the campaign without protection, and null strikes as often. `--density 8`
    strikes 8 bits in each MiB at once; the report reckons back to one.
    """
    from hil.boards.address import SEPARATOR
    from hil.boards.bench_file import plain_target, resolve_target
    from hil.campaign.collect import RunOptions
    from hil.campaign.configuration import SamplingSection, load_campaign
    from hil.commands.progress import shown_progress
    from hil.targets.waiting import wait_for_nodes

    described = load_campaign(campaign)
    if described.sampling != SamplingSection():
        click.echo("[sampling] is for `hil estimate`: a run strikes as nature does, each cell as likely", err=True)
    if struck == "machine":
        from hil.campaign.machine_strikes import MachineOptions

        others = {"--target": set(targets) - {"qemu"}, "--workers": workers > 1, "--dask": dask, "--shard": shard}
        others |= {"--verify": verify is not None, "--confirm": confirm}
        _refuse(others | {"--exhaustive": exhaustive, "--plan": plan_only})
        wanted_trials = trials or described.campaign.trials
        machine_options = MachineOptions(trials=wanted_trials, density=density or 0.0, parts=parts)
        _strike_machine(described, out, machine_options, as_json=as_json)
        return
    if density is not None or parts:
        raise click.UsageError("--density and --part go with --strike machine; what cells are struck is the campaign's")
    if exhaustive:
        _carry_out_exhaustive(described, out, (workers, verify or 0.0), as_json=as_json)
        return
    wanted = described.changed(target=SEPARATOR.join(targets) or None, trials=trials)
    folders = wanted.bench_folders
    with shown_progress() as progress:
        wait_for_nodes(wanted.campaign.target, folders, wait_s, progress)
    urls = resolve_target(wanted.campaign.target, folders)  # a board that is not there is said before anything is made
    target = plain_target(wanted.campaign.target, folders)
    options = RunOptions(target=target, trials=wanted.campaign.trials, workers=workers, dask=dask, shard=_part(shard))
    options = options if verify is None else replace(options, verify=verify)
    if plan_only:
        _print_plan(described, replace(options, target=urls), as_json=as_json)
    else:
        carry_out(described, options, out, confirm=confirm, as_json=as_json)


def _refuse(others: dict[str, object]) -> None:
    """Raise a usage error for options that mean nothing where the machine is struck."""
    if given := [name for name, value in others.items() if value]:
        raise click.UsageError(f"--strike machine goes without {', '.join(given)}: it has one emulated board")


def _strike_machine(campaign: CampaignFile, out: Path | None, options: MachineOptions, *, as_json: bool) -> None:
    """Strike the machine's memory, write rows and report to ``out``, and print the report."""
    from hil.campaign.machine_strikes import strike_machine
    from hil.commands.progress import shown_progress
    from hil.commands.results import interruptible, new_directory
    from hil.report.machine_mix import machine_mix, mix_json, mix_table

    directory = out if out is not None else new_directory(f"{campaign.campaign.name}-machine")
    with interruptible(f"the same command and --out {directory}"), shown_progress() as progress:
        strike_machine(campaign, out=directory, options=options, progress=progress)
    mix = machine_mix(directory)
    (directory / "machine.txt").write_text(mix_table(mix))
    click.echo(json.dumps(mix_json(mix)) if as_json else f"{mix_table(mix)}\nresults  {directory}")


def _carry_out_exhaustive(campaign: CampaignFile, out: Path | None, how: tuple[int, float], *, as_json: bool) -> None:
    from hil.campaign.exhaustive_run import ExhaustiveOptions
    from hil.commands import exhaustive

    exhaustive.carry_out(campaign, ExhaustiveOptions(workers=how[0], verify=how[1]), out, as_json=as_json)


def _part(shard: str | None) -> tuple[int, int] | None:
    if shard is None:
        return None
    number, _, shards = shard.partition("/")
    if not (number.isdecimal() and shards.isdecimal()):
        raise click.BadParameter(f"{shard}: give NUMBER/OF, such as 1/2", param_hint="--shard")
    return int(number), int(shards)


def carry_out(
    campaign: CampaignFile, options: RunOptions, out: Path | None, *, confirm: bool = False, as_json: bool
) -> None:
    """Run a campaign into ``out`` (a new directory below ``runs`` if None) and print its results."""
    from hil.campaign.collect import run_campaign
    from hil.campaign.confirm import confirm_campaign
    from hil.commands.progress import shown_progress
    from hil.commands.results import new_directory, print_results, resumable

    directory = out if out is not None else new_directory(campaign.campaign.name)
    with resumable(directory), shown_progress() as progress:
        run_campaign(campaign, out=directory, options=options, progress=progress)
        if confirm:
            confirm_campaign(directory, workers=options.workers, progress=progress)
    print_results(directory, as_json=as_json)


def _print_plan(campaign: CampaignFile, options: RunOptions, *, as_json: bool) -> None:
    from hil.campaign.collect import plan_campaign

    plan = plan_campaign(campaign, options)
    click.echo(plan.to_json() if as_json else str(plan))
