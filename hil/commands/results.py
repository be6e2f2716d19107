"""What every command that ends in results does: name the directory, survive Ctrl-C, print the summary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from firmware_bridge.errors import FlightNodeError, Interrupted, LinkError
from hil.campaign.bundle import BUNDLE_FOLDER
from hil.campaign.store import HEADER_FILE, ROWS_FILE, holds_rows

RUNS_FOLDER = Path("runs")


def new_directory(name: str) -> Path:
    """Give a directory for a new run: ``runs/<UTC stamp>-<name>``."""
    slug = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)[:40]
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return RUNS_FOLDER / f"{stamp}-{slug}"


@contextmanager
def resumable(directory: Path) -> Iterator[None]:
    """Have the error of a run that was stopped or lost its node say how to go on.

    A run that failed before anything was measured, such as one with a mistyped port, leaves no folder behind.
    """
    go_on = f"hil resume {directory}"
    made = [folder for folder in (directory, directory.parent) if not folder.exists()]
    try:
        with interruptible(go_on):
            yield
    except Interrupted:
        raise
    except FlightNodeError as error:
        if any(holds_rows(folder) for folder in (directory, *directory.glob("*/"))):
            if not isinstance(error, LinkError):
                raise
            raise type(error)(f"{error}; what was measured is kept: continue with `{go_on}`") from error
        _remove(made)
        raise


def _remove(made: Iterable[Path]) -> None:
    """Remove the folders that a run made, unless others use them by now."""
    for folder in made:
        shutil.rmtree(folder / BUNDLE_FOLDER, ignore_errors=True)
        for name in (HEADER_FILE, ROWS_FILE):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


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
