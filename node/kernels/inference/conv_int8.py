"""Convolution and product with a matrix in integers: int8 weights, int32 sums that wrap, one float multiplier.

The input rows are gathered as bytes, then widened to int32 without their zero point; sums are exact in any
order. The scratch is up to eight rows of words, a tile for a panel of fewer than 16 channels, and, unless the input
lies there side by side already, as many rows of bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.bounds import fits, is_dense, packed_columns, product_fits, tile_rows, window_fits
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
from node.kernels.inference.tiles import LANES, TILE_ROWS, tile_int8, tile_int8_row


@kernel
def multiply(u8: Any, row: Any, group: int, pixel: int, depth: int) -> None:
    """Compute up to eight pixels from ``pixel`` of one group from the gathered rows, and store their bytes."""
    channels = row[OUT_C] // row[GROUPS]
    panels = (channels + LANES - 1) // LANES
    rows = min(TILE_ROWS, row[OUT_H] * row[OUT_W] - pixel)
    limits = (row[ZERO_OUT], row[LOW], row[HIGH])
    sums = row[SCRATCH] + 4 * tile_rows(row) * depth
    for panel in range(panels):
        column = (group * panels + panel) * LANES
        weights, bias, scales = row[WEIGHTS] + column * depth, row[BIAS] + 4 * column, row[SCALES] + 4 * column
        width = min(LANES, channels - panel * LANES)
        out = row[OUT] + pixel * row[OUT_C] + group * channels + panel * LANES
        place = out if width == LANES else sums
        stride = row[OUT_C] if width == LANES else LANES
        if rows == TILE_ROWS:
            tile_int8(u8, row[SCRATCH], weights, depth, bias, scales, place, stride, limits)
        else:
            for r in range(rows):
                left = row[SCRATCH] + 4 * r * depth
                tile_int8_row(u8, left, weights, depth, bias, scales, place + r * stride, stride, limits)
        if width < LANES:
            for r in range(rows):
                for j in range(width):
                    u8[out + r * row[OUT_C] + j] = u8[sums + r * LANES + j]


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
def conv_int8(u8: Any, i32: Any, row: Any) -> int:
    """Run a CONV_INT8 row.

    Parameters
    ----------
    u8, i32 : ndarray
        The whole arena, seen as bytes and words.
    row : ndarray of int64
        The step, outside the arena.

    Returns
    -------
    int
        OK or INVALID.
    """
    dense = is_dense(row)
    total = u8.size
    if not window_fits(row, 1, total) or not zeros_fit(row):
        return INVALID
    groups = row[GROUPS]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // groups)
    scratch = (4 if dense else 5) * tile_rows(row) * depth + 4 * TILE_ROWS * LANES
    if not product_fits(row, 1, scratch, total) or not fits(row[SCALES], 4 * packed_columns(row), 4, total):
        return INVALID
    pixels = row[OUT_H] * row[OUT_W]
    for group in range(groups):
        for pixel in range(0, pixels, TILE_ROWS):
            rows = min(TILE_ROWS, pixels - pixel)
            source = row[IN_A] + pixel * depth
            if not dense:
                source = row[SCRATCH] + 4 * (tile_rows(row) * depth + TILE_ROWS * LANES)
                gather(u8, row, 1, (pixel, rows), group, source)
            widen(u8, i32, row, source, rows * depth)
            multiply(u8, row, group, pixel, depth)
    return OK
