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

KINDS = ("flip", "stuck_at_0", "stuck_at_1", "stuck_at")
WORD_BITS = 64


@dataclass(frozen=True, kw_only=True)
class FaultModel:
    """What one strike does to the cells of a memory.

    Cells lie in rows of ``row_bits``. A strike covers a cluster: a run of neighbours along one row, and with
    probability ``across_rows`` for each further cell a second run that starts at the same column of the next
    row. Cells that would lie beyond the edge of a row or of the memory do not exist and are left out.

    Parameters
    ----------
    name : str
        Name in reports; it takes part in the strike key.
    kind : str
        ``flip``, ``stuck_at_0``, ``stuck_at_1``, or ``stuck_at`` (0 or 1 with equal chance, once a strike).
    cluster_sizes : tuple of (int, float)
        Cells per strike and its weight. A mapping of size to weight is taken as well.
    across_rows : float
        Chance that a further cell of a cluster lies in the next row.
    row_bits : int
        Cells in one physical row.
    interleave : int
        Physical distance between neighbouring bits of one 64-bit word; 1 stores words whole, I > 1 lays I
        words bit by bit beside each other, so that I neighbouring cells belong to I words.

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "cluster_sizes", _size_table(self.cluster_sizes))
        if self.kind not in KINDS:
            raise ConfigError(
                f"fault model: kind = {self.kind!r}: choose from {', '.join(KINDS)}{_near(self.kind, KINDS)}"
            )
        if not 0.0 <= self.across_rows <= 1.0:
            raise ConfigError(f"fault model: across_rows = {self.across_rows}: give a share of 0 to 1")
        for key in ("row_bits", "interleave"):
            if type(getattr(self, key)) is not int:
                raise ConfigError(f"fault model: {key} = {getattr(self, key)!r}: give a whole number")
        if self.row_bits < WORD_BITS:
            raise ConfigError(f"fault model: row_bits = {self.row_bits}: give {WORD_BITS} or more")
        if not 1 <= self.interleave <= self.row_bits // WORD_BITS:
            raise ConfigError(
                f"fault model: interleave = {self.interleave}: give 1 to {self.row_bits // WORD_BITS} "
                f"({WORD_BITS}-bit words in a row of {self.row_bits} cells)"
            )

    @cached_property
    def cumulative_weights(self) -> tuple[float, ...]:
        """Running sums of the weights of ``cluster_sizes``, as ``Stream.choice`` takes them."""
        return tuple(accumulate(weight for _, weight in self.cluster_sizes))

    @property
    def mean_cells(self) -> float:
        """Mean number of cells per strike, before any are lost at an edge."""
        return sum(size * weight for size, weight in self.cluster_sizes) / self.cumulative_weights[-1]

    def to_json(self) -> str:
        """Give the fault model as one line of JSON, keys sorted."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
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


def _near(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


_CLUSTERS = FaultModel(name="clusters", cluster_sizes=((1, 0.723), (2, 0.2216), (3, 0.0369), (6, 0.0185)))
PRESETS: Mapping[str, FaultModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            FaultModel(name="single_bit"),
            _CLUSTERS,
            replace(_CLUSTERS, name="clusters_interleaved", interleave=8),
            FaultModel(name="stuck_at", kind="stuck_at"),
        )
    }
)
