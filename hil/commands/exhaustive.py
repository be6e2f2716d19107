"""``hil exhaustive``: every single-bit fault of a region, none left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hil.campaign.configuration import CampaignFile
    from hil.campaign.exhaustive_run import Exhaustive, ExhaustiveOptions


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option(
    "--region", type=click.Choice(("weights", "activations", "accumulators", "state", "steps")), default="weights",
    show_default=True, help="Which memory is struck.",
)  # fmt: skip
@click.option("--inputs", type=click.IntRange(min=1), default=100, show_default=True, help="Samples, the first ones.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at work.")
@click.option("--verify", type=click.FloatRange(0.0, 1.0), default=0.0, help="Share that is repeated by whole runs.")
@click.option("--out", type=click.Path(path_type=Path), help="Results directory [default: runs/<time>-<name>].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    campaign: Path, region: str, inputs: int, workers: int, verify: float, out: Path | None, as_json: bool
) -> None:
    """Flip every bit of a region, and classify each flip.

    CAMPAIGN says which model, which inputs and what is critical; its strikes and protections are not used.
    """
    from hil.campaign.configuration import load_campaign
    from hil.campaign.exhaustive_run import ExhaustiveOptions

    options = ExhaustiveOptions(region=region, inputs=inputs, workers=workers, verify=verify)
    carry_out(load_campaign(campaign), options, out, as_json=as_json)


def carry_out(campaign: CampaignFile, options: ExhaustiveOptions, out: Path | None, *, as_json: bool) -> None:
    """Classify every bit into ``out`` (a new directory below ``runs`` if None) and print what came out."""
    from hil.campaign.exhaustive_run import run_exhaustive
    from hil.commands.progress import shown_progress
    from hil.commands.results import interruptible, new_directory

    directory = out if out is not None else new_directory(f"{campaign.campaign.name}-every-bit")
    with interruptible(f"hil resume {directory}"), shown_progress() as progress:
        result = run_exhaustive(campaign, out=directory, options=options, progress=progress)
    print_exhaustive(campaign, directory, result, as_json=as_json)


def finish(directory: Path, workers: int, *, as_json: bool) -> None:
    """Go on where an exhaustive campaign was interrupted, and print what came out."""
    from hil.campaign.bundle import load_bundle
    from hil.campaign.exhaustive_run import resume_exhaustive
    from hil.commands.progress import shown_progress
    from hil.commands.results import interruptible

    with interruptible(f"hil resume {directory}"), shown_progress() as progress:
        result = resume_exhaustive(directory, workers=workers, progress=progress)
    print_exhaustive(load_bundle(directory), directory, result, as_json=as_json)


def print_exhaustive(campaign: CampaignFile, directory: Path, result: Exhaustive, *, as_json: bool) -> None:
    """Write the page of a finished exhaustive campaign and print its shares."""
    from hil.campaign.workload import load_workload
    from hil.report.exhaustive_page import write_exhaustive_page

    page = write_exhaustive_page(directory, load_workload(campaign).image, result)
    if as_json:
        click.echo(json.dumps(result.about | {"shares": result.shares()}))
        return
    about = result.about
    moments, bits, samples = result.codes.shape
    rate = (result.codes.size - about["evaluations_kept"]) / about["elapsed_s"]
    click.echo(
        f"{moments * bits} faults of {about['region']} on {samples} inputs, every one: {rate:,.0f} evaluations/s"
    )
    for name, share in result.shares().items():
        click.echo(f"  {name:14} {100 * share:8.4f} %")
    click.echo(f"repeated by whole runs, with equal bytes: {about['verified_evaluations']} evaluations")
    click.echo(f"\nresults  {directory}\nreport   {page}")
