"""What nature does in one trial: strikes on physical cells, drawn the same for every protection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from itertools import pairwise
from zlib import crc32

from firmware_bridge.errors import ConfigError, DataError
from hil.strikes.fault_model import FaultModel
from hil.strikes.fault_space import SHARED, FaultSpace
from hil.strikes.pattern import struck_cells
from hil.strikes.streams import Stream

STRIKE_KINDS = ("flip", "stuck_at_0", "stuck_at_1")
MOST_STRIKES = 1000  # mean per stream; leaves the counter of a strike's number far from its end
IDLE = -1  # stands for the number of a copy
_STREAM_BITS = 16  # a strike's number is (code of its stream) << 16 | (count within that stream)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The logical time of one trial in which strikes fall.

    A logical moment is (inference, step): just before operator ``step``, or after the last operator if ``step``
    is the number of operators. All moments are equally likely. Where each inference is computed several times, the
    moments of its later copies follow on: copy ``c`` has the steps from ``c * (steps + 1)`` on.

    Parameters
    ----------
    inferences : int
        Inferences in a trial.
    steps : int
        Operators in an inference.
    slowdown : float
        Time that the protected node takes, as a multiple of the time at full speed. The added time is idle: it
        lies before operator 0.
    copies : int
        How often each inference is computed.
    """

    inferences: int
    steps: int
    slowdown: float = 1.0
    copies: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.inferences <= 1 << 16:
            raise ConfigError(f"window: inferences = {self.inferences}: give 1 to {1 << 16}")
        if self.copies < 1:
            raise ConfigError(f"window: copies = {self.copies}: give 1 or more")
        if not 0 <= self.steps < (1 << 16) // self.copies:
            raise ConfigError(f"window: steps = {self.steps}: give 0 to {(1 << 16) // self.copies - 1}")
        if not 1.0 <= self.slowdown < float("inf"):
            raise ConfigError(f"window: slowdown = {self.slowdown}: give 1.0 (full speed) or more")


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One strike of nature, before anything is known about what lies in the cells.

    Parameters
    ----------
    trial, number : int
        Which strike: the number is unique in its trial and the same for every protection that receives it.
    technology : str
        Of the struck cells: ``dram``, ``flash``, ...
    space : str
        ``shared``, or the name of the own region that is struck.
    cells : tuple of int
        Distinct physical cells of that space, ascending.
    kind : str
        ``flip``, ``stuck_at_0`` or ``stuck_at_1``.
    inference, step : int
        Logical moment (see :class:`Window`).
    """

    trial: int
    number: int
    technology: str
    space: str
    cells: tuple[int, ...]
    kind: str
    inference: int
    step: int

    def __post_init__(self) -> None:
        if self.kind not in STRIKE_KINDS:
            raise DataError(f"strike {self.id}: kind {self.kind!r} is not one of {', '.join(STRIKE_KINDS)}")
        if not self.cells or any(later <= cell for cell, later in pairwise((-1, *self.cells))):
            raise DataError(f"strike {self.id}: its cells {self.cells} must be distinct, ascending and not empty")

    @property
    def id(self) -> str:
        """The name by which this strike can be found and replayed: ``trial:number``."""
        return f"{self.trial}:{self.number}"

    def to_json(self) -> str:
        """Give the strike as one line of JSON, keys sorted."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Strike:
        """Read what :meth:`to_json` wrote."""
        values = json.loads(text)
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise DataError(f"not a strike: its keys are {', '.join(sorted(values))}, not {', '.join(sorted(names))}")
        return cls(**values | {"cells": tuple(values["cells"])})


def strike_key(workload_digest: str, scenario: str, fault_model: FaultModel, seed: int) -> str:
    """Give the key of all strikes of a campaign: 64 hex digits that no protection, target or engine enters.

    Parameters
    ----------
    workload_digest : str
        What is computed: a digest of model and inputs.
    scenario : str
        What nature does: a name or JSON.
    fault_model : FaultModel
        How the memory is struck.
    seed : int
        The campaign's seed.
    """
    parts = [workload_digest, scenario, fault_model.to_json(), seed]
    return sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def sample_strikes(key: str, trial: int, space: FaultSpace, model: FaultModel, window: Window) -> tuple[Strike, ...]:
    """Give all strikes of one trial; it depends on nothing but the arguments.

    One trial is one unit of fluence: exactly one strike on the shared cells, at a uniformly drawn cell and
    moment. Every protection receives this one. Two kinds of strikes are added to it, each from streams of
    their own, so that they never change the first, nor each other:

    - on each region that the protection adds: a Poisson number, with the region's share of bits (and upset rate)
      relative to the shared cells as its mean; two protections with the same region receive the same ones;
    - for each further copy of the inferences: a Poisson number with the mean of the first one, on shared and own
      cells alike, at a moment of that copy;
    - for the time by which the node is slowed: a Poisson number with mean ``slowdown - 1`` times that of full
      speed, on shared and own cells alike, at idle moments (before operator 0 of a drawn inference).

    Parameters
    ----------
    key : str
        From :func:`strike_key`.
    trial : int
        Number of the trial, 0 or more.
    space : FaultSpace
        What can be struck.
    model : FaultModel
        How it is struck.
    window : Window
        When it is struck.

    Returns
    -------
    tuple of Strike
        The strike that all protections share comes first.

    Examples
    --------
    >>> from hil.strikes.fault_space import Cells
    >>> space = FaultSpace(shared=(Cells(region="weights", bits=4096),))
    >>> strikes = sample_strikes("key", 0, space, FaultModel(name="single_bit"), Window(inferences=4, steps=9))
    >>> [(strike.id, strike.space, len(strike.cells)) for strike in strikes]
    [('0:0', 'shared', 1)]
    """
    sampler = _Sampler(key=key, trial=trial, space=space, model=model, window=window)
    return tuple(sampler.strikes())


@dataclass(frozen=True, kw_only=True)
class _Sampler:
    key: str
    trial: int
    space: FaultSpace
    model: FaultModel
    window: Window

    def strikes(self) -> Iterator[Strike]:
        yield self._draw(Stream(self.key, self.trial, SHARED), SHARED, 0, copy=0)
        yield from self._in_added_time(SHARED, 1.0)
        for cells in self.space.own:
            mean = self.space.own_strikes(cells)
            yield from self._added(cells.region, mean, copy=0)
            yield from self._in_added_time(cells.region, mean)

    def _in_added_time(self, space: str, mean: float) -> Iterator[Strike]:
        for copy in range(1, self.window.copies):
            yield from self._added(space, mean, copy=copy)
        idle_time = self.window.copies * (self.window.slowdown - 1.0)
        yield from self._added(space, mean * idle_time, copy=IDLE)

    def _added(self, space: str, mean: float, *, copy: int) -> Iterator[Strike]:
        if mean <= 0.0:
            return
        if mean > MOST_STRIKES:
            raise ConfigError(
                f"space {space!r} would receive {mean:.0f} strikes a trial (at most {MOST_STRIKES}): it is that much "
                "larger, slower or softer than the shared cells; lower padding, slowdown or technology_rates"
            )
        name = space if copy == 0 else f"{space}, idle" if copy == IDLE else f"{space}, copy {copy}"
        stream = Stream(self.key, self.trial, name)
        first = _stream_code(name) << _STREAM_BITS
        for count in range(stream.poisson(mean)):
            yield self._draw(stream, space, first + count, copy=copy)

    def _draw(self, stream: Stream, space: str, number: int, *, copy: int) -> Strike:
        regions = self.space.cells_of(space)
        bits = sum(cells.bits for cells in regions)
        seed = stream.below(bits)
        inference = stream.below(self.window.inferences)
        moments = self.window.steps + 1
        step = 0 if copy == IDLE else copy * moments + stream.below(moments)
        return Strike(
            trial=self.trial,
            number=number,
            technology=regions[0].technology,
            space=space,
            cells=struck_cells(stream, self.model, seed, bits),
            kind=_kind(stream, self.model),
            inference=inference,
            step=step,
        )


def _stream_code(name: str) -> int:
    """Give a number of 1 .. 65535 that follows from the stream's name alone; 0 is the strike that all share.

    A count by order of regions would give the same strike different numbers under different protections.
    """
    return crc32(name.encode()) % ((1 << _STREAM_BITS) - 1) + 1


def _kind(stream: Stream, model: FaultModel) -> str:
    if model.kind == "stuck_at":
        return ("stuck_at_0", "stuck_at_1")[stream.below(2)]
    return "flip" if model.kind == "random" else model.kind
