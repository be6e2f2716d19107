"""Checks of a step row: nothing is read or written outside the arena, and the work has an end."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.columns import (
    BIAS,
    GROUPS,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    OUT,
    OUT_C,
    OUT_H,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    SCRATCH,
    STRIDE_H,
    STRIDE_W,
    WEIGHTS,
)
from node.kernels.inference.limits import (
    LARGEST_DIMENSION,
    LARGEST_GROUPS,
    LARGEST_ZERO,
    LEAST_WORK,
    WORK_PER_BYTE,
)
from node.kernels.inference.tiles import LANES, TILE_ROWS


@kernel
def volume(a: int, b: int, c: int, limit: int) -> int:
    """Give a * b * c, or -1 when a factor is not in 1 .. LARGEST_DIMENSION or the product exceeds the limit."""
    if a < 1 or b < 1 or c < 1 or a > LARGEST_DIMENSION or b > LARGEST_DIMENSION or c > LARGEST_DIMENSION:
        return -1
    product = a * b * c
    return product if product <= limit else -1


@kernel
def fits(offset: int, size: int, alignment: int, total: int) -> bool:
    """Tell whether ``size`` bytes from an aligned offset lie inside ``total`` bytes."""
    return size >= 0 and offset >= 0 and offset % alignment == 0 and size <= total and offset <= total - size


@kernel
def work_limit(total: int) -> int:
    """Give the largest number of multiplications of one step in an arena of so many bytes."""
    return max(LEAST_WORK, WORK_PER_BYTE * total)


@kernel
def window_fits(row: Any, item: int, total: int) -> bool:
    """Check the shapes and the window of a row, and that input a and the output lie in the arena."""
    for column in range(IN_H, GROUPS + 1):
        least = 0 if column in (PAD_TOP, PAD_LEFT) else 1
        if row[column] < least or row[column] > LARGEST_DIMENSION:
            return False
    before = volume(row[IN_H], row[IN_W], row[IN_C], total)
    after = volume(row[OUT_H], row[OUT_W], row[OUT_C], total)
    taps = volume(row[KERNEL_H], row[KERNEL_W], 1, total)
    if before < 0 or after < 0 or taps < 0 or after > work_limit(total) // taps:
        return False
    return fits(row[IN_A], before * item, item, total) and fits(row[OUT], after * item, item, total)


@kernel
def is_dense(row: Any) -> Any:
    """Tell whether each output pixel is computed from the input pixel of the same number alone."""
    return (
        row[KERNEL_H] == 1
        and row[KERNEL_W] == 1
        and row[STRIDE_H] == 1
        and row[STRIDE_W] == 1
        and row[PAD_TOP] == 0
        and row[PAD_LEFT] == 0
        and row[GROUPS] == 1
        and row[OUT_H] == row[IN_H]
        and row[OUT_W] == row[IN_W]
    )


@kernel
def tile_rows(row: Any) -> Any:
    """Give the most output pixels that are computed at once."""
    return min(TILE_ROWS, row[OUT_H] * row[OUT_W])


@kernel
def product_fits(row: Any, item: int, gathered: int, total: int) -> bool:
    """Check a row whose outputs are sums over packed weights.

    Parameters
    ----------
    row : ndarray of int64
        The step.
    item : int
        Bytes of an input, a weight and an output.
    gathered : int
        Bytes in the scratch for each product of a sum; a tile of words comes on top.
    total : int
        Bytes of the arena.
    """
    if not window_fits(row, item, total):
        return False
    groups = row[GROUPS]
    if groups > LARGEST_GROUPS or row[IN_C] % groups != 0 or row[OUT_C] % groups != 0:
        return False
    depth = volume(row[KERNEL_H], row[KERNEL_W], row[IN_C] // groups, total)
    panels = (row[OUT_C] // groups + LANES - 1) // LANES
    columns = volume(panels * LANES, groups, 1, total)
    if depth < 0 or columns < 0 or depth > total // columns:
        return False
    if row[OUT_H] * row[OUT_W] > work_limit(total) // (depth * columns):
        return False
    return (
        fits(row[WEIGHTS], item * depth * columns, item, total)
        and fits(row[BIAS], 4 * columns, 4, total)
        and fits(row[SCRATCH], gathered * depth + 4 * TILE_ROWS * LANES, 4, total)
    )


@kernel
def small(value: int) -> bool:
    """Tell whether a zero point or a quantised limit is of a size that arithmetic can bear."""
    return -LARGEST_ZERO <= value <= LARGEST_ZERO
