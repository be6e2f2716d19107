"""Every cell that can be struck, once: the shared cells and those that a protection adds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING

from firmware_bridge.errors import ConfigError, DataError

if TYPE_CHECKING:  # the layout's module loads numpy, which nothing here needs
    from node.arena import Layout

SHARED = "shared"
DEFAULT_STRIKE_REGIONS = ("weights", "activations")


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of one region: how many there are, and of which technology.

    ``step_ends`` are the numbers of the first bits after those of each step, for cells that exist only while a step
    runs; empty for memory.
    """

    region: str
    bits: int
    technology: str = "dram"
    step_ends: tuple[int, ...] = ()

    def step_of(self, bit: int) -> int | None:
        """Give the step in which alone a bit exists, None for a bit that is always there."""
        return bisect_right(self.step_ends, bit) if self.step_ends else None


@dataclass(frozen=True, kw_only=True)
class FaultSpace:
    """All cells of one layout that are struck, as physical spaces numbered from 0.

    The space ``shared`` is the shared regions one after the other, in the layout's order; gaps that alignment
    leaves between them do not exist. It is the same for every protection of one image. Each region that a
    protection adds is a space of its own, with the region's name.

    Parameters
    ----------
    shared : tuple of Cells
        Regions that every protection has, all of one technology.
    own : tuple of Cells
        Regions that exist because of the protection.
    left_out : tuple of str
        Regions of the layout that are not struck.
    technology_rates : tuple of (str, float)
        Upset rate per bit of each technology, in any one unit; a mapping is taken as well. Empty: all equal.

    Examples
    --------
    >>> space = FaultSpace(shared=(Cells(region="weights", bits=800),), own=(Cells(region="padding", bits=200),))
    >>> space.exposure(), space.exposure(slowdown=2.0)
    (1.25, 2.5)
    """

    shared: tuple[Cells, ...]
    own: tuple[Cells, ...] = ()
    left_out: tuple[str, ...] = ()
    technology_rates: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "technology_rates", _rates(self.technology_rates))
        if self.shared_bits == 0:
            raise DataError("nothing can be struck: the shared regions hold no bits; name larger strike_regions")
        if len({cells.technology for cells in self.shared}) > 1:
            raise DataError("the shared regions are of several technologies; strike them in separate campaigns")
        known = dict(self.technology_rates)
        for cells in (*self.shared, *self.own):
            if known and cells.technology not in known:
                raise ConfigError(
                    f"technology_rates: no rate for {cells.technology!r} (region {cells.region!r}); "
                    f"add {cells.technology} = RATE beside {', '.join(known)}"
                )
        if known and known[self.technology] <= 0.0:
            raise ConfigError(f"technology_rates: {self.technology} = 0, yet strikes are counted on its cells")

    @classmethod
    def of(
        cls,
        layout: Layout,
        strike_regions: Sequence[str] = DEFAULT_STRIKE_REGIONS,
        technology_rates: Mapping[str, float] | None = None,
    ) -> FaultSpace:
        """Give the fault space of a layout.

        Parameters
        ----------
        layout : node.arena.Layout
            All regions of one computer.
        strike_regions : sequence of str
            Shared regions that are struck, in any order. A region ``check.X`` is struck if ``X`` is; all other
            regions that a protection adds are struck always, unless it is accumulators that are struck: they have
            a rate of their own, beside which memory has none.
        technology_rates : mapping of str to float, optional
            Upset rate per bit of each technology, in any one unit.
        """
        shared_names = [region.name for region in layout.shared]
        for name in strike_regions:
            if name not in shared_names:
                near = get_close_matches(name, shared_names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"strike_regions: {name!r} is not one of {', '.join(shared_names)}{hint}")
        struck = set(strike_regions)
        shared: list[Cells] = []
        own: list[Cells] = []
        left_out: list[Cells] = []
        for region in layout:
            cells = Cells(
                region=region.name,
                bits=region.size_bits,
                technology=region.technology,
                step_ends=region.step_ends,
            )
            guarded = region.name.removeprefix("check.")
            excluded = (guarded in shared_names and guarded not in struck) or (
                region.own and struck == {"accumulators"}
            )
            kept = own if region.own else shared
            (left_out if excluded else kept).append(cells)
        return cls(
            shared=tuple(shared),
            own=tuple(own),
            left_out=tuple(cells.region for cells in left_out),
            technology_rates=_rates(technology_rates or {}),
        )

    @property
    def technology(self) -> str:
        """Technology of the shared cells."""
        return self.shared[0].technology

    @cached_property
    def shared_bits(self) -> int:
        """Number of shared cells."""
        return sum(cells.bits for cells in self.shared)

    def cells_of(self, space: str) -> tuple[Cells, ...]:
        """Give the regions that make up a space, in physical order."""
        if space == SHARED:
            return self.shared
        for cells in self.own:
            if cells.region == space:
                return (cells,)
        known = ", ".join((SHARED, *(cells.region for cells in self.own)))
        raise DataError(f"no space {space!r} in this layout; it has {known}")

    def locate(self, space: str, cell: int) -> tuple[Cells, int]:
        """Give the region of a physical cell and the cell's number within it."""
        rest = cell
        for cells in self.cells_of(space):
            if 0 <= rest < cells.bits:
                return cells, rest
            rest -= cells.bits
        raise DataError(f"cell {cell} does not exist in space {space!r} of this layout")

    def own_strikes(self, cells: Cells) -> float:
        """Give the mean strikes on an own region per strike on the shared cells, at full speed."""
        rates = dict(self.technology_rates)
        relative = rates[cells.technology] / rates[self.technology] if rates else 1.0
        return cells.bits / self.shared_bits * relative

    def exposure(self, slowdown: float = 1.0) -> float:
        """Give the mean number of strikes per trial; 1.0 is the shared cells alone at full speed.

        Parameters
        ----------
        slowdown : float
            Time that the same work takes, as a multiple of the time at full speed.
        """
        return slowdown * (1.0 + sum(self.own_strikes(cells) for cells in self.own))


def _rates(rates: Mapping[str, float] | Iterable[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    try:
        table = tuple(sorted((str(name), float(rate)) for name, rate in dict(rates).items()))
    except (TypeError, ValueError):
        raise ConfigError(f"technology_rates = {rates!r}: give a table of technology = rate per bit") from None
    for name, rate in table:
        if not 0.0 <= rate < inf:
            raise ConfigError(f"technology_rates: {name} = {rate}: give a finite rate of 0 or more")
    return table
