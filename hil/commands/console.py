"""``hil console``: talk to a node by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hil.commands.waiting import wait_option


@click.command()
@click.argument("target", default="pty")
@wait_option
def command(target: str, wait_s: float) -> None:
    """Talk to a node by hand.

    TARGET is what stands behind `hil run --target`; `help` lists what the node takes.

    Lines are read from standard input, so that a script can talk, too.
    """
    from hil.boards.console import Console
    from hil.commands.progress import shown_progress
    from hil.targets.hosts import host_of
    from hil.targets.waiting import wait_for_nodes

    with shown_progress() as progress:
        wait_for_nodes(target, [Path.cwd()], wait_s, progress)
    host = host_of(target, [Path.cwd()])
    prompt = f"{target}> " if sys.stdin.isatty() else ""
    try:
        with host.connect() as bridge:
            if prompt:
                click.echo(f"a node answers on {host.url}; `help` lists what it takes, `quit` ends this")
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
