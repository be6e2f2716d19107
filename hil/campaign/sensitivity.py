"""One campaign under several fault models, to see whether the answer depends on how memory is struck."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec

from firmware_bridge.errors import ConfigError
from hil.campaign.collect import RunOptions, run_campaign
from hil.campaign.configuration import CampaignFile, StrikesSection
from hil.progress import ProgressEvent, ProgressSink
from hil.strikes import PRESETS, preset


def variants(campaign: CampaignFile, names: Iterable[str] = ()) -> tuple[CampaignFile, ...]:
    """Give the campaign under its own fault model, then under each of the presets named, each once.

    Parameters
    ----------
    campaign : CampaignFile
        What is repeated; heat is left out.
    names : iterable of str
        Presets of :mod:`hil.strikes`; none named: all of them.

    Raises
    ------
    ConfigError
        There is no such preset, or the campaign's own model bears the name of another one.
    """
    own = campaign.fault_model
    if own.name in PRESETS and own != PRESETS[own.name]:
        raise ConfigError(
            f"[strikes.custom]: name = {own.name!r} is that of a preset which differs; choose another name"
        )
    wanted = dict.fromkeys(tuple(names) or PRESETS)
    models = (preset(name) for name in wanted if name != own.name)
    cool = msgspec.structs.replace(campaign, heat=None)
    return (
        cool,
        *(
            msgspec.structs.replace(
                cool,
                fault_model=model,
                strikes=StrikesSection(fault_model=model.name, regions=campaign.strikes.regions),
                # A rate is one of memory.
                rate=None if model.in_accumulators else campaign.rate,
            )
            for model in models
        ),
    )


def run_sensitivity(
    campaigns: Iterable[CampaignFile], *, out: Path, options: RunOptions, progress: ProgressSink
) -> tuple[Path, ...]:
    """Carry out each campaign in a folder of ``out`` that bears its fault model's name; give the folders.

    What was interrupted goes on, what is complete is left as it is.
    """
    folders = []
    for campaign in campaigns:
        name = campaign.fault_model.name

        def under(event: ProgressEvent, name: str = name) -> None:
            progress(replace(event, stage=f"{name}: {event.stage}"))

        folder = out / "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
        run_campaign(campaign, out=folder, options=options, progress=under)
        folders.append(folder)
    return tuple(folders)
