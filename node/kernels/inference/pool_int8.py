"""Largest value and mean of windows of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, part
from node.kernels.inference.bounds import fits, window_fits
from node.kernels.inference.columns import (
    COUNT,
    DILATION_H,
    DILATION_W,
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
    SCALES,
    SCRATCH,
    SIGNED,
    STRIDE_H,
    STRIDE_W,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.kinds import BOOL, BYTES, FLOATS, INT, ROW, WORDS
from node.kernels.inference.quantised import quantised, zeros_fit


@kernel
def take_window(u8: Any, i32: Any, row: Any, y0: int, x0: int, largest: bool) -> int:
    """Fold a window into the scratch, as a maximum or a sum of values; give the pixels that it met."""
    channels = row[IN_C]
    sums = i32[row[SCRATCH] // 4 : row[SCRATCH] // 4 + channels]
    flip = np.uint8(128 if row[SIGNED] & 1 else 0)
    shift = np.int32(flip + row[ZERO_A])
    met = 0
    for ky in range(row[KERNEL_H]):
        y = y0 + ky * row[DILATION_H]
        if y < 0 or y >= row[IN_H]:
            continue
        for kx in range(row[KERNEL_W]):
            x = x0 + kx * row[DILATION_W]
            if x < 0 or x >= row[IN_W]:
                continue
            met += 1
            source = row[IN_A] + (y * row[IN_W] + x) * channels
            values = u8[source : source + channels]
            if largest:
                for c in range(channels):
                    sums[c] = max(sums[c], np.int32(np.int32(values[c] ^ flip) - shift))
            else:
                for c in range(channels):
                    sums[c] += np.int32(np.int32(values[c] ^ flip) - shift)
    return met


@part(INT, BYTES, WORDS, FLOATS, ROW, BOOL)
def pool_int8(u8: Any, i32: Any, f32: Any, row: Any, largest: bool) -> int:
    """Run a MAX_POOL_INT8 or AVERAGE_POOL_INT8 row.

    Parameters
    ----------
    u8, i32, f32 : ndarray
        The whole arena as bytes, words and floats.
    row : ndarray of int64
        The step, outside the arena; its scales are (in, out), its scratch one int32 per channel.
    largest : bool
        Maximum, else mean.
    """
    total = u8.size
    if not window_fits(row, 1, total) or row[IN_C] != row[OUT_C] or not zeros_fit(row):
        return INVALID
    if not fits(row[SCALES], 8, 4, total) or not fits(row[SCRATCH], 4 * row[IN_C], 4, total):
        return INVALID
    for y in range(row[OUT_H]):
        for x in range(row[OUT_W]):
            pool_pixel_int8(u8, i32, f32, row, y, x, largest)
    return OK


@kernel
def pool_pixel_int8(u8: Any, i32: Any, f32: Any, row: Any, y: int, x: int, largest: bool) -> None:
    """Compute all channels of one output pixel of a valid row."""
    channels = row[IN_C]
    sums = i32[row[SCRATCH] // 4 : row[SCRATCH] // 4 + channels]
    scale_in, scale_out = f32[row[SCALES] // 4], f32[row[SCALES] // 4 + 1]
    start = np.int32(-(1 << 30) if largest else 0)
    place = row[OUT] + (y * row[OUT_W] + x) * channels
    out = u8[place : place + channels]
    for c in range(channels):
        sums[c] = start
    met = take_window(u8, i32, row, y * row[STRIDE_H] - row[PAD_TOP], x * row[STRIDE_W] - row[PAD_LEFT], largest)
    pixels = row[KERNEL_H] * row[KERNEL_W] if row[COUNT] == 1 else met
    divisor = np.float32(1 if largest else pixels)
    for c in range(channels):
        value = np.float32(sums[c]) / divisor * scale_in / scale_out
        out[c] = np.uint8(quantised(value, row[ZERO_OUT], row[LOW], row[HIGH]) & 255)
