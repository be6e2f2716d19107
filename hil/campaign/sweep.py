"""The protections that ``hil trade`` tries beside those of the campaign: single ones and stacks of them.

A new field of :class:`node.Protection` enters with one line of :data:`OPTIONS`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any

import msgspec

from hil.campaign.configuration import CampaignFile
from hil.campaign.protections import ProtectionEntry, with_controls
from node.protection import OnDetected, Protection, Ranges

BASE = "vertical_hsiao"
"""The code that options are stacked on one by one."""

STORED = frozenset(
    {
        "code",
        "regions",
        "scrub_period",
        "on_detected",
        "checkpoint_period",
        "repair_at_once",
        "padding_bytes",
        "slowdown",
        "on_alarm",
        "scrub_slice",
        "sequence",
        "scrub_seconds",
        "scrub_share",
        "scrub_target",
    }
)
"""Fields of a Protection that take no time in a sound inference; every other one acts on the computation."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One thing that can be switched on: its label and the fields that it sets.

    ``alone`` is tried by itself, ``stacked`` on top of :data:`BASE`.
    """

    label: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = True
    stacked: bool = True


def _code(name: str) -> Option:
    return Option(label=name, fields={"code": name}, stacked=False)


def _on_a_code(label: str, **fields: Any) -> Option:
    return Option(label=label, fields=fields, alone=False)


OPTIONS = (
    _code("parity"),
    _code("vertical_pd"),
    _code("hsiao_72_64"),
    _code("vertical_hsiao"),
    _code("vertical_ssc"),
    _code("vertical_chipkill"),
    _code("bch_79_64"),
    _code("rs_255_223"),
    _code("tmr"),
    _on_a_code("scrub every 2nd", scrub_period=2),
    _on_a_code("reload", on_detected=OnDetected.RELOAD),
    _on_a_code("checkpoint", on_detected=OnDetected.ROLLBACK, checkpoint_period=2),
    _on_a_code("verify on use", verify_on_use=True, scrub_period=0),
    Option(label="ABFT", fields={"abft": True}),
    Option(label="ranges", fields={"ranges": Ranges.CLIP}),
    Option(label="twice", fields={"redundancy": 2}),
    Option(label="three times", fields={"redundancy": 3}),
)
"""Every option; the codes come first."""

STACKS = (
    ("parity", "reload"),
    ("vertical_chipkill", "reload"),
    ("vertical_chipkill", "scrub every 2nd"),
    ("tmr", "checkpoint"),
    ("ABFT", "ranges"),
    ("vertical_chipkill", "verify on use", "reload", "ranges"),
    ("vertical_chipkill", "reload", "ABFT", "ranges"),
    ("vertical_chipkill", "reload", "three times"),
)
"""Stacks beside those on :data:`BASE`, by labels."""


def candidates(regions: Iterable[str] = ("weights",)) -> dict[str, Protection]:
    """Give every protection of the sweep by name, each guarding these regions.

    Examples
    --------
    >>> len(candidates()) >= 12, candidates()["parity + reload"].on_detected.value
    (True, 'reload')
    """
    held = {option.label: option for option in OPTIONS}
    singles = ((option.label,) for option in OPTIONS if option.alone)
    stacks = ((BASE, option.label) for option in OPTIONS if option.stacked)
    found = {}
    for labels in chain(singles, stacks, STACKS):
        switched = {key: value for label in labels for key, value in held[label].fields.items()}
        found[" + ".join(labels)] = Protection(regions=tuple(regions), **switched)
    return found


def swept(campaign: CampaignFile) -> CampaignFile:
    """Give the campaign with its own protections, those of the sweep and all controls; without heat.

    What the file lists keeps its name and is not tried twice; what it holds at a temperature is left out, since the
    comparison is one of protections. The sweep guards all that is struck and can be guarded.
    """
    struck = tuple(name for name in ("weights", "steps") if name in campaign.strikes.regions)
    own = [entry for entry in campaign.protections if entry.temperature_c is None]
    known = {entry.protection for entry in own if not entry.control}
    taken = {entry.name for entry in own}
    added = [
        ProtectionEntry(name=name, protection=protection)
        for name, protection in candidates(struck or ("weights",)).items()
        if protection not in known and name not in taken
    ]
    return msgspec.structs.replace(campaign, protections=with_controls((*own, *added)), heat=None)


def computation_key(protection: Protection) -> str:
    """Name what a protection does to the computation itself, empty for nothing; equal names cost equal time.

    Examples
    --------
    >>> computation_key(Protection(code="tmr", redundancy=2)), computation_key(Protection(code="tmr"))
    ('redundancy=2', '')
    """
    values = json.loads(protection.to_json())
    return ", ".join(f"{key}={values[key]}" for key in sorted(_acting(protection)))


def on_computation(protections: Iterable[Protection]) -> dict[str, Protection]:
    """Give what has to be timed under an inference of its own, by :func:`computation_key`, and nothing besides."""
    return {
        key: Protection(regions=protection.regions, scrub_period=0, **_acting(protection))
        for protection in protections
        if (key := computation_key(protection))
    }


def _acting(protection: Protection) -> dict[str, Any]:
    """Give the fields that act on the computation and are switched on, and the code where one of them needs it."""
    usual = Protection()
    names = (entry.name for entry in fields(Protection) if entry.name not in STORED)
    found = {name: getattr(protection, name) for name in names if getattr(protection, name) != getattr(usual, name)}
    if protection.verify_on_use:
        found["code"] = protection.code
    return found
