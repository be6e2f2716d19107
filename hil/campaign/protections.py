"""The protections that a campaign compares, and the controls that every comparison needs."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any, get_type_hints

import msgspec

from firmware_bridge.errors import ConfigError
from hil.toml_file import check_keys, typed_value
from node.protection import Protection

CONTROLS = ("null", "none", "oracle", "restore")
COLDEST_C, HOTTEST_C = -60.0, 150.0

_OWN_KEYS = {"name": str, "control": str, "temperature_c": float | None}
_FIELD_TYPES = {
    key: str if isinstance(kind, type) and issubclass(kind, Enum) else kind  # Protection itself explains a wrong choice
    for key, kind in get_type_hints(Protection).items()
}


class ProtectionEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One protection under test, by name.

    Parameters
    ----------
    name : str
        What tables, rows and ``hil replay`` call it.
    control : str
        Empty, or the control that it is: ``null`` (no strike, full machinery), ``none`` (no protection),
        ``oracle`` (a perfect code with the same regions and schedule), ``restore`` (repair before any use).
    protection : node.Protection
        What guards what, and how often.
    temperature_c : float, optional
        The plant is held at this temperature while this one is measured.
    """

    name: str
    protection: Protection
    control: str = ""
    temperature_c: float | None = None

    def to_table(self) -> dict[str, Any]:
        """Give the entry as the table that :func:`read_entry` reads back equal."""
        held = self.protection
        values = ((key, getattr(held, key)) for key in _FIELD_TYPES)
        fields = {key: value.value if isinstance(value, Enum) else value for key, value in values}
        return {"name": self.name, "control": self.control, "temperature_c": self.temperature_c} | fields


def read_entry(table: Any, where: str, codes: tuple[str, ...]) -> ProtectionEntry:
    """Give one ``[[protection]]`` table as an entry.

    Parameters
    ----------
    table : object
        What TOML gave.
    where : str
        File and table, for messages.
    codes : tuple of str
        The codes that the node knows.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: expected tables; write each protection under its own [[protection]]")
    name = typed_value(table.get("name", ""), str, f"{where}: name").strip()
    if not name or not name.isprintable():
        raise ConfigError(f"{where}: name = {name!r}; give each protection a name of printable characters")
    where = f"{where} {name!r}"
    check_keys(table, [*_OWN_KEYS, *_FIELD_TYPES], where)
    own = _typed(table, _OWN_KEYS, where)
    given = _typed(table, _FIELD_TYPES, where)
    if given.get("code", "none") not in codes:
        raise ConfigError(f"{where}: code = {given['code']!r}: no such code; choose from {', '.join(codes)}")
    try:
        protection = Protection(**given)
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).removeprefix('protection: ')}") from None
    temperature_c = own.get("temperature_c")
    if temperature_c is not None and not COLDEST_C <= temperature_c <= HOTTEST_C:
        raise ConfigError(f"{where}: temperature_c = {temperature_c}: give {COLDEST_C:g} to {HOTTEST_C:g}")
    control = own.get("control", "") or _implied_control(protection, temperature_c)
    _check_control(name, control, protection, where)
    return ProtectionEntry(name=name, control=control, protection=protection, temperature_c=temperature_c)


def _typed(table: dict[str, Any], kinds: dict[str, Any], where: str) -> dict[str, Any]:
    return {key: typed_value(table[key], kind, f"{where}: {key}") for key, kind in kinds.items() if key in table}


def _implied_control(protection: Protection, temperature_c: float | None) -> str:
    if protection.repair_at_once:
        return "restore"
    if protection.code == "oracle":
        return "oracle"
    return "none" if protection == _plain(protection) and temperature_c is None else ""


def _plain(protection: Protection) -> Protection:
    """Give the unprotected node; what an absent code would guard, and when, makes no difference."""
    return Protection(regions=protection.regions, scrub_period=protection.scrub_period)


def _check_control(name: str, control: str, protection: Protection, where: str) -> None:
    if control not in ("", *CONTROLS):
        raise ConfigError(f"{where}: control = {control!r}: choose from {', '.join(CONTROLS)}, or leave it out")
    if name in CONTROLS and name != control:
        raise ConfigError(f"{where}: this name is kept for the control {name!r}; choose another name")
    wrong = {
        "none": (protection.code != "none" and "code must be none")
        or (protection.checks_computation and "the computation must not be checked"),
        "oracle": protection.code != "oracle" and "code must be oracle",
        "restore": not protection.repair_at_once and "repair_at_once must be true",
    }.get(control)
    if wrong:
        raise ConfigError(f"{where}: control = {control!r}: {wrong}; correct it or leave the control out")


def with_controls(listed: tuple[ProtectionEntry, ...]) -> tuple[ProtectionEntry, ...]:
    """Give the listed protections and every control that was not listed: none, the listed ones, null, oracle, restore.

    The added controls have the machinery of the first protection with a real code (without one, of the first that
    checks the computation), so that each differs from it in one thing only.
    """
    candidates = [entry.protection for entry in listed if not entry.control]
    coded = [protection for protection in candidates if protection.code != "none"]
    checked = [protection for protection in candidates if protection.checks_computation]
    machinery = next(iter((*coded, *checked)), Protection())
    defaults = {
        "none": Protection(),
        "null": machinery,
        "oracle": replace(machinery, code="oracle"),
        "restore": replace(machinery, repair_at_once=True),
    }
    held = {entry.control for entry in listed}
    added = [
        ProtectionEntry(name=name, control=name, protection=protection)
        for name, protection in defaults.items()
        if name not in held
    ]
    order = ["none", "", "null", "oracle", "restore"]
    return tuple(sorted((*listed, *added), key=lambda entry: order.index(entry.control)))
