"""Where the bits live: the regions of a layout, and the one buffer that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError

ALIGNMENT_BYTES = 64

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Region:
    """A named range of memory that can be struck.

    Parameters
    ----------
    name : str
        ``weights``, ``activations``, ``state``, ``steps``, ``check.weights``, ``checkpoint``, ``padding``, ...
    kind : str
        ``weights``, ``activations``, ``state``, ``steps``, ``accumulators``, ``check``, ``checkpoint`` or ``padding``.
    size_bytes : int
        Bytes that exist, hence can be struck.
    own : bool
        True for cells that exist only because of the protection; the others are shared by all protections.
    technology : str
        ``dram``, ``flash`` or ``register``.
    offset : int
        Start in the arena; -1 for a region that lies elsewhere (a checkpoint's file, registers).
    step_ends : tuple of int
        For cells that exist only while a step runs: the number of the first bit after those of each step. Empty for
        cells that are there all the time.
    """

    name: str
    kind: str
    size_bytes: int
    own: bool = False
    technology: str = "dram"
    offset: int = -1
    step_ends: tuple[int, ...] = ()

    @property
    def size_bits(self) -> int:
        """Number of cells."""
        return 8 * self.size_bytes


@dataclass(frozen=True)
class Layout:
    """All regions of one computer, shared regions first."""

    regions: tuple[Region, ...]
    _by_name: dict[str, Region] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {region.name: region for region in self.regions})

    def __iter__(self) -> Iterator[Region]:
        return iter(self.regions)

    def __getitem__(self, name: str) -> Region:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise DataError(f"no region {name!r} in this layout; it has {known}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def shared(self) -> tuple[Region, ...]:
        """Regions that every protection of the same image has."""
        return tuple(region for region in self.regions if not region.own)

    @property
    def own(self) -> tuple[Region, ...]:
        """Regions that exist because of the protection."""
        return tuple(region for region in self.regions if region.own)

    @classmethod
    def place(cls, regions: Iterable[Region]) -> Self:
        """Give every region without a place elsewhere an aligned offset, in order."""
        placed: list[Region] = []
        offset = 0
        for region in regions:
            if region.technology != "dram":
                placed.append(region)
                continue
            placed.append(
                Region(
                    name=region.name,
                    kind=region.kind,
                    size_bytes=region.size_bytes,
                    own=region.own,
                    technology=region.technology,
                    offset=offset,
                )
            )
            offset += -(-region.size_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        return cls(tuple(placed))

    @property
    def arena_bytes(self) -> int:
        """Size of the buffer that holds every placed region."""
        ends = [region.offset + region.size_bytes for region in self.regions if region.offset >= 0]
        return -(-max(ends, default=0) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class Arena:
    """One aligned buffer, with views of its regions.

    Parameters
    ----------
    layout : Layout
        Placed regions.
    spare_bytes : int
        Bytes behind the buffer, no part of the memory that is struck: scratch for more threads than one.

    Attributes
    ----------
    u8, i32, f32 : ndarray
        The whole buffer seen as one-dimensional arrays of that type, without a copy.
    with_spare : ndarray of uint8
        The buffer and the bytes behind it.
    """

    def __init__(self, layout: Layout, spare_bytes: int = 0) -> None:
        self.layout = layout
        size = layout.arena_bytes
        raw = np.zeros(size + spare_bytes + ALIGNMENT_BYTES, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT_BYTES
        self.with_spare: Bytes = raw[start : start + size + spare_bytes]
        self.u8: Bytes = self.with_spare[:size]
        self.i32 = self.u8.view(np.int32)
        self.f32 = self.u8.view(np.float32)
        self._views = {r.name: self.u8[r.offset : r.offset + r.size_bytes] for r in layout if r.offset >= 0}

    def view(self, name: str) -> Bytes:
        """Give the bytes of a region, without a copy."""
        try:
            return self._views[name]
        except KeyError:
            raise DataError(f"region {name!r} does not lie in the arena; it has {', '.join(self._views)}") from None

    def flip(self, name: str, bit: int) -> tuple[int, int]:
        """Invert one bit and give its byte before and after, read from the memory."""
        view = self.view(name)
        if not 0 <= bit < 8 * view.size:
            raise DataError(f"bit {bit} lies outside region {name!r} of {8 * view.size} bits")
        index = bit >> 3
        before = int(view[index])
        view[index] = before ^ (1 << (bit & 7))
        return before, int(view[index])

    def force(self, name: str, bit: int, value: int) -> tuple[int, int]:
        """Set one bit to 0 or 1 (stuck-at) and give its byte before and after."""
        view = self.view(name)
        if not 0 <= bit < 8 * view.size:
            raise DataError(f"bit {bit} lies outside region {name!r} of {8 * view.size} bits")
        index = bit >> 3
        before = int(view[index])
        mask = 1 << (bit & 7)
        view[index] = before | mask if value else before & ~mask
        return before, int(view[index])
