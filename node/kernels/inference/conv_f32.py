"""Float convolution and product with a matrix: rows are gathered, then multiplied with packed weights.

Every sum starts with the bias and takes its products in the order kernel row, kernel column, channel, with one
rounding each (a fused multiply-add), so its bits depend neither on the tile nor on the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import LANES, TILE_ROWS, f32_from_bits, kernel, tile_f32, tile_f32_row, tile_f32_wide_row
from node.kernels.inference.bounds import fits, is_dense, volume, window_fits, work_limit
from node.kernels.inference.columns import (
    BIAS,
    DILATION_H,
    DILATION_W,
    GROUPS,
    HIGH,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    INVALID,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OK,
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

LARGEST_GROUPS = 1 << 16


@kernel
def row_is_valid(row: Any, total: int) -> bool:
    """Check a row of this file; the scratch is 8 gathered rows (none when dense) and 8 x 16 sums."""
    if not window_fits(row, 4, total):
        return False
    groups = row[GROUPS]
    if groups > LARGEST_GROUPS or row[IN_C] % groups != 0 or row[OUT_C] % groups != 0:
        return False
    depth = volume(row[KERNEL_H], row[KERNEL_W], row[IN_C] // groups, total)
    lanes = (row[OUT_C] // groups + LANES - 1) // LANES * LANES
    columns = volume(lanes, groups, 1, total)
    pixels = row[OUT_H] * row[OUT_W]
    if depth < 0 or columns < 0 or depth > total // columns:
        return False
    if pixels > work_limit(total) // (depth * columns):
        return False
    gathered = 0 if is_dense(row) else TILE_ROWS * depth
    return (
        fits(row[WEIGHTS], 4 * depth * columns, 4, total)
        and fits(row[BIAS], 4 * columns, 4, total)
        and fits(row[SCRATCH], 4 * (gathered + TILE_ROWS * LANES), 4, total)
    )


@kernel
def gather(f32: Any, row: Any, pixel: int, group: int, place: int) -> None:
    """Copy the inputs of one output pixel to ``place`` (counted in floats), zero where the window overhangs."""
    in_h, in_w, in_c = row[IN_H], row[IN_W], row[IN_C]
    kernel_h, kernel_w, dilation_w = row[KERNEL_H], row[KERNEL_W], row[DILATION_W]
    channels = in_c // row[GROUPS]
    start = row[IN_A] // 4 + group * channels
    top = pixel // row[OUT_W] * row[STRIDE_H] - row[PAD_TOP]
    left = pixel % row[OUT_W] * row[STRIDE_W] - row[PAD_LEFT]
    inside = left >= 0 and left + kernel_w <= in_w and dilation_w == 1 and channels == in_c
    for ky in range(kernel_h):
        y = top + ky * row[DILATION_H]
        if inside and 0 <= y < in_h:
            source = start + (y * in_w + left) * in_c
            for i in range(kernel_w * in_c):
                f32[place + i] = f32[source + i]
            place += kernel_w * in_c
            continue
        for kx in range(kernel_w):
            x = left + kx * dilation_w
            if 0 <= y < in_h and 0 <= x < in_w:
                source = start + (y * in_w + x) * in_c
                for i in range(channels):
                    f32[place + i] = f32[source + i]
            else:
                for i in range(channels):
                    f32[place + i] = np.float32(0.0)
            place += channels


@kernel
def multiply(u8: Any, f32: Any, row: Any, group: int, pixel: int, left: int) -> None:
    """Compute up to eight pixels from ``pixel`` of one group from rows at byte ``left``, and store them."""
    channels = row[OUT_C] // row[GROUPS]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    panels = (channels + LANES - 1) // LANES
    rows = min(TILE_ROWS, row[OUT_H] * row[OUT_W] - pixel)
    weights = row[WEIGHTS] + 4 * group * panels * LANES * depth
    bias = row[BIAS] + 4 * group * panels * LANES
    out = row[OUT] + 4 * (pixel * row[OUT_C] + group * channels)
    clamp = (f32_from_bits(row[LOW]), f32_from_bits(row[HIGH]))
    gathered = 0 if is_dense(row) else TILE_ROWS * depth
    sums = row[SCRATCH] + 4 * gathered
    panel = 0
    while panel < panels:
        width = min(LANES, channels - panel * LANES)
        if rows == 1 and channels - panel * LANES >= 4 * LANES:
            tile_f32_wide_row(u8, left, depth, weights, depth, bias, out, LANES, clamp)
            weights += 4 * 4 * LANES * depth
            bias += 4 * 4 * LANES
            out += 4 * 4 * LANES
            panel += 4
            continue
        place = out if width == LANES else sums
        stride = row[OUT_C] if width == LANES else LANES
        if rows == TILE_ROWS:
            tile_f32(u8, left, depth, weights, depth, bias, place, stride, clamp)
        else:
            for r in range(rows):
                tile_f32_row(
                    u8, left + 4 * r * depth, depth, weights, depth, bias, place + 4 * r * stride, stride, clamp
                )
        if width < LANES:
            for r in range(rows):
                for j in range(width):
                    f32[out // 4 + r * row[OUT_C] + j] = f32[sums // 4 + r * LANES + j]
        weights += 4 * LANES * depth
        bias += 4 * LANES
        out += 4 * LANES
        panel += 1


@kernel
def conv_f32(u8: Any, f32: Any, row: Any) -> int:
    """Run a CONV_F32 row.

    Parameters
    ----------
    u8, f32 : ndarray
        The whole arena, seen as bytes and as floats.
    row : ndarray of int64
        The step, outside the arena.

    Returns
    -------
    int
        OK or INVALID.
    """
    if not row_is_valid(row, u8.size):
        return INVALID
    pixels = row[OUT_H] * row[OUT_W]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    dense = is_dense(row)
    for group in range(row[GROUPS]):
        pixel = 0
        while pixel < pixels:
            if dense:
                multiply(u8, f32, row, group, pixel, row[IN_A] + 4 * pixel * depth)
            else:
                for r in range(min(TILE_ROWS, pixels - pixel)):
                    gather(f32, row, pixel + r, group, row[SCRATCH] // 4 + r * depth)
                multiply(u8, f32, row, group, pixel, row[SCRATCH])
            pixel += TILE_ROWS
    return OK
