"""Float convolution of each channel by itself."""

from __future__ import annotations

from typing import Any

from node.jit import f32_from_bits, kernel, part
from node.kernels.inference.bounds import fits, volume, window_fits
from node.kernels.inference.clip import clipped_window, whole_columns
from node.kernels.inference.columns import (
    BIAS,
    HIGH,
    IN_A,
    IN_C,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OUT,
    OUT_C,
    OUT_W,
    STRIDE_W,
    WEIGHTS,
)
from node.kernels.inference.kinds import BYTES, INT, NOTHING, ROW
from node.kernels.inference.taps import (
    PIXELS,
    WIDE,
    tap_f32,
    tap_part_f32,
    tap_wide_f32,
    taps_f32,
    taps_part_f32,
)
from node.kernels.inference.tiles import LANES


@kernel
def depthwise_is_valid_f32(row: Any, total: int) -> bool:
    """Check a DEPTHWISE_F32 row."""
    if not window_fits(row, 4, total) or row[IN_C] != row[OUT_C]:
        return False
    taps = volume(row[KERNEL_H], row[KERNEL_W], row[IN_C], total)
    return fits(row[WEIGHTS], 4 * taps, 4, total) and fits(row[BIAS], 4 * row[IN_C], 4, total) and taps > 0


@part(NOTHING, BYTES, ROW, INT, INT)
def depthwise_part_f32(u8: Any, row: Any, begin: int, end: int) -> None:
    """Compute the output rows ``begin`` to ``end - 1`` of a valid row; sums start with the bias, follow the window."""
    first, last = whole_columns(row)
    for y in range(begin, end):
        x = 0
        while x < row[OUT_W]:
            count = last - first if x == first and last > first else 1
            depthwise_pixels_f32(u8, row, y, x, count)
            x += count


@kernel
def depthwise_pixels_f32(u8: Any, row: Any, y: int, x: int, count: int) -> None:
    """Compute all channels of neighbouring output pixels of a valid row, which have the same taps in the input."""
    channels = row[IN_C]
    inputs, weights, window = clipped_window(row, 4, y, x)
    out = row[OUT] + 4 * (y * row[OUT_W] + x) * channels
    clamp = (f32_from_bits(row[LOW]), f32_from_bits(row[HIGH]))
    stride, line = 4 * channels * row[STRIDE_W], 4 * channels
    c = 0
    while c < channels:
        rest = channels - c
        wide = count < PIXELS and rest >= WIDE * LANES
        left, place = row[IN_A] + inputs + 4 * c, out + 4 * c
        bias, strides = row[BIAS] + 4 * c, (line, rest)
        step = PIXELS if count >= PIXELS else 1
        for start in range(0, count, step):
            # The last group moves back to be whole: pixels that come twice come out the same.
            at = min(start, count - step)
            places = (left + at * stride, row[WEIGHTS] + weights + 4 * c, stride)
            if step == PIXELS:
                if rest >= LANES:
                    taps_f32(u8, places, window, bias, place + at * line, strides, clamp)
                else:
                    taps_part_f32(u8, places, window, bias, place + at * line, strides, clamp)
            elif wide:
                tap_wide_f32(u8, places, window, bias, place + at * line, strides, clamp)
            elif rest >= LANES:
                tap_f32(u8, places, window, bias, place + at * line, strides, clamp)
            else:
                tap_part_f32(u8, places, window, bias, place + at * line, strides, clamp)
        c += WIDE * LANES if wide else LANES
