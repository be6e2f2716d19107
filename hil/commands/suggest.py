"""``hil suggest``: what to write down so that a board's adapter is found and left alone."""

from __future__ import annotations

import click


@click.command()
@click.option("--udev", is_flag=True, help="Print a udev rule instead of bench.toml entries.")
def command(udev: bool) -> None:
    """Print an entry of bench.toml for each serial port found here.

    With --udev: a rule that keeps ModemManager from talking into these adapters and gives the group dialout access;
    save it as /etc/udev/rules.d/60-flightnode.rules.
    """
    from hil.boards.bench_file import ports_of_this_machine
    from hil.boards.suggestion import bench_entries, udev_rules

    ports = ports_of_this_machine()
    if not ports:
        click.echo("# no serial port here: plug the adapter in")
    else:
        click.echo(udev_rules(ports) if udev else bench_entries(ports), nl=False)
