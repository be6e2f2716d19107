"""``hil transcript``: write down what goes over the line, look at it, play it back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from firmware_bridge.conversation import Exchange


@click.group()
def command() -> None:
    """Record what goes over the line, and play it back.

    Against the node's side: `hil transcript replay FILE --target pty`. Against the host's side: any command that
    takes a target, with `--target transcript:FILE`.
    """


@command.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND ...")
@click.pass_context
def record(context: click.Context, folder: Path, arguments: tuple[str, ...]) -> None:
    """Carry out another `hil` command and record each of its sessions into a file in FOLDER.

    Example: hil transcript record lines run campaign.toml --target pty
    """
    from firmware_bridge.transcript import FOLDER_VARIABLE, SUFFIX
    from hil.cli import main

    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob(f"*{SUFFIX}"))
    held = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(folder.absolute())
    try:
        code = main(arguments)
    finally:
        del os.environ[FOLDER_VARIABLE]
        if held is not None:
            os.environ[FOLDER_VARIABLE] = held
    for path in sorted(set(folder.glob(f"*{SUFFIX}")) - before):
        click.echo(f"{path}  {path.stat().st_size} bytes", err=True)
    context.exit(code)


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def show(file: Path) -> None:
    """Print the messages in FILE: frame number, milliseconds, direction, message."""
    from firmware_bridge.conversation import listen
    from firmware_bridge.playback import brief
    from firmware_bridge.transcript import read_transcript

    for said in listen(read_transcript(file)):
        arrow = ">" if said.from_host else "<"
        click.echo(f"{said.frame:6} {said.time_us / 1000:12.3f} {arrow} {said.request_id:08x} {brief(said.message)}")


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write.")
def packets(file: Path, out: Path) -> None:
    """Write the telemetry in FILE that the node sent unasked, as CCSDS Space Packets (see `hil export xtce`)."""
    from firmware_bridge.apids import UNRELIABLE
    from firmware_bridge.conversation import frames_of
    from firmware_bridge.packets import encode_packet
    from firmware_bridge.transcript import read_transcript

    found = [packet for _, _, packet in frames_of(read_transcript(file)) if packet.apid in UNRELIABLE]
    out.write_bytes(b"".join(map(encode_packet, found)))
    click.echo(f"{out}  {len(found)} packets")


@command.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--target", default="pty", show_default=True, help="A node that holds nothing yet.")
@click.pass_context
def replay(context: click.Context, file: Path, target: str) -> None:
    """Ask a node what FILE asked, and compare its answers; exit 1 where one differs.

    Times, temperatures, clocks and the node's identity are not compared.
    """
    from firmware_bridge.conversation import exchanges, listen
    from firmware_bridge.playback import play_to_node
    from firmware_bridge.transcript import read_transcript
    from hil.boards.bench_file import resolve_target
    from hil.targets.hosts import host_of

    recorded = exchanges(listen(read_transcript(file)))
    host = host_of(resolve_target(target, [Path.cwd()]))
    try:
        with host.connect() as bridge:
            first = next(play_to_node(recorded, bridge), None)
    finally:
        host.close()
    if first is not None:
        click.echo(f"diverges at {first}")
        context.exit(1)
    click.echo(f"{_answered(recorded)} answers, all as recorded")


def _answered(recorded: list[Exchange]) -> int:
    return sum(exchange.reply is not None for exchange in recorded)
