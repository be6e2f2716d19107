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
