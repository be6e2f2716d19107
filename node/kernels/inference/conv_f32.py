"""Float convolution and product with a matrix: rows are gathered, then multiplied with packed weights.

Every sum starts with the bias and takes its products in the order kernel row, kernel column, channel, with one
rounding each (a fused multiply-add), so its bits depend neither on the tile nor on the CPU.
"""

from __future__ import annotations

from typing import Any

from node.jit import f32_from_bits, kernel
from node.kernels.inference.bounds import is_dense, product_fits, tile_rows
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
    SCRATCH,
    WEIGHTS,
    ZERO_A,
)
from node.kernels.inference.gather import gather
from node.kernels.inference.tiles import LANES, TILE_ROWS, tile_f32, tile_f32_row, tile_f32_wide_row


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
    gathered = 0 if is_dense(row) else tile_rows(row) * depth
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
        The whole arena, seen as bytes and floats.
    row : ndarray of int64
        The step, outside the arena.

    Returns
    -------
    int
        OK or INVALID.
    """
    dense = is_dense(row)
    if row[ZERO_A] != 0 or not product_fits(row, 4, 0 if dense else 4 * tile_rows(row), u8.size):
        return INVALID
    pixels = row[OUT_H] * row[OUT_W]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    for group in range(row[GROUPS]):
        for pixel in range(0, pixels, TILE_ROWS):
            if dense:
                multiply(u8, f32, row, group, pixel, row[IN_A] + 4 * pixel * depth)
            else:
                gather(u8, row, 4, (pixel, min(TILE_ROWS, pixels - pixel)), group, row[SCRATCH])
                multiply(u8, f32, row, group, pixel, row[SCRATCH])
    return OK
