"""Check of a float convolution or product: each pixel's sum of outputs against one sum of its inputs.

As in ``conv_int8``, but sums of floats are rounded, so they agree only up to a bound. With u = 2**-24 and
gamma(n) = n u / (1 - n u) (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 3.1 and Lemma
3.3), K products and A = sum of |bias| + sum over k of |input k| (sum of |weights k|):

* an output is K fused multiply-adds, off by at most gamma(K) times its share of A;
* outputs are added in lanes of ceil(N / 16) additions: gamma(ceil(N / 16)) of the sum of their magnitudes;
* the reference is lanes of ceil(K / 16) fused multiply-adds, on row sums of the weights rounded once, and a sum of the
  biases rounded once: gamma(ceil(K / 16) + 2) A.

Together they are within gamma(n) A for n = K + ceil(N / 16) + ceil(K / 16) + 4; what is added in float64 is far below
the last of these, and each operation that underflows adds at most 2**-150. So a sound step raises no alarm, whatever
its values. Where A exceeds a quarter of the largest float32, or is not a number, a sound step may overflow: then
nothing is said.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, kernel
from node.kernels.inference.bounds import is_dense
from node.kernels.inference.checked.tiles import dots_f32, dots_f32_row, sum_and_clamp
from node.kernels.inference.columns import (
    DILATION_H,
    DILATION_W,
    GROUPS,
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
    STRIDE_H,
    STRIDE_W,
)
from node.kernels.inference.tiles import LANES, TILE_ROWS

UNIT = 2.0**-24
"""Largest relative error of rounding to float32."""

UNDERFLOW = 2.0**-149
"""Twice the largest error of an operation whose result underflows."""

LARGEST = 2.0**126
"""A quarter of where float32 ends."""

QUICK = 0.9
"""Share of the bound that may be taken of the computed outputs, whose magnitudes are at most A and a little."""


@kernel
def group_words(depth: int) -> int:
    """Give the words of check data of one group: row sums of weights, of their magnitudes, and two more sums."""
    return 2 * ((depth + LANES - 1) // LANES * LANES) + LANES


@kernel
def copy(source: Any, target: Any) -> None:
    """Copy floats between arrays that do not overlap."""
    for i in range(target.size):
        target[i] = source[i]


@kernel
def window(f32: Any, row: Any, group: int, pixel: int, taken: Any) -> None:
    """Copy the inputs of one output pixel of a group to ``taken``, zeros where the window overhangs."""
    size = row[IN_C] // row[GROUPS]
    top = pixel // row[OUT_W] * row[STRIDE_H] - row[PAD_TOP]
    left = pixel % row[OUT_W] * row[STRIDE_W] - row[PAD_LEFT]
    whole = row[GROUPS] == 1 and row[DILATION_W] == 1 and left >= 0 and left + row[KERNEL_W] <= row[IN_W]
    base = row[IN_A] // 4 + group * size
    at = 0
    for ky in range(row[KERNEL_H]):
        y = top + ky * row[DILATION_H]
        if whole and 0 <= y < row[IN_H]:
            run = row[KERNEL_W] * size
            source = base + (y * row[IN_W] + left) * size
            copy(f32[source : source + run], taken[at : at + run])
            at += run
            continue
        for kx in range(row[KERNEL_W]):
            x = left + kx * row[DILATION_W]
            if 0 <= y < row[IN_H] and 0 <= x < row[IN_W]:
                source = base + (y * row[IN_W] + x) * row[IN_C]
                copy(f32[source : source + size], taken[at : at + size])
            else:
                taken[at : at + size] = np.float32(0.0)
            at += size


@kernel
def sum_outputs(u8: Any, f32: Any, row: Any, first: int, sums: Any) -> None:
    """Sum the outputs of one pixel and group, and their magnitudes, then clamp them; both sums go to ``sums``."""
    channels = row[OUT_C] // row[GROUPS]
    low, high = f32_from_bits(row[LOW]), f32_from_bits(row[HIGH])
    sum_and_clamp(u8, 4 * first, channels // LANES, (low, high), sums)
    for j in range(first + channels // LANES * LANES, first + channels):
        value = f32[j]
        sums[0] += np.float64(value)
        sums[1] += np.float64(abs(value))
        value = low if value < low else value
        f32[j] = high if value > high else value


@kernel
def gamma_of(depth: int, channels: int) -> float:
    """Give the relative bound of a pixel's sums, 0 where it is too large to say anything."""
    n = depth + (channels + LANES - 1) // LANES + (depth + LANES - 1) // LANES + 4
    return n * UNIT / (1.0 - n * UNIT) if n * UNIT < 0.25 else 0.0


@kernel
def within_bound(f32: Any, difference: float, inputs: Any, spot: Any) -> bool:
    """Tell whether a pixel's sums differ by no more than rounding explains.

    ``inputs`` are the array that holds the pixel's inputs and where they begin; ``spot`` the products and channels of
    a sum, and the word where the group's check data begin.
    """
    held, left = inputs
    depth, channels, sums = spot
    blocks = (depth + LANES - 1) // LANES * LANES
    bound = np.float64(f32[sums + 2 * blocks + 1])
    for k in range(depth):
        bound += np.float64(abs(held[left + k])) * np.float64(f32[sums + blocks + k])
    if not bound <= LARGEST:
        return True
    return bool(abs(difference) <= gamma_of(depth, channels) * bound + 2 * (depth + LANES) * channels * UNDERFLOW)


@kernel
def reference(f32: Any, held: Any, spot: Any, product: float) -> float:
    """Give what the outputs of a pixel should sum up to; ``spot`` is its first input, the check data and the depth."""
    left, sums, depth = spot
    total = product + np.float64(f32[sums + group_words(depth) - LANES])
    for k in range(depth // LANES * LANES, depth):
        total += np.float64(held[left + k]) * np.float64(f32[sums + k])
    return total


@kernel
def multiply(u8: Any, held: Any, places: Any, spot: Any, products: Any) -> None:
    """Multiply the inputs of up to eight pixels with the row sums of the weights, in whole blocks."""
    rows, depth = spot
    if rows == TILE_ROWS:
        dots_f32(held, places[0], 4 * depth, u8, places[1], depth // LANES, products)
        return
    for r in range(rows):
        dots_f32_row(held, places[0] + 4 * r * depth, 0, u8, places[1], depth // LANES, products[r : r + 1])


@kernel
def rows_agree(u8: Any, f32: Any, row: Any, place: Any, inputs: Any, totals: Any) -> bool:
    """Check and clamp the outputs of up to eight pixels of one group.

    ``place`` is the group, the first pixel, their number and the word where the group's check data begin; ``inputs``
    the arrays of bytes and floats that hold the pixels' inputs one after the other, and where these begin.
    """
    group, pixel, rows, start = place
    held_u8, held, left = inputs
    channels = row[OUT_C] // row[GROUPS]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    products, sums = totals[:TILE_ROWS], totals[TILE_ROWS:]
    multiply(u8, held_u8, (4 * left, 4 * start), (rows, depth), products)
    quick = QUICK * gamma_of(depth, channels)
    sound = True
    for r in range(rows):
        first = left + r * depth
        sum_outputs(u8, f32, row, row[OUT] // 4 + (pixel + r) * row[OUT_C] + group * channels, sums)
        difference = sums[0] - reference(f32, held, (first, start, depth), products[r])
        if sums[1] <= LARGEST and abs(difference) <= quick * sums[1]:
            continue
        sound = within_bound(f32, difference, (held, first), (depth, channels, start)) and sound
    return sound or quick == 0.0


@kernel
def check_conv_f32(u8: Any, f32: Any, row: Any, sums: int, work: Any) -> bool:
    """Check and clamp the output of a CONV_F32 row that was run without limits.

    Parameters
    ----------
    u8, f32 : ndarray
        The whole arena, seen as bytes and floats.
    row : ndarray of int64
        The step; it was run, and its products and channels are those of the check data.
    sums : int
        Word of the arena where the check data of the step begin.
    work : tuple of ndarray
        Working memory: uint8 and float32 view of eight times the products of a sum, and float64 [16].

    Returns
    -------
    bool
        True where every sum agrees.
    """
    groups, pixels, dense = row[GROUPS], row[OUT_H] * row[OUT_W], is_dense(row)
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // groups)
    taken_u8, taken, totals = work
    sound = True
    for group in range(groups):
        start = sums + group * group_words(depth)
        for pixel in range(0, pixels, TILE_ROWS):
            rows = min(TILE_ROWS, pixels - pixel)
            place = (group, pixel, rows, start)
            if dense:
                sound = rows_agree(u8, f32, row, place, (u8, f32, row[IN_A] // 4 + pixel * depth), totals) and sound
                continue
            for r in range(rows):
                window(f32, row, group, pixel + r, taken[r * depth : (r + 1) * depth])
            sound = rows_agree(u8, f32, row, place, (taken_u8, taken, 0), totals) and sound
    return sound


def warm() -> None:
    """Compile or load the kernel for the types of an arena."""
    u8 = np.zeros(512, np.uint8)
    row = np.zeros(32, np.int64)
    row[GROUPS] = 1
    work = np.zeros(64, np.uint8)
    check_conv_f32(u8, u8.view(np.float32), row, 0, (work, work.view(np.float32), np.zeros(2 * TILE_ROWS)))
