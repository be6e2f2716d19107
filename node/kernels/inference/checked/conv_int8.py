"""Checked convolution and product with a matrix in integers: each pixel's sums against one sum of its inputs.

The sum over the output channels of (bias + input @ weights) is (sum of biases) + input @ (row sums of the weights).
Modulo 2**32 this holds exactly (Huang and Abraham, "Algorithm-based fault tolerance for matrix operations", IEEE
Trans. Computers C-33(6), 1984, for the idea), so there is no threshold. The row sums were made when the weights were
known good. A weight with one wrong bit changes a pixel's sum by +-2**b times one input (below 2**8), which is not 0
modulo 2**32 unless that input is 0; a wrong bit of an accumulator changes it by 2**b.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.bounds import fits, is_dense, tile_rows, volume, window_fits, work_limit
from node.kernels.inference.checked.rows import OTHER_SHAPE, take_row
from node.kernels.inference.checked.tiles import (
    dots_int8,
    dots_int8_row,
    finish_int8,
    finish_int8_row,
    sums_int8,
    sums_int8_row,
)
from node.kernels.inference.columns import (
    BIAS,
    GROUPS,
    HIGH,
    IN_A,
    IN_C,
    INVALID,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OK,
    OUT,
    OUT_C,
    OUT_H,
    OUT_W,
    SCALES,
    SCRATCH,
    SIGNED,
    WEIGHTS,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.gather import gather
from node.kernels.inference.quantised import zeros_fit
from node.kernels.inference.tiles import LANES, TILE_ROWS

ALARM = 2
"""What a checked kernel returns where its sums do not agree; its output is written all the same."""


@kernel
def group_words(depth: int) -> int:
    """Give the words of check data of one group: row sums of the weights in whole blocks, then two more sums."""
    return (depth + LANES - 1) // LANES * LANES + LANES


@kernel
def row_is_valid(row: Any, total: int) -> bool:
    """Check a CONV_INT8 row; its scratch has room for this kernel and for the plain one."""
    if not window_fits(row, 1, total) or not zeros_fit(row):
        return False
    groups = row[GROUPS]
    if row[IN_C] % groups != 0 or row[OUT_C] % groups != 0:
        return False
    depth = volume(row[KERNEL_H], row[KERNEL_W], row[IN_C] // groups, total)
    columns = volume((row[OUT_C] // groups + LANES - 1) // LANES * LANES, groups, 1, total)
    if depth < 0 or columns < 0 or depth > total // columns:
        return False
    if row[OUT_H] * row[OUT_W] > work_limit(total) // (depth * columns):
        return False
    gathered = (4 if is_dense(row) else 5) * tile_rows(row) * depth
    return (
        fits(row[WEIGHTS], depth * columns, 1, total)
        and fits(row[BIAS], 4 * columns, 4, total)
        and fits(row[SCALES], 4 * columns, 4, total)
        and fits(row[SCRATCH], gathered + 4 * TILE_ROWS * LANES, 4, total)
    )


@kernel
def widen(u8: Any, i32: Any, row: Any, source: int, count: int) -> None:
    """Write bytes from ``source``, without their zero point, as words to the scratch.

    An int8 with its top bit inverted is its value plus 128: one formula for both kinds of bytes. Here and in
    other kernels an inner loop runs over slices from their start: an index that cannot be negative needs no
    wrap-around, and only then does the compiler use vector registers.
    """
    flip = np.uint8(128 if row[SIGNED] & 1 else 0)
    shift = np.int32(flip + row[ZERO_A])
    values = u8[source : source + count]
    words = i32[row[SCRATCH] // 4 : row[SCRATCH] // 4 + count]
    for i in range(count):
        words[i] = np.int32(values[i] ^ flip) - shift


@kernel
def sum_panel(u8: Any, row: Any, column: int, rows: int, depth: int) -> None:
    """Store the sums of up to eight gathered rows with the sixteen packed channels from ``column`` in the scratch."""
    weights, bias = row[WEIGHTS] + column * depth, row[BIAS] + 4 * column
    place = row[SCRATCH] + 4 * tile_rows(row) * depth
    if rows == TILE_ROWS:
        sums_int8(u8, row[SCRATCH], weights, depth, bias, place)
        return
    for r in range(rows):
        sums_int8_row(u8, row[SCRATCH] + 4 * r * depth, weights, depth, bias, place + 4 * LANES * r)


@kernel
def finish_panel(u8: Any, row: Any, column: int, spot: Any, totals: Any) -> None:
    """Quantise the sums that the scratch holds, store their bytes and add them up.

    ``spot`` are the rows, the products of a sum, the place of the first byte of output and the channels in use.
    """
    rows, depth, out, width = spot
    limits = (row[ZERO_OUT], row[LOW], row[HIGH])
    scales = row[SCALES] + 4 * column
    sums = row[SCRATCH] + 4 * tile_rows(row) * depth
    # The bytes of a panel that is not full go where its words were, and from there to the output.
    place = out if width == LANES else sums
    stride = row[OUT_C] if width == LANES else 4 * LANES
    if rows == TILE_ROWS:
        finish_int8(u8, sums, scales, place, stride, width, limits, totals)
    else:
        for r in range(rows):
            kept = totals[r * LANES : (r + 1) * LANES]
            finish_int8_row(u8, sums + 4 * LANES * r, scales, place + r * stride, stride, width, limits, kept)
    if width < LANES:
        for r in range(rows):
            for j in range(width):
                u8[out + r * row[OUT_C] + j] = u8[sums + 4 * LANES * r + j]


@kernel
def rows_agree(u8: Any, i32: Any, row: Any, sums: int, spot: Any, lanes: Any) -> bool:
    """Tell whether the totals of some gathered rows are what their inputs and the check data say.

    ``sums`` is the word where the group's check data begin, ``spot`` the rows and the products of a sum; ``lanes`` are
    the totals, and room for as many products.
    """
    rows, depth = spot
    totals, products = lanes
    blocks = depth // LANES
    if rows == TILE_ROWS:
        dots_int8(u8, row[SCRATCH], 4 * depth, u8, 4 * sums, blocks, products)
    else:
        for r in range(rows):
            kept = products[r * LANES : (r + 1) * LANES]
            dots_int8_row(u8, row[SCRATCH] + 4 * r * depth, 0, u8, 4 * sums, blocks, kept)
    bias = i32[sums + group_words(depth) - LANES]
    sound = True
    for r in range(rows):
        difference = np.int32(-bias)
        for j in range(LANES):
            difference = np.int32(difference + np.int32(totals[r * LANES + j] - products[r * LANES + j]))
        left = row[SCRATCH] // 4 + r * depth
        for k in range(blocks * LANES, depth):
            difference = np.int32(difference - np.int32(i32[left + k] * i32[sums + k]))
        sound = sound and difference == 0
    return sound


@kernel
def scales_agree(i32: Any, row: Any, column: int, width: int, sums: int) -> bool:
    """Tell whether the multipliers of a group, added up as words, are what they were."""
    total = np.int32(0)
    start = row[SCALES] // 4 + column
    values = i32[start : start + width]
    for j in range(width):
        total = np.int32(total + values[j])
    return bool(total == i32[sums + 1])


@kernel
def checked_conv_int8(u8: Any, i32: Any, rows: Any, sums: int, lanes: Any) -> int:
    """Run a CONV_INT8 row, with the same output as the plain kernel, and check every sum.

    Parameters
    ----------
    u8, i32 : ndarray
        The whole arena, seen as bytes and words.
    rows : tuple of ndarray of int64
        As ``take_row`` takes them.
    sums : int
        Word of the arena where the check data of the step begin.
    lanes : tuple of ndarray of int32, [128]
        Working memory.

    Returns
    -------
    int
        OK, ALARM, or, where nothing was done, INVALID or OTHER_SHAPE.
    """
    if not take_row(rows):
        return OTHER_SHAPE
    row = rows[2]
    if not row_is_valid(row, u8.size):
        return INVALID
    groups, pixels, dense = row[GROUPS], row[OUT_H] * row[OUT_W], is_dense(row)
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // groups)
    channels = row[OUT_C] // groups
    panels = (channels + LANES - 1) // LANES
    sound = True
    for group in range(groups):
        start = sums + group * group_words(depth)
        first = group * panels * LANES
        sound = scales_agree(i32, row, first, channels, start + group_words(depth) - LANES) and sound
        for pixel in range(0, pixels, TILE_ROWS):
            count = min(TILE_ROWS, pixels - pixel)
            source = row[IN_A] + pixel * depth
            if not dense:
                source = row[SCRATCH] + 4 * (tile_rows(row) * depth + TILE_ROWS * LANES)
                gather(u8, row, 1, (pixel, count), group, source)
            widen(u8, i32, row, source, count * depth)
            lanes[0][:] = np.int32(0)
            for panel in range(panels):
                out = row[OUT] + pixel * row[OUT_C] + group * channels + panel * LANES
                spot = (count, depth, out, min(LANES, channels - panel * LANES))
                sum_panel(u8, row, first + panel * LANES, count, depth)
                finish_panel(u8, row, first + panel * LANES, spot, lanes[0])
            sound = rows_agree(u8, i32, row, start, (count, depth), lanes) and sound
    return OK if sound else ALARM


def warm() -> None:
    """Compile or load the kernel for the types of an arena."""
    u8 = np.zeros(64, np.uint8)
    lanes = (np.zeros(TILE_ROWS * LANES, np.int32), np.zeros(TILE_ROWS * LANES, np.int32))
    row = np.zeros(32, np.int64)
    checked_conv_int8(u8, u8.view(np.int32), (row, row, row), 0, lanes)
