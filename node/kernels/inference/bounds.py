"""Checks of a step row: nothing is read or written outside the arena, and the work has an end.

They become a part of their callers: a call costs more than most of them do.
"""

from __future__ import annotations

from typing import Any

from node.jit import inlined_kernel
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


@inlined_kernel
def volume(a: int, b: int, c: int, limit: int) -> int:
    """Give a * b * c, or -1 when a factor is not in 1 .. LARGEST_DIMENSION or the product exceeds the limit."""
    if a < 1 or b < 1 or c < 1 or a > LARGEST_DIMENSION or b > LARGEST_DIMENSION or c > LARGEST_DIMENSION:
        return -1
    product = a * b * c
    return product if product <= limit else -1


@inlined_kernel
def count_of(values: int, limit: int) -> int:
    """Give a number of values, or -1 when it is not in 1 .. limit. Nothing is multiplied: it may be any dimension."""
    return values if 1 <= values <= limit else -1


@inlined_kernel
def fits(offset: int, size: int, alignment: int, total: int) -> bool:
    """Tell whether ``size`` bytes from an aligned offset lie inside ``total`` bytes."""
    return size >= 0 and offset >= 0 and offset % alignment == 0 and size <= total and offset <= total - size


@inlined_kernel
def work_limit(total: int) -> int:
    """Give the largest number of multiplications of one step in an arena of so many bytes."""
    return max(LEAST_WORK, WORK_PER_BYTE * total)


@inlined_kernel
def exceeds(a: int, b: int, limit: int) -> Any:
    """Tell whether a * b exceeds a limit below 2**53; a division would take longer than the whole check."""
    return float(a) * float(b) > float(limit)


@inlined_kernel
def per_group(channels: int, groups: int) -> Any:
    """Give the channels of one group; mostly there is one, and a division takes long."""
    return channels if groups == 1 else channels // groups


@inlined_kernel
def window_fits(row: Any, item: int, total: int) -> bool:
    """Check the shapes and the window of a row, and that input a and the output lie in the arena."""
    for column in range(IN_H, GROUPS + 1):
        least = 0 if column in (PAD_TOP, PAD_LEFT) else 1
        if row[column] < least or row[column] > LARGEST_DIMENSION:
            return False
    before = volume(row[IN_H], row[IN_W], row[IN_C], total)
    after = volume(row[OUT_H], row[OUT_W], row[OUT_C], total)
    taps = volume(row[KERNEL_H], row[KERNEL_W], 1, total)
    if before < 0 or after < 0 or taps < 0 or exceeds(after, taps, work_limit(total)):
        return False
    return fits(row[IN_A], before * item, item, total) and fits(row[OUT], after * item, item, total)


@inlined_kernel
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


@inlined_kernel
def tile_rows(row: Any) -> Any:
    """Give the most output pixels that are computed at once."""
    return min(TILE_ROWS, row[OUT_H] * row[OUT_W])


@inlined_kernel
def packed_columns(row: Any) -> Any:
    """Give the output channels, each group filled up to whole panels."""
    return (per_group(row[OUT_C], row[GROUPS]) + LANES - 1) // LANES * LANES * row[GROUPS]


@inlined_kernel
def apart(row: Any, size: int, place: int, other: int) -> Any:
    """Tell whether ``size`` bytes of output and ``other`` bytes from ``place`` have none in common."""
    return row[OUT] + size <= place or place + other <= row[OUT]


@inlined_kernel
def product_fits(row: Any, item: int, scratch: int, total: int) -> bool:
    """Check the parameters of a row whose shapes are valid and whose outputs are sums over packed weights.

    Outputs lie apart from all that is read, so that their order does not matter.

    Parameters
    ----------
    row : ndarray of int64
        The step.
    item : int
        Bytes of an input, a weight and an output.
    scratch : int
        Bytes of the scratch, -1 where they are too many.
    total : int
        Bytes of the arena.
    """
    groups = row[GROUPS]
    if groups > LARGEST_GROUPS or (groups > 1 and (row[IN_C] % groups != 0 or row[OUT_C] % groups != 0)):
        return False
    depth = volume(row[KERNEL_H], row[KERNEL_W], per_group(row[IN_C], groups), total)
    columns = volume(packed_columns(row), 1, 1, total)
    if depth < 0 or columns < 0 or exceeds(depth, columns, total):
        return False
    pixels = row[OUT_H] * row[OUT_W]
    if exceeds(pixels, depth * columns, work_limit(total)):
        return False
    size = item * pixels * row[OUT_C]
    return (
        fits(row[WEIGHTS], item * depth * columns, item, total)
        and fits(row[BIAS], 4 * columns, 4, total)
        and fits(row[SCRATCH], scratch, 4, total)
        and apart(row, size, row[IN_A], item * row[IN_H] * row[IN_W] * row[IN_C])
        and apart(row, size, row[WEIGHTS], item * depth * columns)
        and apart(row, size, row[BIAS], 4 * columns)
        and apart(row, size, row[SCRATCH], scratch)
    )


@inlined_kernel
def small(value: int) -> bool:
    """Tell whether a zero point or a quantised limit is of a size that arithmetic can bear."""
    return -LARGEST_ZERO <= value <= LARGEST_ZERO
