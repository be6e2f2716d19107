"""How memory is struck: what happens to the cells, how many at once, and how they lie in silicon."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import accumulate
from math import inf
from types import MappingProxyType

from firmware_bridge.errors import ConfigError
from hil.strikes.hardware_ecc import HARDWARE_ECC

KINDS = ("flip", "stuck_at_0", "stuck_at_1", "stuck_at", "random")
PATTERNS = ("cluster", "byte", "row", "column", "stride")
ALARMS = ("crash", "deliver")
CELLS = ("memory", "accumulators")
MOST_CELLS = 4096
"""Cells that one strike may cover: each is a fault of its own on the wire and in the record."""

WORD_BITS = 64


@dataclass(frozen=True, kw_only=True)
class FaultModel:
    """What one strike does to the cells of a memory.

    It is a chain: a raw event in cells that lie in rows of ``row_bits``, what these cells hold (``interleave``), and
    what the memory's own error correction leaves of it. A strike covers a pattern; by default a cluster: a run of
    neighbours along one row, and with probability ``across_rows`` for each further cell a second run that starts at
    the same column of the next row. Cells that would lie beyond the edge of a row (of a cluster) or of the memory do
    not exist and are left out.

    Parameters
    ----------
    name : str
        Name in reports; it takes part in the strike key.
    kind : str
        ``flip``, ``stuck_at_0``, ``stuck_at_1``, ``stuck_at`` (0 or 1 with equal chance, once a strike) or
        ``random`` (each covered cell takes a random value; at least one flips).
    cluster_sizes : tuple of (int, float)
        Cells per strike and its weight. A mapping of size to weight is taken as well.
    across_rows : float
        Chance that a further cell of a cluster lies in the next row.
    row_bits : int
        Cells in one physical row.
    interleave : int
        Physical distance between neighbouring bits of one 64-bit word; 1 stores words whole, I > 1 lays I
        words bit by bit beside each other, so that I neighbouring cells belong to I words.
    pattern : str
        ``cluster``; ``byte`` (the aligned byte that was hit); ``row`` (the whole row); ``column`` (the same cell of
        ``count`` rows); ``stride`` (the same bit at ``count`` places, one of ``strides_bytes`` apart).
    count : int
        Places of a column or a stride.
    strides_bytes : tuple of int
        Powers of two of 2 to 4096, one of which is drawn for each strike.
    hardware_ecc : str
        ``none``, or a code of :data:`hil.strikes.hardware_ecc.HARDWARE_ECC` that guards the struck memory.
    hardware_alarm : str
        What an alarm of that code does: ``crash`` (a machine check ends the computer's process) or ``deliver`` (the
        wrong word is delivered all the same, as where nobody listens).
    cells : str
        ``memory`` (the regions that a campaign names), or ``accumulators``: finished sums of 32 bits each, in the order
        of steps and outputs, each bit of them as likely as any other. No code has bits there, so such a model has no
        ``hardware_ecc``, and a sum is gone after its step, so nothing is stuck.

    Examples
    --------
    >>> FaultModel(name="pairs", cluster_sizes=((1, 0.8), (2, 0.2)), interleave=4).kind
    'flip'
    """

    name: str
    kind: str = "flip"
    cluster_sizes: tuple[tuple[int, float], ...] = ((1, 1.0),)
    across_rows: float = 0.25
    row_bits: int = 8192
    interleave: int = 1
    pattern: str = "cluster"
    count: int = 1
    strides_bytes: tuple[int, ...] = ()
    hardware_ecc: str = "none"
    hardware_alarm: str = "crash"
    cells: str = "memory"

    def __post_init__(self) -> None:
        object.__setattr__(self, "cluster_sizes", _size_table(self.cluster_sizes))
        for key, choices in _CHOICES.items():
            value = getattr(self, key)
            if value not in choices:
                raise ConfigError(
                    f"fault model: {key} = {value!r}: choose from {', '.join(choices)}{_near(str(value), choices)}"
                )
        if not 0.0 <= self.across_rows <= 1.0:
            raise ConfigError(f"fault model: across_rows = {self.across_rows}: give a share of 0 to 1")
        for key in ("row_bits", "interleave", "count"):
            if type(getattr(self, key)) is not int:
                raise ConfigError(f"fault model: {key} = {getattr(self, key)!r}: give a whole number")
        if self.row_bits < WORD_BITS:
            raise ConfigError(f"fault model: row_bits = {self.row_bits}: give {WORD_BITS} or more")
        if not 1 <= self.interleave <= self.row_bits // WORD_BITS:
            raise ConfigError(
                f"fault model: interleave = {self.interleave}: give 1 to {self.row_bits // WORD_BITS} "
                f"({WORD_BITS}-bit words in a row of {self.row_bits} cells)"
            )
        self._check_pattern()
        if self.in_accumulators and (self.kind not in ("flip", "random") or self.hardware_ecc != "none"):
            raise ConfigError(
                f"fault model: cells = 'accumulators' with kind = {self.kind!r} and hardware_ecc = "
                f"{self.hardware_ecc!r}: sums have neither stuck cells nor a code; give kind 'flip' or 'random' alone"
            )

    @property
    def in_accumulators(self) -> bool:
        """True where finished sums are struck instead of memory."""
        return self.cells == "accumulators"

    def _check_pattern(self) -> None:
        object.__setattr__(self, "strides_bytes", _strides(self.strides_bytes))
        if bool(self.strides_bytes) != (self.pattern == "stride"):
            raise ConfigError(
                f"fault model: strides_bytes = {list(self.strides_bytes)} with pattern = {self.pattern!r}: "
                "strides belong to the pattern 'stride', and to no other"
            )
        if not 1 <= self.count <= MOST_CELLS or (self.count > 1) != (self.pattern in ("column", "stride")):
            raise ConfigError(
                f"fault model: count = {self.count} with pattern = {self.pattern!r}: give 2 to {MOST_CELLS} for "
                "'column' and 'stride', leave it out for the others"
            )
        if self.pattern == "row" and self.row_bits > MOST_CELLS:
            raise ConfigError(
                f"fault model: row_bits = {self.row_bits} with pattern = 'row': give {WORD_BITS} to {MOST_CELLS}, "
                "since every cell of the row is a fault of its own"
            )
        if self.pattern == "byte" and self.interleave != 1:
            raise ConfigError(
                f"fault model: interleave = {self.interleave} with pattern = 'byte': the bits of a byte are neighbours "
                "only where interleave = 1"
            )

    @cached_property
    def cumulative_weights(self) -> tuple[float, ...]:
        """Running sums of the weights of ``cluster_sizes``, as ``Stream.choice`` takes them."""
        return tuple(accumulate(weight for _, weight in self.cluster_sizes))

    def to_json(self) -> str:
        """Give the fault model as one line of JSON, keys sorted; pattern and correction where they are not default."""
        values = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in _SECONDARY or getattr(self, field.name) != field.default
        }
        values["cluster_sizes"] = {str(size): weight for size, weight in self.cluster_sizes}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FaultModel:
        """Read what :meth:`to_json` wrote."""
        return cls.from_mapping(json.loads(text))

    @classmethod
    def from_mapping(cls, values: Mapping[str, object]) -> FaultModel:
        """Make a fault model from a table of a file; ``preset = NAME`` starts from a preset and changes it."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in (*known, "preset"):
                raise ConfigError(f"fault model: unknown key {key!r}{_near(key, (*known, 'preset'))}")
        given = {key: value for key, value in values.items() if key != "preset"}
        try:
            if "preset" in values:
                return replace(preset(str(values["preset"])), **given)  # type: ignore[arg-type]
            if "name" not in values:
                raise ConfigError("fault model: give a name, or a preset to start from")
            return cls(**given)  # type: ignore[arg-type]
        except TypeError as error:
            raise ConfigError(f"fault model: a value of the wrong type: {error}") from None


def preset(name: str) -> FaultModel:
    """Give the fault model of that name out of ``PRESETS``; an unknown name is an error with the nearest one.

    ``single_bit``
        Every strike flips one cell. 98.6 % of the upsets of an old byte-wide SRAM in low orbit were such
        (Alsat-1, eight years at 680 km: Bentoutou 2011).
    ``clusters``
        27.7 % of the events upset several cells: the largest of three FPGA families under neutrons
        (Perez-Celis & Wirthlin 2020; the others: 14.6 % and 5.6 %). Inside that share, clusters of 2, 3 and
        5-7 cells (taken as 6) stand as 12 : 2 : 1, the upper ends of the model that the REMU emulator ships.
        A quarter of the further cells lie in the next row: an assumption, no source. Words are stored whole,
        the hardest case for codes that correct one bit a word.
    ``clusters_interleaved``
        The same clusters in a memory that lays 8 words bit by bit beside each other: upsets of two bits in
        one word become rare, as in register files with 17-19 % multi-cell but 1-6 % same-word events
        (Rech 2014).
    ``stuck_at``
        One cell holds 0 or 1 from the strike on, whatever is written to it: DRAM shows such cells from low
        energies on (DDR4 under heavy ions, from a LET of 2.6 MeV cm2/mg: Dufour, RADECS 2022).
    ``byte``
        The byte that was hit takes a random value: about 75 % of the multi-bit upsets inside one word of HBM2 under
        neutrons stayed within a byte (Sullivan, MICRO 2021).
    ``row``
        A burst of 64 bytes takes random values, the part of a DRAM row that one access moves; 9.2 % of the
        faults of DDR3 in the field are rows (Sridharan 2015).
    ``column``
        The same cell of 16 rows of 1024 bytes flips; 5.9 % of the faults of DDR3 in the field are columns
        (Sridharan 2015). The number of rows is an assumption: a whole column would not fit into small models.
    ``stride``
        The same bit at 8 places, a power of two of 2 bytes to 4 KiB apart, each distance as likely: the shape that
        a data line or a column decoder leaves in addresses. An assumption, no source.
    ``clusters_on_die_ecc``
        ``clusters`` behind the (136,128) correction on the die of DDR5 and LPDDR4/4X.
    ``clusters_secded``
        ``clusters`` behind a memory controller with (72,64) correction, whose alarm ends the process.
    ``accumulator_bit``
        One bit of a finished sum flips before it is limited or requantised. Processors keep sums in registers, which
        have no correction; that every bit of every sum is as likely is an assumption, no source.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(PRESETS)
        raise ConfigError(f"fault model: no preset {name!r}; there are {known}{_near(name, PRESETS)}") from None


def _size_table(table: Mapping[int, float] | Iterable[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    try:
        pairs = table.items() if isinstance(table, Mapping) else table
        sizes = tuple(sorted((int(size), float(weight)) for size, weight in pairs))
    except (TypeError, ValueError):
        raise ConfigError(f"fault model: cluster_sizes = {table!r}: give a table of size = weight") from None
    if len({size for size, _ in sizes}) != len(sizes):
        raise ConfigError(f"fault model: cluster_sizes = {sizes}: a size stands there twice")
    if any(size < 1 or not 0.0 <= weight < inf for size, weight in sizes):
        raise ConfigError(f"fault model: cluster_sizes = {sizes}: give sizes of 1 or more and weights of 0 or more")
    if not sum(weight for _, weight in sizes) > 0.0:
        raise ConfigError(f"fault model: cluster_sizes = {sizes}: no size has a weight above 0")
    return sizes


def _strides(values: Iterable[int]) -> tuple[int, ...]:
    strides = tuple(values)
    for stride in strides:
        if type(stride) is not int or not 2 <= stride <= 4096 or stride.bit_count() != 1:
            raise ConfigError(f"fault model: strides_bytes holds {stride!r}: give powers of two of 2 to 4096")
    return strides


def _near(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


_CHOICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "kind": KINDS,
        "pattern": PATTERNS,
        "hardware_ecc": ("none", *HARDWARE_ECC),
        "hardware_alarm": ALARMS,
        "cells": CELLS,
    }
)
_SECONDARY = ("pattern", "count", "strides_bytes", "hardware_ecc", "hardware_alarm", "cells")
_CLUSTERS = FaultModel(name="clusters", cluster_sizes=((1, 0.723), (2, 0.2216), (3, 0.0369), (6, 0.0185)))
PRESETS: Mapping[str, FaultModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            FaultModel(name="single_bit"),
            _CLUSTERS,
            replace(_CLUSTERS, name="clusters_interleaved", interleave=8),
            FaultModel(name="stuck_at", kind="stuck_at"),
            FaultModel(name="byte", kind="random", pattern="byte"),
            FaultModel(name="row", kind="random", pattern="row", row_bits=512),
            FaultModel(name="column", pattern="column", count=16),
            FaultModel(name="stride", pattern="stride", count=8, strides_bytes=tuple(1 << n for n in range(1, 13))),
            replace(_CLUSTERS, name="clusters_on_die_ecc", hardware_ecc="sec_136_128"),
            replace(_CLUSTERS, name="clusters_secded", hardware_ecc="secded_72_64"),
            FaultModel(name="accumulator_bit", cells="accumulators"),
        )
    }
)
