"""Gathering: the inputs under one position of a window, side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, part
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
    STRIDE_H,
    STRIDE_W,
    ZERO_A,
)
from node.kernels.inference.kinds import BYTES, INT, NOTHING, ROW, ints
from node.kernels.inference.tiles import copy_bytes
from node.kernels.inference.tiles_f32 import ROWS

FEW = 2
"""Pixels left over that are computed one by one, rather than in a tile that moves back to be whole."""


@kernel
def portion(start: int, pixels: int, most: int) -> Any:
    """Give the first output pixel and the number of pixels to compute next, when those before ``start`` are done."""
    whole = pixels - (pixels % ROWS if pixels % ROWS <= FEW else 0)
    if start >= whole:
        return start, pixels - start
    first = start if whole - start >= ROWS else max(0, whole - ROWS)
    return first, min(most, whole - first)


@part(NOTHING, BYTES, ROW, INT, ints(2), INT, INT)
def gather(u8: Any, row: Any, item: int, pixels: Any, group: int, place: int) -> None:
    """Copy the inputs of some output pixels of one group, the zero point where the window overhangs.

    Parameters
    ----------
    u8 : ndarray
        The whole arena as bytes.
    row : ndarray of int64
        A valid step; the zero point of floats is 0.
    item : int
        Bytes of an input value, 1 or 4.
    pixels : tuple of int
        The first output pixel and their number.
    group : int
        Which channels.
    place : int
        The byte where the first row goes; the others follow it.
    """
    size = row[IN_C] // row[GROUPS] * item
    start = row[IN_A] + group * size
    y, x = pixels[0] // row[OUT_W], pixels[0] % row[OUT_W]
    for _ in range(pixels[1]):
        top, left = y * row[STRIDE_H] - row[PAD_TOP], x * row[STRIDE_W] - row[PAD_LEFT]
        place = gather_window(u8, row, item, (start, top, left, size), place)
        x += 1
        if x == row[OUT_W]:
            x = 0
            y += 1


@kernel
def gather_window(u8: Any, row: Any, item: int, corner: Any, place: int) -> int:
    """Copy the inputs of one window to byte ``place``; give the byte after them.

    ``corner`` is the place of the first channel, row and column of the first tap, and the bytes to take of each.
    """
    start, top, left, size = corner
    in_h, in_w, pixel = row[IN_H], row[IN_W], row[IN_C] * item
    kernel_w, dilation_w = row[KERNEL_W], row[DILATION_W]
    inside = left >= 0 and left + kernel_w <= in_w and dilation_w == 1 and size == pixel
    for ky in range(row[KERNEL_H]):
        y = top + ky * row[DILATION_H]
        if inside and 0 <= y < in_h:
            copy_bytes(u8, start + (y * in_w + left) * pixel, place, kernel_w * pixel)
            place += kernel_w * pixel
            continue
        for kx in range(kernel_w):
            x = left + kx * dilation_w
            if 0 <= y < in_h and 0 <= x < in_w:
                copy_bytes(u8, start + (y * in_w + x) * pixel, place, size)
            else:
                u8[place : place + size] = np.uint8(row[ZERO_A] & 255)
            place += size
    return place
