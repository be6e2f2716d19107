"""``hil init``: a campaign that runs as it is."""

from __future__ import annotations

import json
from pathlib import Path

import click

OPTIONAL_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--example", is_flag=True, help="Write the example: a small classifier, six protections.")
@click.option("--model", type=OPTIONAL_FILE, help="An .onnx file of yours.")
@click.option("--inputs", type=OPTIONAL_FILE, help="An .npz file: an array for each input, first axis = sample.")
@click.option("--labels", type=OPTIONAL_FILE, help="An .npy file with one integer a sample.")
@click.option("--critical", help="When a wrong output is critical: top1, labels, tolerance or module:function.")
@click.option("--tolerance", type=float, default=0.0, help="For --critical tolerance: relative to the largest value.")
@click.option(
    "--state", "states", multiple=True, metavar="OUTPUT=INPUT",
    help="An output that feeds an input in the next inference; may be repeated.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    directory: Path,
    example: bool,
    model: Path | None,
    inputs: Path | None,
    labels: Path | None,
    critical: str | None,
    tolerance: float,
    states: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a campaign that runs as it is.

    DIRECTORY gets the example, or a campaign for a model of your own. Nothing is overwritten.
    """
    from hil.commands.compile import parse_pairs
    from hil.scaffold import OwnModel, write_example, write_for_model

    if example == (model is not None):
        raise click.UsageError("give either --example, or --model with --inputs")
    if model is None:
        if inputs or labels or critical or tolerance or states:
            raise click.UsageError("--inputs, --labels, --critical, --tolerance and --state go with --model")
        written = write_example(directory)
    else:
        if inputs is None:
            raise click.UsageError("--model needs --inputs FILE.npz with samples to run")
        own = OwnModel(
            model=model,
            inputs=inputs,
            labels=labels,
            critical=critical or ("labels" if labels else "top1"),
            tolerance=tolerance,
            state=parse_pairs(states),
        )
        written = write_for_model(directory, own)
    if as_json:
        click.echo(json.dumps({"written": [str(path) for path in written]}))
        return
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f"next: hil run {written[0]}")
