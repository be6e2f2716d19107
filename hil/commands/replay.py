"""``hil replay``: one trial again, with everything that happened in it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("protection")
@click.argument("trial", type=click.IntRange(min=0))
@click.option(
    "--trace/--no-trace", "traced", default=True, show_default=True, help="Show what each strike did, and why."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.pass_context
def command(context: click.Context, directory: Path, protection: str, trial: int, traced: bool, as_json: bool) -> None:
    """Repeat one trial and print its trace.

    The trial is number TRIAL of PROTECTION in the run in DIRECTORY. Ends with exit code 1 if it comes out other than
    it is recorded there.
    """
    from hil.campaign.replay import replay_trial

    trace = replay_trial(directory, protection, trial)
    click.echo(trace.to_json() if as_json else str(trace) if traced else trace.verdict())
    context.exit(0 if trace.agrees else 1)
