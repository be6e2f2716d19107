"""``hil report``: the table and the HTML file of a run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(directory: Path, as_json: bool) -> None:
    """Print results and write their report.

    The run in DIRECTORY may be unfinished.
    """
    from hil.commands.results import print_results

    print_results(directory, as_json=as_json)
