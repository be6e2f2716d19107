"""``[rate]`` of the campaign file: how often things happen in orbit, and how much work there is."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec

from firmware_bridge.errors import ConfigError
from hil.campaign.protections import ProtectionEntry
from hil.campaign.record import DAY_S
from hil.environment.beam_data import Triple, crash_data
from hil.toml_file import typed_table

RATE_KEYS = ("low", "best", "high")


class RateSection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[rate]``: upsets per bit and day, as low, best and high, and how much work the computer has in a day.

    With ``demand_per_day`` inferences of ``inference_s`` seconds each (at full speed, unprotected) it is exposed
    while it works: its memory is loaded for that. Without, it works and is exposed all day.

    ``board_crashes_per_day`` is how often the board itself crashes in a day of work, as low, best and high: from beam
    data of processor, caches and kernel, which no strike here reaches. ``hil trade`` weighs protections against it.
    It may be left to published data: ``board`` names some of :mod:`hil.environment.beam_data`, and
    ``protons_per_cm2_s`` gives the flux above 20 MeV behind the shield, as low, best and high.
    """

    low: float
    best: float
    high: float
    demand_per_day: float | None = None
    inference_s: float | None = None
    board_crashes_per_day: Triple | None = None
    board: str | None = None
    protons_per_cm2_s: Triple | None = None

    @property
    def crashes_per_day(self) -> Triple | None:
        """The board's own crashes in a day of work, given or from beam data; None where nothing is known."""
        if self.board is None or self.protons_per_cm2_s is None:
            return self.board_crashes_per_day
        return crash_data(self.board).crashes_per_day(self.protons_per_cm2_s)

    @property
    def crash_source(self) -> str:
        """Where that rate comes from; empty where the file gave the rate itself."""
        if self.board is None or self.protons_per_cm2_s is None:
            return ""
        return f"{crash_data(self.board).words}, times {self.protons_per_cm2_s[1]:g} protons per cm2 and second"


def read_rate(table: Any, where: str) -> RateSection | None:
    """Give the checked section of a file, None where it is left out; ``where`` names it in errors."""
    if table is None:
        return None
    rate = typed_table(table, RateSection, where)
    _check_crashes(rate, where)
    for key, value in msgspec.structs.asdict(rate).items():
        if isinstance(value, float) and not (isfinite(value) and value > 0.0):
            wanted = "upsets per bit and day above 0, or leave [rate] out" if key in RATE_KEYS else "a number above 0"
            raise ConfigError(f"{where}: {key} = {value}: give {wanted}")
    if not rate.low <= rate.best <= rate.high:
        raise ConfigError(f"{where}: low, best, high = {rate.low}, {rate.best}, {rate.high}: put them in rising order")
    if (rate.demand_per_day is None) != (rate.inference_s is None):
        raise ConfigError(f"{where}: demand_per_day and inference_s belong together; give both or neither")
    return rate


def _check_crashes(rate: RateSection, where: str) -> None:
    for key in ("board_crashes_per_day", "protons_per_cm2_s"):
        triple = getattr(rate, key)
        if triple is None:
            continue
        if not all(isfinite(value) and value >= 0.0 for value in triple) or sorted(triple) != list(triple):
            raise ConfigError(
                f"{where}: {key} = {list(triple)}: give low, best and high in rising order, 0 or more each"
            )
    if (rate.board is None) != (rate.protons_per_cm2_s is None):
        raise ConfigError(f"{where}: board and protons_per_cm2_s belong together; give both or neither")
    if rate.board is None:
        return
    if rate.board_crashes_per_day is not None:
        raise ConfigError(f"{where}: board and board_crashes_per_day both say how often it crashes; keep one of them")
    try:
        crash_data(rate.board)
    except ConfigError as error:
        raise ConfigError(f"{where}: board: {error}") from None


def check_demand(rate: RateSection | None, protections: Iterable[ProtectionEntry], where: str) -> None:
    """Refuse protections that would be busy with a day's demand for longer than a day."""
    if rate is None or rate.demand_per_day is None or rate.inference_s is None:
        return
    for entry in protections:
        work_s = rate.demand_per_day * rate.inference_s * entry.protection.time_factor
        if work_s > DAY_S:
            raise ConfigError(
                f"{where}: demand_per_day = {rate.demand_per_day:g} keeps {entry.name!r} busy for {work_s:.0f} s "
                f"of the {DAY_S:.0f} s of a day; lower demand_per_day, inference_s or that slowdown or redundancy"
            )
