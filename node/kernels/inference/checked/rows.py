"""Taking a row out of the step table, for a check whose data belong to one shape."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.columns import GROUPS, IN_C, KERNEL_H, KERNEL_W, OPCODE, OUT_C

ALARM = 2
"""What a checked kernel returns where its sums do not agree; its output is written all the same."""

OTHER_SHAPE = 3
"""What a checked kernel returns, having done nothing, where a row asks for other sums than the check data are for."""


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
