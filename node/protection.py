"""Protection: plain data, what guards what and how often."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from enum import Enum
from math import isfinite

from firmware_bridge.errors import ConfigError

LEAST_SLICE = 64
"""Words of the smallest slice of a scrub; a code of larger blocks takes one block at least."""


class OnDetected(Enum):
    """What the node does when a code finds an error that it cannot correct."""

    STOP = "stop"  # withhold the output and say so
    RELOAD = "reload"  # load the region again from the golden image, then go on
    ROLLBACK = "rollback"  # load the newest checkpoint that verifies and do the lost work again


class Ranges(Enum):
    """What the node does about an activation outside what clean runs showed, or that is no finite number."""

    OFF = "off"
    DETECT = "detect"  # raise an alarm
    CLIP = "clip"  # set it to the nearest value that was seen, a NaN to the one nearest to zero, and go on


class OnAlarm(Enum):
    """What the node does when a check on the computation fails, before it computes again."""

    CORRECT = "correct"  # let the code repair what the step reads, where there is one
    RECOMPUTE = "recompute"  # nothing more
    RELOAD = "reload"  # load the guarded regions again from the golden image
    ROLLBACK = "rollback"  # load the newest checkpoint that verifies and do the lost work again
    STOP = "stop"  # compute no more: withhold this output and all later ones


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What guards which region, how often, what checks the computation, and what follows an error.

    Parameters
    ----------
    code : str
        A name of ``node.CODES``.
    regions : tuple of str
        Regions that the code guards: ``weights``, ``steps`` and, of a model that has it, ``state``.
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
    abft : bool
        Hold the outputs of every product, convolution and recurrent cell against sums of the weights that were made
        when these were known good, or, of two activations, when they are multiplied.
    ranges : Ranges
        Whether activations are held against the smallest and largest value of clean runs of all loaded inputs.
    sequence : int
        Inputs of such a clean run of a model with state, which then begins with its first state again; 0: all inputs in
        a row. A campaign whose file does not say puts its own inferences here.
    redundancy : int
        How often each inference is computed: 1 once, 2 twice with a comparison, 3 three times with a vote.
    verify_on_use : bool
        Check by their code, when each step uses them, the weights (and its row, where ``steps`` are guarded) that it
        reads: vertical codes while it loads them, others just before.
    on_alarm : OnAlarm
        What follows when one of these checks fails.
    scrub_slice : int
        Words of a scrub between inferences, which then goes over the memory slice by slice; 0: all of it each time.
    scrub_seconds, scrub_share, scrub_target : float
        Scrub in the background too, beside the inferences and by the clock: one pass in so many seconds, or so much of
        the time, or as often as keeps the chance of an uncorrectable word in a day at this value. 0 is off; one of the
        three. Runs in logical time are never scrubbed so.

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
    abft: bool = False
    ranges: Ranges = Ranges.OFF
    redundancy: int = 1
    verify_on_use: bool = False
    on_alarm: OnAlarm = OnAlarm.CORRECT
    scrub_slice: int = 0
    scrub_seconds: float = 0.0
    scrub_share: float = 0.0
    scrub_target: float = 0.0
    sequence: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "regions", tuple(self.regions))
        for key, kind in _CHOICES.items():
            object.__setattr__(self, key, _choice(kind, key, getattr(self, key)))
        self._check_guards()
        self._check_checks()
        self._check_background()

    def _check_guards(self) -> None:
        for name in ("scrub_period", "checkpoint_period", "padding_bytes", "scrub_slice", "sequence"):
            if getattr(self, name) < 0:
                raise ConfigError(f"protection: {name} = {getattr(self, name)}: give 0 or more")
        unknown = set(self.regions) - {"weights", "steps", "state"}
        if unknown:
            raise ConfigError(f"protection: cannot guard {sorted(unknown)}: choose from weights, steps, state")
        if len(set(self.regions)) != len(self.regions):
            raise ConfigError(f"protection: regions = {list(self.regions)}: name each region once")
        if self.checkpoint_period and not self.regions:
            raise ConfigError("protection: a checkpoint saves the guarded regions: name at least one in regions")
        if self.slowdown < 1.0:
            raise ConfigError(f"protection: slowdown = {self.slowdown}: give 1.0 (full speed) or more")
        if self.on_detected is OnDetected.ROLLBACK and not self.checkpoint_period:
            raise ConfigError("protection: on_detected = rollback needs a checkpoint_period of 1 or more")

    def _check_background(self) -> None:
        if self.scrub_slice and self.scrub_slice < LEAST_SLICE:
            raise ConfigError(f"protection: scrub_slice = {self.scrub_slice}: give {LEAST_SLICE} words or more, or 0")
        paces = {name: getattr(self, name) for name in ("scrub_seconds", "scrub_share", "scrub_target")}
        given = [name for name, value in paces.items() if value]
        for name, value in paces.items():
            if not (isfinite(value) and value >= 0.0) or (name != "scrub_seconds" and value >= 1.0):
                wanted = "seconds" if name == "scrub_seconds" else "a share below 1"
                raise ConfigError(f"protection: {name} = {value}: give {wanted}, or 0 for none")
        if len(given) > 1:
            raise ConfigError(f"protection: {' and '.join(given)} are both given; choose one pace")
        if given and (self.code == "none" or not self.regions):
            raise ConfigError(f"protection: {given[0]} scrubs by a code: name a code, and regions that it guards")

    def _check_checks(self) -> None:
        if self.redundancy not in (1, 2, 3):
            raise ConfigError(f"protection: redundancy = {self.redundancy}: give 1 (once), 2 (compare) or 3 (vote)")
        if self.on_alarm is OnAlarm.ROLLBACK and not self.checkpoint_period:
            raise ConfigError("protection: on_alarm = rollback needs a checkpoint_period of 1 or more")
        if not self.verify_on_use:
            return
        if self.code == "none" or not self.regions:
            raise ConfigError("protection: verify_on_use checks by a code: name a code, and regions that it guards")
        if self.on_alarm is OnAlarm.RECOMPUTE:
            raise ConfigError(
                "protection: verify_on_use finds weights that are wrong already, and on_alarm = recompute reads them "
                "again: choose correct, reload, rollback or stop"
            )

    @property
    def time_factor(self) -> float:
        """Time that an inference takes, as a multiple of computing it once at full speed."""
        return self.slowdown * self.redundancy

    @property
    def checks_steps(self) -> bool:
        """True where something has to be done between two operators."""
        return self.abft or self.verify_on_use or self.ranges is not Ranges.OFF

    @property
    def checks_computation(self) -> bool:
        """True where something can raise an alarm."""
        return self.checks_steps or self.redundancy > 1

    def to_json(self) -> str:
        """Give the protection as one line of JSON, keys sorted."""
        values = asdict(self) | {key: getattr(self, key).value for key in _CHOICES}
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


_CHOICES: dict[str, type[Enum]] = {"on_detected": OnDetected, "ranges": Ranges, "on_alarm": OnAlarm}
"""Fields that hold one of a few names, and which."""


def _choice(kind: type[Enum], key: str, value: object) -> Enum:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(choice.value) for choice in kind)
        raise ConfigError(f"protection: {key} = {value!r}: choose from {allowed}") from None
