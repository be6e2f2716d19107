"""What every command that ends in results does: name the directory, survive Ctrl-C, print the summary."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from firmware_bridge.errors import Interrupted, LinkError
from hil.campaign.store import holds_rows

RUNS_FOLDER = Path("runs")


def new_directory(name: str) -> Path:
    """Give a directory for a new run: ``runs/<UTC stamp>-<name>``."""
    slug = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)[:40]
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return RUNS_FOLDER / f"{stamp}-{slug}"


@contextmanager
def resumable(directory: Path) -> Iterator[None]:
    """Have the error of a run that was stopped or lost its node say how to go on."""
    go_on = f"hil resume {directory}"
    try:
        with interruptible(go_on):
            yield
    except LinkError as error:
        if not holds_rows(directory):
            raise
        raise type(error)(f"{error}; what was measured is kept: continue with `{go_on}`") from error


@contextmanager
def interruptible(command: str) -> Iterator[None]:
    """Turn Ctrl-C into an error that names the command which goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: what was measured is kept; continue with `{command}`") from None


def print_results(directory: Path, *, as_json: bool) -> None:
    """Write the report of a run and print its table and the report's path, or the summary as one JSON object."""
    from hil.report import summarise, table, to_json, write_report

    summary = summarise(directory)
    if as_json:
        click.echo(json.dumps(to_json(summary)))
        return
    report = write_report(directory)
    click.echo(table(summary))
    click.echo(f"\nresults  {directory}\nreport   {report}")
