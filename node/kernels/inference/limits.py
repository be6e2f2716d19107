"""How large a step may be; the compiler and the kernels ask the same questions."""

from __future__ import annotations

LARGEST_DIMENSION = (1 << 21) - 1
"""A dimension, so that the product of three still fits 64 bits."""

LARGEST_GROUPS = 1 << 16
"""Groups of a convolution."""

LARGEST_ZERO = 1 << 16
"""Magnitude of a zero point or a quantised limit, so that sums with them stay far from an overflow."""

WORK_PER_BYTE = 512
"""Multiplications that a step may ask for, for each byte of the arena: an end to the longest step.

A convolution of 3 x 3 in int8 with 64 channels asks for 288: 9 x 64 for a byte written, and one is read for it.
"""

LEAST_WORK = 1 << 20
"""Multiplications that are allowed in any case."""

LEAST_LINE, SURE_LINE = 4, 8
"""Output pixels of a row from which on its inputs may be, and always are, taken as runs of neighbours (see ``ring``).
A row shorter than the largest tile is computed pixel by pixel then."""

LONG_RUN = 16
"""Values of a run from which on gathering them takes little beside what is computed from them."""

LARGEST_RING = 4096
"""Values of a ring that are allowed in any case; a larger one has to be small beside the input."""

CHUNK = 64
"""Rows of a product that meet one panel of weights before the next panel comes."""

SLACK = 64
"""Bytes after weights and gathered inputs that may be read, in arenas that hold them, and are not used."""
