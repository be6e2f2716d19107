"""What no model may exceed: a damaged or careless file shall neither fill the memory nor take minutes."""

from __future__ import annotations

LARGEST_ARENA_BYTES = 1 << 31
"""No payload computer has more for one model; what must lie in the arena can't be larger either."""

LARGEST_FOLDED_ELEMENTS = 1 << 27
"""Elements of a constant that is computed at compile time."""

LARGEST_STEPS = 1 << 16
"""Rows of a step table: every sample of a batch and every moment of a sequence may take some."""
