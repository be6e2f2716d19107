"""Gathering: the inputs under one position of a window, as one row of words."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    SCRATCH,
    SIGNED,
    STRIDE_H,
    STRIDE_W,
    ZERO_A,
)
from node.kernels.inference.tiles import copy_bytes

FLOAT, INTEGER = 4, 1
"""Bytes of an input value: floats are copied bit by bit, integers are widened and lose their zero point."""


@kernel
def copy_run(u8: Any, i32: Any, row: Any, item: int, source: int, place: int, count: int) -> None:
    """Copy values from element ``source`` of their type to word ``place``.

    Here and in the other kernels an inner loop runs over slices from their start: an index that cannot be
    negative needs no wrap-around, and only then does the compiler use vector registers.
    """
    if item == FLOAT:
        copy_bytes(u8, 4 * source, 4 * place, 4 * count)
        return
    # An int8 with its top bit inverted is its value plus 128: one formula for both kinds of bytes.
    flip = np.uint8(128 if row[SIGNED] & 1 else 0)
    shift = np.int32(flip + row[ZERO_A])
    values, target = u8[source : source + count], i32[place : place + count]
    for i in range(count):
        target[i] = np.int32(values[i] ^ flip) - shift


@kernel
def gather(u8: Any, i32: Any, row: Any, item: int, pixels: Any, group: int) -> None:
    """Write the inputs of some output pixels of one group to the scratch, zero where the window overhangs.

    Parameters
    ----------
    u8, i32 : ndarray
        The whole arena as bytes and as words.
    row : ndarray of int64
        A valid step.
    item : int
        FLOAT or INTEGER.
    pixels : tuple of int
        The first output pixel and their number.
    group : int
        Which channels.
    """
    channels = row[IN_C] // row[GROUPS]
    start = row[IN_A] // item + group * channels
    place = row[SCRATCH] // 4
    y, x = pixels[0] // row[OUT_W], pixels[0] % row[OUT_W]
    for _ in range(pixels[1]):
        top, left = y * row[STRIDE_H] - row[PAD_TOP], x * row[STRIDE_W] - row[PAD_LEFT]
        place = gather_window(u8, i32, row, item, (start, top, left, channels), place)
        x += 1
        if x == row[OUT_W]:
            x = 0
            y += 1


@kernel
def gather_window(u8: Any, i32: Any, row: Any, item: int, corner: Any, place: int) -> int:
    """Write the inputs of one window to word ``place``; give the word after them.

    ``corner`` is the element of the first channel, row and column of the first tap, and the channels to take.
    """
    start, top, left, channels = corner
    in_h, in_w, in_c = row[IN_H], row[IN_W], row[IN_C]
    kernel_w, dilation_w = row[KERNEL_W], row[DILATION_W]
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
                i32[place : place + channels] = 0
            place += channels
    return place
