"""``hil devices``: what can stand behind ``--target`` on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """List what --target may name.

    These are the targets without hardware, the serial ports found here, and the boards of ./bench.toml.
    """
    import msgspec

    from firmware_bridge.terminal import holder
    from hil.boards.address import TARGETS
    from hil.boards.bench_file import BENCH_FILE, load_bench, ports_of_this_machine

    ports = ports_of_this_machine()
    bench = Path(BENCH_FILE)
    boards = load_bench(bench) if bench.is_file() else {}
    if as_json:
        described = {
            "targets": TARGETS,
            "ports": [asdict(port) for port in ports],
            "boards": [msgspec.to_builtins(board) for board in boards.values()],
        }
        click.echo(json.dumps(described))
        return
    click.echo("what --target may name")
    for target, meaning in TARGETS.items():
        click.echo(f"  {target:36}{meaning}")
    click.echo("\nserial ports of this machine (`hil suggest` writes entries of bench.toml for them)")
    for port in ports:
        pid = holder(port.device)
        facts = {
            "": port.description,
            "serial number ": port.serial_number,
            "USB path ": port.usb_path,
            "open in process ": "" if pid is None else str(pid),
        }
        known = ", ".join(f"{what}{fact}" for what, fact in facts.items() if fact)
        click.echo(f"  serial://{port.device:27}{known or 'no USB adapter'}")
    if not ports:
        click.echo("  none: plug the adapter in")
    click.echo(f"\nboards of {bench}" if boards else f"\nno boards: no {bench} here")
    for board in boards.values():
        place = board.url or board.serial_number or board.usb_path
        power = "its power can be cycled" if board.power else ""
        about = [place, *board.capabilities, power, board.note]
        click.echo(f"  bench:{board.name:30}{'  '.join(fact for fact in about if fact)}")
