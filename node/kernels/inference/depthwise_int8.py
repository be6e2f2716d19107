"""Convolution of each channel by itself, in integers."""

from __future__ import annotations

from typing import Any

from node.jit import kernel, part
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
    SCALES,
    SIGNED,
    STRIDE_W,
    WEIGHTS,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.kinds import BYTES, INT, NOTHING, ROW
from node.kernels.inference.quantised import zeros_fit
from node.kernels.inference.taps import (
    PIXELS,
    WIDE,
    tap_int8,
    tap_part_int8,
    tap_wide_int8,
    taps_int8,
    taps_part_int8,
)
from node.kernels.inference.tiles import LANES


@kernel
def depthwise_is_valid_int8(row: Any, total: int) -> bool:
    """Check a DEPTHWISE_INT8 row."""
    if not window_fits(row, 1, total) or row[IN_C] != row[OUT_C] or not zeros_fit(row):
        return False
    taps = volume(row[KERNEL_H], row[KERNEL_W], row[IN_C], total)
    words = 4 * row[IN_C]
    return (
        fits(row[WEIGHTS], taps, 1, total) and fits(row[BIAS], words, 4, total) and fits(row[SCALES], words, 4, total)
    )


@part(NOTHING, BYTES, ROW, INT, INT)
def depthwise_part_int8(u8: Any, row: Any, begin: int, end: int) -> None:
    """Compute the output rows ``begin`` to ``end - 1`` of a valid row."""
    first, last = whole_columns(row)
    for y in range(begin, end):
        x = 0
        while x < row[OUT_W]:
            count = last - first if x == first and last > first else 1
            depthwise_pixels_int8(u8, row, y, x, count)
            x += count


@kernel
def depthwise_pixels_int8(u8: Any, row: Any, y: int, x: int, count: int) -> None:
    """Compute all channels of neighbouring output pixels of a valid row, which have the same taps in the input."""
    channels = row[IN_C]
    inputs, weights, window = clipped_window(row, 1, y, x)
    out = row[OUT] + (y * row[OUT_W] + x) * channels
    # An int8 with its top bit inverted is its value plus 128: one formula for both kinds of bytes.
    flip = 128 if row[SIGNED] & 1 else 0
    limits = (row[ZERO_OUT], row[LOW], row[HIGH], flip + row[ZERO_A], flip)
    stride, line = channels * row[STRIDE_W], channels
    c = 0
    while c < channels:
        rest = channels - c
        wide = count < PIXELS and rest >= WIDE * LANES
        left, place = row[IN_A] + inputs + c, out + c
        bias, strides = (row[BIAS] + 4 * c, row[SCALES] + 4 * c), (line, rest)
        step = PIXELS if count >= PIXELS else 1
        for start in range(0, count, step):
            # The last group moves back to be whole: pixels that come twice come out the same.
            at = min(start, count - step)
            places = (left + at * stride, row[WEIGHTS] + weights + c, stride)
            if step == PIXELS:
                if rest >= LANES:
                    taps_int8(u8, places, window, bias, place + at * line, strides, limits)
                else:
                    taps_part_int8(u8, places, window, bias, place + at * line, strides, limits)
            elif wide:
                tap_wide_int8(u8, places, window, bias, place + at * line, strides, limits)
            elif rest >= LANES:
                tap_int8(u8, places, window, bias, place + at * line, strides, limits)
            else:
                tap_part_int8(u8, places, window, bias, place + at * line, strides, limits)
        c += WIDE * LANES if wide else LANES
