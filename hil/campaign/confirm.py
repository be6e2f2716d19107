"""A campaign once more on fresh strikes, which had no part in choosing the winner."""

from __future__ import annotations

from pathlib import Path

import msgspec

from firmware_bridge.errors import ConfigError
from hil.campaign.bundle import load_bundle
from hil.campaign.collect import RunOptions, missing_trials_of, run_campaign
from hil.campaign.configuration import CampaignFile
from hil.campaign.store import CONFIRMATION_FOLDER, read_header, read_rows, stopped_at
from hil.progress import ProgressSink
from hil.strikes import Stream


def confirmation_of(campaign: CampaignFile, trials: int) -> CampaignFile:
    """Give the campaign that confirms another: as many trials as were done, another seed, no rule to stop, no heat.

    The seed follows from the first one, so that nobody can draw seeds until one pleases; it is recorded like any
    other. Strikes of different seeds are independent.
    """
    seed = Stream("confirmation", campaign.campaign.seed).below(1 << 63)
    section = msgspec.structs.replace(campaign.campaign, seed=seed, trials=trials)
    return msgspec.structs.replace(campaign, campaign=section, heat=None, stop=None)


def confirm_campaign(directory: Path, *, workers: int = 1, progress: ProgressSink) -> None:
    """Run the confirmation of a finished run into ``directory/confirmation``; one that was interrupted goes on.

    Raises
    ------
    ConfigError
        The run itself is not complete: what is to be confirmed is not settled.
    """
    missing = missing_trials_of(directory)
    if missing:
        raise ConfigError(f"{directory}: {missing} trials are missing; finish them first: `hil resume {directory}`")
    trials = stopped_at(read_rows(directory)) or read_header(directory).trials
    campaign = confirmation_of(load_bundle(directory), trials)
    options = RunOptions(workers=workers)
    run_campaign(campaign, out=directory / CONFIRMATION_FOLDER, options=options, progress=progress)
