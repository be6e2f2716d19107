"""What a checked kernel works on: a frame of addresses, and the row out of the step table, in the right shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import array_at, kernel
from node.kernels.inference.columns import GROUPS, IN_C, KERNEL_H, KERNEL_W, OPCODE, OUT_C

ALARM = 2
"""What a checked kernel returns where its sums do not agree; its output is written all the same."""

OTHER_SHAPE = 3
"""What a checked kernel returns, having done nothing, where a row asks for other sums than the check data are for."""


ARENA, TOTAL, GIVEN, COMPILED, COPY, KEPT_PLACE, KEPT_SIZE, FRAME_WORDS = 0, 1, 2, 3, 4, 5, 6, 7
"""Words of a frame: address and bytes of the arena; addresses of the row in the table, of the row as it was compiled,
of working memory for a copy, and of working memory to count in, with its words; and how many words there are.

Taking integers apart costs less than taking arrays apart, by as much as a small step takes.
"""

COLUMNS = 32
"""Words of a row."""


@kernel
def unpacked(place: int) -> Any:
    """Give the arena, the three rows as :func:`take_row` takes them, and the memory to count in, of a frame."""
    frame = array_at(place, (FRAME_WORDS,), np.int64)
    given = array_at(frame[GIVEN], (COLUMNS,), np.int64)
    compiled = array_at(frame[COMPILED], (COLUMNS,), np.int64)
    row = array_at(frame[COPY], (COLUMNS,), np.int64)
    kept = array_at(frame[KEPT_PLACE], (frame[KEPT_SIZE],), np.int64)
    return array_at(frame[ARENA], (frame[TOTAL],), np.uint8), (given, compiled, row), kept


@kernel
def take_row(rows: Any) -> bool:
    """Copy a row out of the table, and tell whether it has the shape that the check data were made for.

    ``rows`` are the row in the table, the row as it was compiled, and working memory outside the arena for the copy.
    """
    given, compiled, row = rows
    for column in range(row.size):
        row[column] = given[column]
    return bool(
        row[OPCODE] == compiled[OPCODE]
        and row[IN_C] == compiled[IN_C]
        and row[OUT_C] == compiled[OUT_C]
        and row[KERNEL_H] == compiled[KERNEL_H]
        and row[KERNEL_W] == compiled[KERNEL_W]
        and row[GROUPS] == compiled[GROUPS]
    )
