"""Gathering: the inputs under one position of a window, as one row of words."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.columns import (
    DILATION_H,
    DILATION_W,
    GROUPS,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    SIGNED,
    STRIDE_H,
    STRIDE_W,
    ZERO_A,
)

FLOAT, INTEGER = 4, 1
"""Bytes of an input value: floats are copied bit by bit, integers are widened and lose their zero point."""


@kernel
def copy_run(u8: Any, i32: Any, row: Any, item: int, source: int, place: int, count: int) -> None:
    """Copy values from element ``source`` of their type to word ``place``."""
    if item == FLOAT:
        for i in range(count):
            i32[place + i] = i32[source + i]
        return
    # An int8 with its top bit inverted is its value plus 128: one formula for both kinds of bytes.
    flip = 128 if row[SIGNED] & 1 else 0
    shift = flip + row[ZERO_A]
    for i in range(count):
        i32[place + i] = (u8[source + i] ^ flip) - shift


@kernel
def gather(u8: Any, i32: Any, row: Any, item: int, pixel: int, group: int, place: int) -> None:
    """Write the inputs of one output pixel and one group to word ``place``, zero where the window overhangs.

    Parameters
    ----------
    u8, i32 : ndarray
        The whole arena as bytes and as words.
    row : ndarray of int64
        A valid step.
    item : int
        FLOAT or INTEGER.
    pixel, group : int
        Which output.
    place : int
        Where the row goes, counted in words.
    """
    in_h, in_w, in_c = row[IN_H], row[IN_W], row[IN_C]
    kernel_w, dilation_w = row[KERNEL_W], row[DILATION_W]
    channels = in_c // row[GROUPS]
    start = row[IN_A] // item + group * channels
    top = pixel // row[OUT_W] * row[STRIDE_H] - row[PAD_TOP]
    left = pixel % row[OUT_W] * row[STRIDE_W] - row[PAD_LEFT]
    inside = left >= 0 and left + kernel_w <= in_w and dilation_w == 1 and channels == in_c
    for ky in range(row[KERNEL_H]):
        y = top + ky * row[DILATION_H]
        if inside and 0 <= y < in_h:
            copy_run(u8, i32, row, item, start + (y * in_w + left) * in_c, place, kernel_w * in_c)
            place += kernel_w * in_c
            continue
        for kx in range(kernel_w):
            x = left + kx * dilation_w
            if 0 <= y < in_h and 0 <= x < in_w:
                copy_run(u8, i32, row, item, start + (y * in_w + x) * in_c, place, channels)
            else:
                for i in range(channels):
                    i32[place + i] = 0
            place += channels
