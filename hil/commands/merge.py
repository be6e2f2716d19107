"""``hil merge``: the results of several machines as one."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directories", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new results directory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(directories: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Add up the results of several machines.

    DIRECTORIES hold parts of one campaign, each made with another `hil run --shard`. What is not of one campaign is
    refused.
    """
    from hil.campaign.merge import merge_runs
    from hil.commands.results import print_results

    merge_runs(directories, out)
    print_results(out, as_json=as_json)
