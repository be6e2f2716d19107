"""``hil export``: results for other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def command() -> None:
    """Write results for other programs."""


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
def trials(directory: Path) -> None:
    """Print the trials of the run in DIRECTORY as CSV: protection, trial, strike id, faults, outcome."""
    from hil.campaign.export import trials_csv

    trials_csv(directory, sys.stdout)


@command.command()
def xtce() -> None:
    """Print the XTCE database of the packets that `hil export packets` writes."""
    from hil.ground.layouts import LAYOUTS
    from hil.ground.xtce import xtce as database

    click.echo(database(LAYOUTS), nl=False)


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write [default: DIRECTORY/packets.bin].")
def packets(directory: Path, out: Path | None) -> None:
    """Write the run in DIRECTORY as CCSDS Space Packets: one for each trial and each slice of heating."""
    from hil.ground.packets import packets_of

    path = out if out is not None else directory / "packets.bin"
    found = list(packets_of(directory))
    path.write_bytes(b"".join(found))
    click.echo(f"{path}  {len(found)} packets")


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
def metrics(directory: Path) -> None:
    """Print the run in DIRECTORY, finished or under way, as Prometheus text."""
    from hil.ground.metrics import metrics as text

    click.echo(text(directory), nl=False)


@command.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write [default: DIRECTORY/map.parquet].")
def parquet(directory: Path, out: Path | None) -> None:
    """Write the map of every bit in DIRECTORY as Parquet: layer, tensor, channel, bit, wrong, critical."""
    from hil.report.map_table import write_map_table

    path, rows = write_map_table(directory, out)
    click.echo(f"{path}  {rows} rows")
