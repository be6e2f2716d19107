"""Parity-check matrices: the data part as printed or published, columns, masks and what each syndrome points at.

A column is a number whose bit r is row r of the matrix. The check part is the identity: check bit r is bit r.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

FIG6_ROWS = (
    "1111111100001111000011110000110001101000100010001000100010000000",
    "1111000011111111000000001111001101100100010001000100010001000000",
    "0011000011110000111111110000111100000010001000100010001000100110",
    "1100111100000000111100001111111100000001000100010001000100010110",
    "0110100010001000100010001000000011111111000011110000000011110011",
    "0110010001000100010001000100000011110000111111110000111100001100",
    "0000001000100010001000100010011011001111000000001111111100001111",
    "0000000100010001000100010001011000110000111100001111000011111111",
)
"""The (72,64) code of M. Y. Hsiao, "A class of optimal minimum odd-weight-column SEC-DED codes", IBM Journal of
Research and Development 14 (1970), figure 6."""

FIG6_COLUMNS = tuple(sum(int(row[k]) << r for r, row in enumerate(FIG6_ROWS)) for k in range(64))

EXCHANGED = {1: 0x1F}
"""Column 1 of the figure, 0x3b, gives way to another of weight five: now all 64 columns no longer add up to zero."""

ROW_ORDER = (
    5, 11, 0, 62, 60, 6, 54, 7, 17, 53, 9, 48, 26, 40, 14, 10, 16, 30, 29, 19, 44, 8, 32, 37, 24, 57, 12, 15, 28, 21,
    20, 49, 18, 35, 42, 33, 38, 23, 36, 39, 13, 1, 27, 55, 25, 45, 47, 58, 4, 46, 50, 41, 52, 22, 31, 51, 63, 43, 56,
    59, 2, 61, 3, 34,
)  # fmt: skip
"""Column of the figure for each row of a block. Found by exchanging pairs until no run of rows, be it of every row or
of every 2nd, 4th, ... 32nd, adds up to zero; in the figure itself 173 of these runs do."""

LAID_COLUMNS = tuple(EXCHANGED.get(k, FIG6_COLUMNS[k]) for k in ROW_ORDER)
"""Column of the vertical Hsiao code for each row of a block."""

PUBLISHED_39_32 = (0x2606BD25, 0xDEBA8050, 0x413D89AA, 0x31234ED1, 0xC2C1323B, 0x2DCC624C, 0x98505586)
"""Data bits of each row of the (39,32) code of the OpenTitan project (``prim_secded_39_32``)."""

IN_PLACE_CHECKS = tuple(8 * byte + 6 for byte in range(7))
"""Bits of a word that the (64,57) code takes for itself: bit 6 of the first seven bytes."""


def _in_place_columns() -> tuple[int, ...]:
    others = iter([column for column in range(128) if column.bit_count() % 2 and column.bit_count() > 1])
    return tuple(1 << IN_PLACE_CHECKS.index(bit) if bit in IN_PLACE_CHECKS else next(others) for bit in range(64))


IN_PLACE_COLUMNS = _in_place_columns()
"""Column of the (64,57) code for each bit of a word: the seven unit columns at its check bits, and at the others, in
rising order, the 57 columns of seven bits with three, five or seven ones. There are no more columns of odd weight, so
that the code corrects one bit and detects two. The construction is that of H. Guan, L. Ning, Z. Lin, X. Shen,
H. Zhou, S.-H. Lim, "In-place zero-space memory protection for CNN", NeurIPS 2019."""

UNCORRECTABLE = 255


def masks(columns: Sequence[int], checks: int) -> tuple[int, ...]:
    """Give for each check bit the data bits that it adds up, as a number whose bit k is data bit k."""
    return tuple(sum((column >> r & 1) << k for k, column in enumerate(columns)) for r in range(checks))


def positions(columns: Sequence[int], checks: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Give what each syndrome points at: a data bit, after them the check bits, or ``UNCORRECTABLE``."""
    table = np.full(1 << checks, UNCORRECTABLE, np.uint8)
    for k, column in enumerate([*columns, *(1 << r for r in range(checks))]):
        table[column] = k
    return table
