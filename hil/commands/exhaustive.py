"""``hil exhaustive``: every single-bit fault of a region, none left out."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option(
    "--region", type=click.Choice(("weights", "activations", "steps")), default="weights", show_default=True,
    help="Which memory is struck.",
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
    from hil.campaign.exhaustive_run import ExhaustiveOptions, run_exhaustive
    from hil.campaign.workload import load_workload
    from hil.commands.progress import shown_progress
    from hil.commands.results import new_directory
    from hil.report.exhaustive_page import write_exhaustive_page

    described = load_campaign(campaign)
    options = ExhaustiveOptions(region=region, inputs=inputs, workers=workers, verify=verify)
    directory = out if out is not None else new_directory(f"{described.campaign.name}-every-bit")
    with shown_progress() as progress:
        result = run_exhaustive(described, out=directory, options=options, progress=progress)
    page = write_exhaustive_page(directory, load_workload(described).image, result)
    if as_json:
        click.echo(json.dumps(result.about | {"shares": result.shares()}))
        return
    moments, bits, samples = result.codes.shape
    rate = result.codes.size / result.about["elapsed_s"]
    click.echo(f"{moments * bits} faults of {region} on {samples} inputs, every one: {rate:,.0f} evaluations/s")
    for name, share in result.shares().items():
        click.echo(f"  {name:14} {100 * share:8.4f} %")
    click.echo(f"repeated by whole runs, with equal bytes: {result.about['verified_evaluations']} evaluations")
    click.echo(f"\nresults  {directory}\nreport   {page}")
