"""``hil measure``: what the parts of a protection take on a board."""

from __future__ import annotations

from pathlib import Path

import click

from hil.commands.waiting import wait_option


@click.command()
@click.argument("campaign", type=click.Path(path_type=Path), required=False)
@click.option("--target", help="Where: sim, memory, pty, qemu, serial:///dev/..., tcp://host:port, bench:NAME.")
@wait_option
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write, such as pi4.cost.toml."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.0, max=60.0),
    default=0.03,
    show_default=True,
    help="For each thing; the median of a few times is taken in any case.",
)
@click.option("--code", "codes", multiple=True, help="A code; can be given several times [default: all].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    campaign: Path | None,
    target: str | None,
    wait_s: float,
    out: Path,
    seconds: float,
    codes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure a board and write its cost profile.

    Every code is timed on memory of two sizes, then inference, steps, scrub, checkpoint and reset of the model of
    CAMPAIGN (the digits classifier in int8 without one). Times are those of the board's own clock.
    """
    import json

    import msgspec

    from firmware_bridge.errors import ConfigError
    from hil.boards.cost_profile import write_profile
    from hil.boards.measure import MeasureOptions, measure_board
    from hil.campaign.configuration import load_campaign
    from hil.campaign.sweep import on_computation, swept
    from hil.campaign.workload import load_workload
    from hil.commands.progress import shown_progress
    from hil.report.cost_table import cost_table
    from hil.scaffold import CAMPAIGN_FILE, EXAMPLES
    from hil.targets.target import open_session
    from hil.targets.waiting import wait_for_nodes

    described = load_campaign(campaign or EXAMPLES / CAMPAIGN_FILE)
    node, folders = target or described.campaign.target, described.bench_folders
    workload = load_workload(described)
    known = _known(codes)
    everything = (entry.protection for entry in swept(described).protections)
    tried = on_computation(each for each in everything if each.code in (*known, "none"))
    options = MeasureOptions(seconds_each=seconds, codes=known, protections=tried)
    if not out.absolute().parent.is_dir():  # found before the measuring, not after it
        raise ConfigError(f"{out}: no such folder; choose another -o")
    with shown_progress() as progress:
        wait_for_nodes(node, folders, wait_s, progress)
        with open_session(node, progress, folders) as session:
            profile = measure_board(session, workload.image, workload.inputs_file(), options, progress)
    write_profile(profile, out)
    click.echo(json.dumps(msgspec.to_builtins(profile)) if as_json else f"{cost_table(profile)}\n\nprofile  {out}")


def _known(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Give the codes asked for, all of them where none is."""
    from firmware_bridge.errors import ConfigError
    from node.ecc import CODES

    for code in codes:
        if code not in CODES:
            raise ConfigError(f"--code: no code {code!r}; choose from {', '.join(CODES)}")
    return codes or tuple(CODES)
