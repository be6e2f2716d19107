"""Convolution of each channel by itself, in integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.bounds import fits, volume, window_fits
from node.kernels.inference.columns import (
    BIAS,
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
    WEIGHTS,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.quantised import quantised, zeros_fit

TOP_BIT = np.uint8(128)
"""An int8 with its top bit inverted is, read as uint8, its value plus 128."""


@kernel
def row_is_valid(row: Any, total: int) -> bool:
    """Check a DEPTHWISE_INT8 row; the scratch is one int32 sum per channel."""
    if not window_fits(row, 1, total) or row[IN_C] != row[OUT_C] or not zeros_fit(row):
        return False
    taps = volume(row[KERNEL_H], row[KERNEL_W], row[IN_C], total)
    words = 4 * row[IN_C]
    return (
        fits(row[WEIGHTS], taps, 1, total)
        and fits(row[BIAS], words, 4, total)
        and fits(row[SCALES], words, 4, total)
        and fits(row[SCRATCH], words, 4, total)
    )


@kernel
def one_pixel(u8: Any, i32: Any, row: Any, y0: int, x0: int) -> None:
    """Sum the window whose first tap is input pixel (y0, x0) into the scratch."""
    channels = row[IN_C]
    sums = i32[row[SCRATCH] // 4 : row[SCRATCH] // 4 + channels]
    flip = np.uint8(128 if row[SIGNED] & 1 else 0)
    shift = np.int32(flip + row[ZERO_A])
    for ky in range(row[KERNEL_H]):
        y = y0 + ky * row[DILATION_H]
        if y < 0 or y >= row[IN_H]:
            continue
        for kx in range(row[KERNEL_W]):
            x = x0 + kx * row[DILATION_W]
            if x < 0 or x >= row[IN_W]:
                continue
            source = row[IN_A] + (y * row[IN_W] + x) * channels
            tap = row[WEIGHTS] + (ky * row[KERNEL_W] + kx) * channels
            values, factors = u8[source : source + channels], u8[tap : tap + channels]
            for c in range(channels):
                value = np.int32(np.int32(values[c] ^ flip) - shift)
                weight = np.int32(np.int32(factors[c] ^ TOP_BIT) - np.int32(128))
                sums[c] = np.int32(sums[c] + np.int32(value * weight))


@kernel
def depthwise_int8(u8: Any, i32: Any, f32: Any, row: Any) -> int:
    """Run a DEPTHWISE_INT8 row.

    Parameters
    ----------
    u8, i32, f32 : ndarray
        The whole arena as bytes, words and floats.
    row : ndarray of int64
        The step, outside the arena.
    """
    if not row_is_valid(row, u8.size):
        return INVALID
    for y in range(row[OUT_H]):
        for x in range(row[OUT_W]):
            depthwise_pixel_int8(u8, i32, f32, row, y, x)
    return OK


@kernel
def depthwise_pixel_int8(u8: Any, i32: Any, f32: Any, row: Any, y: int, x: int) -> None:
    """Compute all channels of one output pixel of a valid row."""
    channels = row[IN_C]
    bias = i32[row[BIAS] // 4 : row[BIAS] // 4 + channels]
    scales = f32[row[SCALES] // 4 : row[SCALES] // 4 + channels]
    sums = i32[row[SCRATCH] // 4 : row[SCRATCH] // 4 + channels]
    place = row[OUT] + (y * row[OUT_W] + x) * channels
    out = u8[place : place + channels]
    for c in range(channels):
        sums[c] = bias[c]
    one_pixel(u8, i32, row, y * row[STRIDE_H] - row[PAD_TOP], x * row[STRIDE_W] - row[PAD_LEFT])
    for c in range(channels):
        value = np.float32(sums[c]) * scales[c]
        out[c] = np.uint8(quantised(value, row[ZERO_OUT], row[LOW], row[HIGH]) & 255)
