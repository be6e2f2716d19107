"""``hil console``: talk to a node by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("target", default="pty")
def command(target: str) -> None:
    """Talk to a node by hand.

    TARGET is what stands behind `hil run --target`; `help` lists what the node takes.

    Lines are read from standard input, so that a script can talk, too.
    """
    from hil.boards.bench_file import resolve_target
    from hil.boards.console import Console
    from hil.targets.hosts import host_of

    host = host_of(resolve_target(target, [Path.cwd()]))
    prompt = f"{target}> " if sys.stdin.isatty() else ""
    try:
        with host.connect() as bridge:
            console = Console(bridge, click.echo)
            while line := _line(prompt):
                if not console.do(line):
                    break
    finally:
        host.close()


def _line(prompt: str) -> str:
    """The next line with its end, empty at the end of the input."""
    click.echo(prompt, nl=False)
    return sys.stdin.readline()
