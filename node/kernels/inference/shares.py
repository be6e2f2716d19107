"""How a step over windows is cut into pieces: by output rows, pixels, groups of channels or panels of channels.

Each piece writes outputs of its own and takes all products of each sum, in order, so no cut changes a byte. What a
step leaves in its scratch is what its last rows or pixels leave, and the last piece is large enough to leave it.
"""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.bounds import per_group
from node.kernels.inference.columns import GROUPS, OUT_C, OUT_H, OUT_W
from node.kernels.inference.tiles import LANES, TILE_ROWS

BLOCK = 4
"""Panels of channels that a single pixel takes at once."""


@kernel
def units_of(row: Any, lined: bool) -> Any:
    """Give into how many equal parts a valid step can be cut; ``lined`` ones go by output rows."""
    pixels = row[OUT_H] * row[OUT_W]
    if lined:
        return row[OUT_H]
    if row[GROUPS] > 1:
        return row[GROUPS]
    if pixels >= 4 * TILE_ROWS:
        # Two chunks at least, so that the last piece leaves in the scratch what all of them would.
        return pixels // (2 * TILE_ROWS)
    return (row[OUT_C] + BLOCK * LANES - 1) // (BLOCK * LANES)


@kernel
def share_of(row: Any, lined: bool, piece: int, pieces: int) -> Any:
    """Give the rows or pixels, groups and panels of one piece, each as first and end."""
    pixels = row[OUT_H] * row[OUT_W]
    groups = row[GROUPS]
    panels = (per_group(row[OUT_C], groups) + LANES - 1) // LANES
    if pieces == 1:
        return 0, row[OUT_H] if lined else pixels, 0, groups, 0, panels
    units = units_of(row, lined)
    first, end = piece * units // pieces, (piece + 1) * units // pieces
    if lined:
        return first, end, 0, groups, 0, panels
    if groups > 1:
        return 0, pixels, first, end, 0, panels
    if pixels >= 4 * TILE_ROWS:
        last = pixels if end == units else 2 * TILE_ROWS * end
        return 2 * TILE_ROWS * first, last, 0, groups, 0, panels
    return 0, pixels, 0, groups, BLOCK * first, min(panels, BLOCK * end)
