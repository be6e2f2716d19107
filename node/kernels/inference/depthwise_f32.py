"""Float convolution of each channel by itself."""

from __future__ import annotations

from typing import Any

from node.jit import f32_from_bits, fma_f32, kernel
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
    STRIDE_H,
    STRIDE_W,
    WEIGHTS,
)


@kernel
def row_is_valid(row: Any, total: int) -> bool:
    """Check a DEPTHWISE_F32 row."""
    if not window_fits(row, 4, total) or row[IN_C] != row[OUT_C]:
        return False
    taps = volume(row[KERNEL_H], row[KERNEL_W], row[IN_C], total)
    return fits(row[WEIGHTS], 4 * taps, 4, total) and fits(row[BIAS], 4 * row[IN_C], 4, total) and taps > 0


@kernel
def one_pixel(f32: Any, row: Any, y0: int, x0: int, out: int) -> None:
    """Sum the window whose first tap is input pixel (y0, x0) into the floats from ``out``."""
    channels = row[IN_C]
    weights = row[WEIGHTS] // 4
    sums = f32[out : out + channels]
    for ky in range(row[KERNEL_H]):
        y = y0 + ky * row[DILATION_H]
        if y < 0 or y >= row[IN_H]:
            continue
        for kx in range(row[KERNEL_W]):
            x = x0 + kx * row[DILATION_W]
            if x < 0 or x >= row[IN_W]:
                continue
            source = row[IN_A] // 4 + (y * row[IN_W] + x) * channels
            tap = weights + (ky * row[KERNEL_W] + kx) * channels
            values, factors = f32[source : source + channels], f32[tap : tap + channels]
            for c in range(channels):
                sums[c] = fma_f32(values[c], factors[c], sums[c])


@kernel
def depthwise_f32(f32: Any, row: Any) -> int:
    """Run a DEPTHWISE_F32 row; the sum of an output pixel starts with the bias and follows the window.

    Parameters
    ----------
    f32 : ndarray
        The whole arena as floats.
    row : ndarray of int64
        The step, outside the arena.
    """
    if not row_is_valid(row, 4 * f32.size):
        return INVALID
    for y in range(row[OUT_H]):
        for x in range(row[OUT_W]):
            depthwise_pixel_f32(f32, row, y, x)
    return OK


@kernel
def depthwise_pixel_f32(f32: Any, row: Any, y: int, x: int) -> None:
    """Compute all channels of one output pixel of a valid row."""
    channels = row[IN_C]
    low, high = f32_from_bits(row[LOW]), f32_from_bits(row[HIGH])
    bias = f32[row[BIAS] // 4 : row[BIAS] // 4 + channels]
    out = row[OUT] // 4 + (y * row[OUT_W] + x) * channels
    sums = f32[out : out + channels]
    for c in range(channels):
        sums[c] = bias[c]
    one_pixel(f32, row, y * row[STRIDE_H] - row[PAD_TOP], x * row[STRIDE_W] - row[PAD_LEFT], out)
    for c in range(channels):
        value = sums[c]
        value = low if value < low else value
        sums[c] = high if value > high else value
