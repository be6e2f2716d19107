"""Convolution of each channel by itself, in integers."""

from __future__ import annotations

from typing import Any

from node.jit import kernel, part
from node.kernels.inference.bounds import apart, fits, volume, window_fits
from node.kernels.inference.clip import clipped_window, whole_columns
from node.kernels.inference.columns import (
    BIAS,
    DILATION_H,
    DILATION_W,
    HIGH,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OUT,
    OUT_C,
    OUT_H,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    SCALES,
    SIGNED,
    STRIDE_H,
    STRIDE_W,
    WEIGHTS,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.conv_int8 import flipped, input_shift
from node.kernels.inference.dots import FOURS, OFFSET
from node.kernels.inference.kinds import BYTES, INT, NOTHING, ROW
from node.kernels.inference.quantised import zeros_fit
from node.kernels.inference.sliding_int8 import TAPS, line_by_two_int8, line_int8
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


@kernel
def slides(row: Any, total: int) -> Any:
    """Tell whether a valid row is computed line by line: then outputs have to lie apart from all that is read."""
    if not FOURS or row[KERNEL_H] != TAPS or row[KERNEL_W] != TAPS or row[DILATION_W] != 1 or row[STRIDE_W] > 2:
        return False
    channels = row[IN_C]
    size, inputs = row[OUT_H] * row[OUT_W] * channels, row[IN_H] * row[IN_W] * channels
    weights, words = TAPS * TAPS * channels, 4 * channels
    return (
        0 <= input_shift(row) + OFFSET < 256
        and max(row[IN_A] + inputs, row[WEIGHTS] + weights) <= total - LANES
        and max(row[BIAS], row[SCALES]) + words <= total - 4 * LANES
        and apart(row, size, row[IN_A], inputs)
        and apart(row, size, row[WEIGHTS], weights)
        and apart(row, size, row[BIAS], words)
        and apart(row, size, row[SCALES], words)
    )


@kernel
def line_under(row: Any, y: int, tap: int) -> Any:
    """Give where the input row under a row of the window begins, and 255; without one, where another does, and 0."""
    line, last = y * row[STRIDE_H] - row[PAD_TOP] + tap * row[DILATION_H], row[IN_H] - 1
    return row[IN_A] + min(max(line, 0), last) * row[IN_W] * row[IN_C], 255 if 0 <= line <= last else 0


@kernel
def slide(u8: Any, row: Any, y: int) -> None:
    """Compute a line of output pixels of a valid row that :func:`slides`."""
    channels = row[IN_C]
    top, has_top = line_under(row, y, 0)
    middle, has_middle = line_under(row, y, 1)
    bottom, has_bottom = line_under(row, y, 2)
    existing = has_top + (has_middle << 8) + (has_bottom << 16)
    zero = (input_shift(row), flipped(row) ^ OFFSET)
    limits = (row[ZERO_OUT], row[LOW], row[HIGH])
    for start in range(0, channels, LANES):
        # The last sixteen channels move back to be whole: those that come twice come out the same.
        c = max(0, min(start, channels - LANES))
        rows = (top + c, middle + c, bottom + c)
        spots = (row[IN_W], channels, row[WEIGHTS] + c, existing)
        begin = (row[BIAS] + 4 * c, row[SCALES] + 4 * c, -row[PAD_LEFT])
        out = (row[OUT] + y * row[OUT_W] * channels + c, row[OUT_W], channels)
        if row[STRIDE_W] == 1:
            line_int8(u8, rows, spots, zero, begin, out, limits)
        else:
            line_by_two_int8(u8, rows, spots, zero, begin, out, limits)


@part(NOTHING, BYTES, ROW, INT, INT)
def depthwise_part_int8(u8: Any, row: Any, begin: int, end: int) -> None:
    """Compute the output rows ``begin`` to ``end - 1`` of a valid row."""
    if slides(row, u8.size):
        for y in range(begin, end):
            slide(u8, row, y)
        return
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
