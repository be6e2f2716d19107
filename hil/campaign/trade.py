"""One comparison of many protections: under several fault models, then once more on fresh strikes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from firmware_bridge.errors import ConfigError
from hil.boards.cost_profile import CostProfile, read_profile, write_profile
from hil.campaign.bundle import load_bundle, write_bundle
from hil.campaign.collect import RunOptions
from hil.campaign.configuration import CampaignFile
from hil.campaign.confirm import confirm_campaign
from hil.campaign.sensitivity import run_sensitivity, variants
from hil.progress import ProgressEvent, ProgressSink
from hil.strikes import PRESETS, preset

SETTINGS_FILE = "trade-settings.json"
COSTS_FILE = "board.cost.toml"
MARGIN = 0.1


class TradeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a trade was asked for; it lies beside the results, so that they can be gone on with.

    Parameters
    ----------
    fault_models : tuple of str
        Presets tried beside the campaign's own; none named: all of them.
    margin : float
        A cheaper protection is as good as the best one where it fails more often by at most this share of the failures
        without protection.
    count : str
        ``failure``, or ``sdc`` where an output that was withheld does no harm.
    """

    fault_models: tuple[str, ...] = ()
    margin: float = MARGIN
    count: str = "failure"

    def __post_init__(self) -> None:
        if not 0.0 < self.margin < 1.0:
            raise ConfigError(f"--margin {self.margin}: give a share between 0 and 1, such as {MARGIN}")
        if self.count not in ("failure", "sdc"):
            raise ConfigError(f"--count {self.count}: choose from failure, sdc")


@dataclass(frozen=True, kw_only=True)
class TradeFolders:
    """Where a trade lies: one run a fault model, the campaign's own first (with its confirmation inside)."""

    directory: Path
    runs: tuple[Path, ...]
    settings: TradeSettings
    costs: CostProfile | None


def run_trade(
    campaign: CampaignFile,
    settings: TradeSettings,
    costs: CostProfile | None,
    *,
    out: Path,
    options: RunOptions,
    progress: ProgressSink,
) -> TradeFolders:
    """Carry out a trade into ``out``; what was interrupted goes on, what is complete is left as it is.

    Parameters
    ----------
    campaign : CampaignFile
        As :func:`hil.campaign.sweep.swept` gives it.
    settings, costs : TradeSettings, CostProfile
        Kept beside the results; another one in the same place is refused.

    Raises
    ------
    ConfigError
        ``out`` holds another trade, or the campaign stops by a rule of its own.
    """
    campaign = campaign.changed(target=options.target, trials=options.trials)
    if campaign.stop is not None:
        raise ConfigError("[stop]: a trade compares the same strikes everywhere; take [stop] out and set trials")
    write_bundle(campaign, out)
    _settle(out, settings, costs)
    folders = run_sensitivity(
        variants(campaign, _models_of_memory(campaign, settings)), out=out, options=options, progress=progress
    )

    def fresh(event: ProgressEvent) -> None:
        progress(replace(event, stage=f"fresh strikes: {event.stage}"))

    confirm_campaign(folders[0], workers=options.workers, progress=fresh)
    return TradeFolders(directory=out, runs=folders, settings=settings, costs=costs)


def _models_of_memory(campaign: CampaignFile, settings: TradeSettings) -> tuple[str, ...]:
    """Give the presets to try beside the campaign's own: a trade weighs failures in a day, by rates of memory."""
    models = {name: preset(name) for name in settings.fault_models or PRESETS}
    for model in (campaign.fault_model, *(models[name] for name in settings.fault_models)):
        if model.in_accumulators:
            raise ConfigError(f"fault model {model.name!r}: a trade is of strikes on memory; try it by hil sensitivity")
    return tuple(name for name, model in models.items() if not model.in_accumulators)


def resume_trade(directory: Path, *, workers: int = 1, progress: ProgressSink) -> TradeFolders:
    """Go on with the trade of a directory; nothing happens where it is complete."""
    return run_trade(
        load_bundle(directory),
        _settings(directory),
        _costs(directory),
        out=directory,
        options=RunOptions(workers=workers),
        progress=progress,
    )


def holds_trade(directory: Path) -> bool:
    """True for the directory of a trade."""
    return (directory / SETTINGS_FILE).exists()


def _settle(out: Path, settings: TradeSettings, costs: CostProfile | None) -> None:
    """Write down what was asked for, or see that it is what was asked for before."""
    if not holds_trade(out):
        if costs is not None:
            write_profile(costs, out / COSTS_FILE)
        temporary = out / f"{SETTINGS_FILE}.tmp"
        temporary.write_bytes(msgspec.json.encode(settings))
        temporary.replace(out / SETTINGS_FILE)
        return
    for name, held, now in (("costs", _costs(out), costs), ("settings", _settings(out), settings)):
        if held != now:
            raise ConfigError(f"{out} holds a trade with other {name}; choose another --out")


def _settings(directory: Path) -> TradeSettings:
    path = directory / SETTINGS_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=TradeSettings)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: cannot be read: {error}; run the trade again with another --out") from None


def _costs(directory: Path) -> CostProfile | None:
    path = directory / COSTS_FILE
    return read_profile(path) if path.exists() else None
