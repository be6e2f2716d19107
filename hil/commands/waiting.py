"""The option of every command that talks to a board."""

from __future__ import annotations

import click

wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0.0),
    default=0.0,
    metavar="SECONDS",
    help="So long a board may take until its port is there and it answers [default: it must be there].",
)
