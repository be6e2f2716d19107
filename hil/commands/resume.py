"""``hil resume``: go on where a run was interrupted."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at work.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(directory: Path, workers: int, as_json: bool) -> None:
    """Finish an interrupted run, trade or classification.

    The run in DIRECTORY goes on with the target and the trials it was started with; if complete, it is reported.
    """
    from hil.campaign.block_log import begun
    from hil.campaign.collect import resume_campaign
    from hil.campaign.trade import holds_trade, resume_trade
    from hil.commands.exhaustive import finish
    from hil.commands.progress import shown_progress
    from hil.commands.results import print_results, resumable
    from hil.commands.trade import print_trade

    if begun(directory) is not None:
        finish(directory, workers, as_json=as_json)
        return
    if holds_trade(directory):
        with resumable(directory), shown_progress() as progress:
            folders = resume_trade(directory, workers=workers, progress=progress)
        print_trade(folders, as_json=as_json)
        return
    with resumable(directory), shown_progress() as progress:
        resume_campaign(directory, workers=workers, progress=progress)
    print_results(directory, as_json=as_json)
