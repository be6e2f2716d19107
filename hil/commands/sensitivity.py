"""``hil sensitivity``: a campaign under several fault models."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option("--fault-model", "models", multiple=True, help="A preset; can be given several times [default: all].")
@click.option("--target", help="Where: sim, memory, pty, qemu, serial:///dev/..., tcp://host:port, bench:NAME.")
@click.option("--trials", type=click.IntRange(min=1), help="Trials per protection, instead of the file's.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at work.")
@click.option("--out", type=click.Path(path_type=Path), help="Results directory [default: runs/<time>-<name>].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    campaign: Path,
    models: tuple[str, ...],
    target: str | None,
    trials: int | None,
    workers: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Ask whether the winner depends on the fault model.

    The comparison of CAMPAIGN is repeated under each fault model. If interrupted, call it again with the same --out.
    """
    from hil.boards.bench_file import plain_target, resolve_target
    from hil.campaign.collect import RunOptions
    from hil.campaign.configuration import load_campaign
    from hil.campaign.sensitivity import run_sensitivity, variants
    from hil.commands.progress import shown_progress
    from hil.commands.results import interruptible, new_directory
    from hil.report.sensitivity import sensitivity_of

    described = load_campaign(campaign).changed(target=target, trials=trials)
    resolve_target(described.campaign.target, described.bench_folders)  # to say at once what is not there
    target = plain_target(described.campaign.target, described.bench_folders)
    directory = out if out is not None else new_directory(f"{described.campaign.name}-sensitivity")
    again = f"hil sensitivity {campaign} --out {directory}"
    options = RunOptions(target=target, workers=workers)
    with interruptible(again), shown_progress() as progress:
        folders = run_sensitivity(variants(described, models), out=directory, options=options, progress=progress)
    found = sensitivity_of(folders)
    (directory / "sensitivity.json").write_text(json.dumps(found.to_json(), indent=1) + "\n", encoding="utf-8")
    if as_json:
        click.echo(json.dumps(found.to_json()))
        return
    click.echo(found.table())
    click.echo(f"results  {directory}")
