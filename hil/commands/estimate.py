"""``hil estimate``: the share of flipped bits that do harm, from some of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hil.campaign.sampled import Sampled


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path))
@click.option("--faults", type=click.IntRange(min=1), help="Faults to draw [default: what --margin asks for].")
@click.option(
    "--margin", type=click.FloatRange(1e-6, 0.5, min_open=True),
    help="Absolute half-width at 99 % that the finite-population formula plans for, whatever the share is.",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(("stratified", "importance", "plain")),
    help="By layer and class of bit, shared out after a pilot; steered after a pilot; or uniformly.",
)  # fmt: skip
@click.option("--count", type=click.Choice(("critical", "wrong")), help="Harm.")
@click.option("--inputs", type=click.IntRange(min=1), help="Samples, the first ones.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    campaign: Path,
    faults: int | None,
    margin: float | None,
    method: str | None,
    count: str | None,
    inputs: int | None,
    as_json: bool,
) -> None:
    """Estimate how many flips of a weight bit do harm on any input.

    CAMPAIGN says which model, which inputs, what is critical, the seed and, under [sampling], how faults are drawn;
    options take precedence. Where every bit can be classified, `hil exhaustive` leaves nothing to estimate.
    """
    from dataclasses import asdict

    import msgspec

    from hil.campaign.configuration import load_campaign
    from hil.campaign.exhaustive import Classifier
    from hil.campaign.sampled import parts_of, sample
    from hil.campaign.workload import load_workload
    from hil.stats import sample_size

    described = load_campaign(campaign)
    given = {"faults": faults, "margin": margin, "method": method, "count": count, "inputs": inputs}
    how = msgspec.structs.replace(
        described.sampling, **{key: value for key, value in given.items() if value is not None}
    )
    workload = load_workload(described)
    parts = parts_of(workload.image)
    population = sum(len(part.bits) for part in parts)
    planned = sample_size(population, how.margin)
    classifier = Classifier(workload, "weights", tuple(range(min(how.inputs, workload.n_sequences))))
    harms = classifier.harms if how.count == "critical" else classifier.wrongs
    found = sample(parts, harms, how.faults or planned, method=how.method, seed=described.campaign.seed)
    if as_json:
        about = {"count": how.count, "inputs": len(classifier.inputs), "planned": planned}
        click.echo(json.dumps(about | asdict(found)))
        return
    _print(found, f"{how.count} on at least one of {len(classifier.inputs)} inputs", how.margin, planned)


def _print(found: Sampled, event: str, margin: float, planned: int) -> None:
    share = found.share
    click.echo(f"{found.draws} of {found.population} single-bit faults of the weights, {found.method}")
    click.echo(f"plan: {planned} faults give a half-width of {margin} at 99 % (finite population, any share)\n")
    click.echo(f"{'tensor':24} {'bits':16} {'share':>8} {'pilot':>7} {'drawn':>7} {'events':>7}")
    for part in found.parts:
        sizes = f"{100 * part.weight:7.2f} % {part.pilot:7} {part.draws:7} {part.events:7}"
        click.echo(f"{part.tensor:24.24} {part.bit_class:16} {sizes}")
    if found.effective_draws is not None:
        click.echo(f"\nworth {found.effective_draws:.0f} plain draws; largest weight {found.largest_weight:.2f}")
    click.echo(
        f"\n{event}: {100 * share.best:.3f} % of faults, {100 * share.low:.3f} to {100 * share.high:.3f} % (95 %)"
    )
