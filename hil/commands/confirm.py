"""``hil confirm``: a finished run once more, on fresh strikes."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at work.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def command(directory: Path, workers: int, as_json: bool) -> None:
    """Repeat a finished run on fresh strikes.

    The best of several was lucky as well; only strikes that had no part in choosing it say how good it is. They are
    as many as before, with a seed of their own, and lie in DIRECTORY/confirmation. If interrupted, call it again.
    """
    from hil.campaign.confirm import confirm_campaign
    from hil.campaign.store import CONFIRMATION_FOLDER
    from hil.commands.progress import shown_progress
    from hil.commands.results import print_results, resumable

    with resumable(directory / CONFIRMATION_FOLDER), shown_progress() as progress:
        confirm_campaign(directory, workers=workers, progress=progress)
    print_results(directory, as_json=as_json)
