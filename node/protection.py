"""Protection: plain data, what guards what and how often."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from enum import Enum

from firmware_bridge.errors import ConfigError


class OnDetected(Enum):
    """What the node does when a code finds an error that it cannot correct."""

    STOP = "stop"  # withhold the output and say so
    RELOAD = "reload"  # load the region again from the golden image, then go on
    ROLLBACK = "rollback"  # load the newest checkpoint that verifies and do the lost work again


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What guards which region, how often, and what follows an error that cannot be corrected.

    Parameters
    ----------
    code : str
        A name of ``node.CODES``.
    regions : tuple of str
        Regions that the code guards: ``weights``, ``steps`` or both.
    scrub_period : int
        Inferences between two scrubs (before inference 0, ``scrub_period``, ...); 0 never scrubs.
    on_detected : OnDetected
        What follows an error that is detected and not corrected.
    checkpoint_period : int
        Inferences between two checkpoints; 0 keeps none.
    repair_at_once : bool
        Undo each injected fault before anything reads it (the ``restore`` control).
    padding_bytes : int
        Dead memory added to the arena: it is struck in proportion and read by nobody.
    slowdown : float
        Idle time per inference as a multiple of the computing time, plus one; 1 is not slowed.

    Examples
    --------
    >>> Protection(code="hsiao_72_64", checkpoint_period=4, on_detected=OnDetected.ROLLBACK).code
    'hsiao_72_64'
    """

    code: str = "none"
    regions: tuple[str, ...] = ("weights",)
    scrub_period: int = 1
    on_detected: OnDetected = OnDetected.STOP
    checkpoint_period: int = 0
    repair_at_once: bool = False
    padding_bytes: int = 0
    slowdown: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(self.regions))
        if isinstance(self.on_detected, str):
            object.__setattr__(self, "on_detected", _on_detected(self.on_detected))
        for name in ("scrub_period", "checkpoint_period", "padding_bytes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"protection: {name} = {getattr(self, name)}: give 0 or more")
        unknown = set(self.regions) - {"weights", "steps"}
        if unknown:
            raise ConfigError(f"protection: cannot guard {sorted(unknown)}: choose from weights, steps")
        if len(set(self.regions)) != len(self.regions):
            raise ConfigError(f"protection: regions = {list(self.regions)}: name each region once")
        if self.checkpoint_period and not self.regions:
            raise ConfigError("protection: a checkpoint saves the guarded regions: name at least one in regions")
        if self.slowdown < 1.0:
            raise ConfigError(f"protection: slowdown = {self.slowdown}: give 1.0 (full speed) or more")
        if self.on_detected is OnDetected.ROLLBACK and not self.checkpoint_period:
            raise ConfigError("protection: on_detected = rollback needs a checkpoint_period of 1 or more")

    def to_json(self) -> str:
        """Give the protection as one line of JSON, keys sorted."""
        values = asdict(self) | {"on_detected": self.on_detected.value}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Protection:
        """Read what :meth:`to_json` wrote; an unknown key is an error that names the nearest one."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ConfigError(f"protection: {text[:60]!r} is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ConfigError(f"protection: {text[:60]!r} is no JSON object")
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"protection: unknown key {key!r}{hint}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(f"protection: a value of the wrong type: {error}") from None


def _on_detected(value: str) -> OnDetected:
    try:
        return OnDetected(value)
    except ValueError:
        allowed = ", ".join(choice.value for choice in OnDetected)
        raise ConfigError(f"protection: on_detected = {value!r}: choose from {allowed}") from None
