"""``hil demo``: the example campaign on a node behind a pseudo-terminal."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Results directory [default: runs/<time>-demo].")
@click.option("--trials", type=click.IntRange(min=1), help="Trials per protection [default: 1000].")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(out: Path | None, trials: int | None, as_json: bool) -> None:
    """Strike and heat a node, and report.

    It runs what `hil init --example` writes, with the node as a process of its own behind a pseudo-terminal.
    """
    from hil.campaign.collect import RunOptions
    from hil.campaign.configuration import load_campaign
    from hil.commands.results import new_directory
    from hil.commands.run import carry_out
    from hil.scaffold import CAMPAIGN_FILE, EXAMPLES

    campaign = load_campaign(EXAMPLES / CAMPAIGN_FILE)
    options = RunOptions(target="pty", trials=trials)
    carry_out(campaign, options, out or new_directory("demo"), as_json=as_json)
