"""Convolution and product with a matrix in integers: int8 weights, int32 sums that wrap, one float multiplier.

The scratch holds what the sums begin with, and then the inputs as the instruction that multiplies four bytes wants
them: in a ring, or gathered, for a few pixels or for a row of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, part
from node.kernels.inference.bounds import (
    fits,
    is_dense,
    packed_columns,
    per_group,
    product_fits,
    tile_rows,
    window_fits,
    work_limit,
)
from node.kernels.inference.checked.counts import copies_of, copy_counted
from node.kernels.inference.columns import (
    BIAS,
    DILATION_H,
    GROUPS,
    HIGH,
    IN_A,
    IN_C,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OUT,
    OUT_C,
    OUT_H,
    OUT_W,
    SCALES,
    SCRATCH,
    SIGNED,
    STRIDE_H,
    STRIDE_W,
    WEIGHTS,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.dots import OFFSET
from node.kernels.inference.gather import gather, portion
from node.kernels.inference.kinds import BYTES, INT, NOTHING, ROW, RUNS, ints
from node.kernels.inference.limits import SLACK
from node.kernels.inference.quantised import zeros_fit
from node.kernels.inference.ring import fill_ring, ring_values, ring_width, span_of
from node.kernels.inference.tiles import LANES, TILE_ROWS, copy_bytes
from node.kernels.inference.tiles_f32 import PAIR, ROWS
from node.kernels.inference.tiles_int8 import begin_sums, row_int8, row_wide_int8, tile_int8, tile_pair_int8


@part(NOTHING, BYTES, ROW, ints(3), ints(2), RUNS, ROW)
def multiply(u8: Any, row: Any, place: Any, pixels: Any, inputs: Any, kept: Any) -> None:
    """Compute some neighbouring output pixels of some panels of one group.

    ``place`` is the group, its first panel and the one after its last; ``pixels`` are the first and their number;
    ``inputs`` are the byte of the first input, bytes from one pixel to the next, and the runs as :data:`tile_int8`
    takes them; ``kept`` is as :func:`by_chunks_int8` takes it.
    """
    group, panel, end = place
    first, count = pixels
    left, stride, runs = inputs
    channels, depth = per_group(row[OUT_C], row[GROUPS]), runs[1] * runs[4]
    column = group * ((channels + LANES - 1) // LANES * LANES) + panel * LANES
    out, line = row[OUT] + first * row[OUT_C] + group * channels + panel * LANES, row[OUT_C]
    channels = min(channels, end * LANES) - panel * LANES
    zero, low, high = row[ZERO_OUT], row[LOW], row[HIGH]
    weights, begin, scales = row[WEIGHTS], row[SCRATCH], row[SCALES]
    while channels > 0:
        limits = (zero, low, high, channels)
        at = scales + 4 * column
        panels = 1
        if count < ROWS:
            panels = 4 if channels >= 4 * LANES else 1
            for r in range(count):
                spots = (left + r * stride, weights + column * depth, begin + 4 * column, stride)
                if panels == 4:
                    row_wide_int8(u8, spots, runs, at, out + r * line, line, limits, kept)
                else:
                    row_int8(u8, spots, runs, at, out + r * line, line, limits, kept)
        else:
            panels = PAIR if channels >= PAIR * LANES else 1
            for start in range(0, count, ROWS):
                # The last tile moves back to be whole: pixels that come twice come out the same.
                r = min(start, count - ROWS)
                spots = (left + r * stride, weights + column * depth, begin + 4 * column, stride)
                if panels == 2:
                    tile_pair_int8(u8, spots, runs, at, out + r * line, line, limits, kept)
                else:
                    tile_int8(u8, spots, runs, at, out + r * line, line, limits, kept)
        channels -= panels * LANES
        column += panels * LANES
        out += panels * LANES


@kernel
def input_bytes(row: Any, total: int) -> Any:
    """Give the bytes of scratch for the inputs of a row of valid shapes, -1 where they take too long to fill."""
    ring = -1 if is_dense(row) else ring_values(row, total)
    if ring >= 0:
        return -1 if row[OUT_H] > work_limit(total) // ring else ring
    return tile_rows(row) * row[KERNEL_H] * row[KERNEL_W] * per_group(row[IN_C], max(1, row[GROUPS]))


@kernel
def conv_is_valid_int8(row: Any, total: int) -> Any:
    """Check a CONV_INT8 row in an arena of that many bytes."""
    if not window_fits(row, 1, total) or not zeros_fit(row):
        return False
    inputs = input_bytes(row, total)
    if inputs < 0 or not product_fits(row, 1, 4 * packed_columns(row) + inputs + SLACK, total):
        return False
    columns = packed_columns(row)
    depth = row[KERNEL_H] * row[KERNEL_W] * per_group(row[IN_C], row[GROUPS])
    return fits(row[SCALES], 4 * columns, 4, total) and row[WEIGHTS] <= total - depth * columns - SLACK


@kernel
def in_lines_int8(row: Any, total: int) -> Any:
    """Tell whether a valid row is computed row by row, else by gathered pixels."""
    return not is_dense(row) and ring_values(row, total) >= 0


@kernel
def flipped(row: Any) -> Any:
    """Give the bits in which an input byte differs from what the tiles take.

    An int8 with its top bit inverted is its value plus 128: one formula for both kinds of bytes.
    """
    return 128 if row[SIGNED] & 1 else 0


@kernel
def input_shift(row: Any) -> Any:
    """Give what is subtracted from an input as the tiles take it."""
    return flipped(row) + row[ZERO_A] - OFFSET


@part(NOTHING, BYTES, ROW, ROW)
def begin_conv_int8(u8: Any, row: Any, kept: Any) -> None:
    """Write what the sums of a valid row begin with, at the start of its scratch; ``kept`` counts the weights."""
    depth = row[KERNEL_H] * row[KERNEL_W] * per_group(row[IN_C], row[GROUPS])
    shift, channels = input_shift(row), per_group(row[OUT_C], row[GROUPS])
    columns = (channels + LANES - 1) // LANES * LANES
    for column in range(0, packed_columns(row), LANES):
        spots = (row[WEIGHTS] + column * depth, row[BIAS] + 4 * column, row[SCRATCH] + 4 * column)
        begin_sums(u8, spots, depth, shift, channels - column % columns, kept)


@part(NOTHING, BYTES, ROW, ints(6), INT, ROW)
def by_chunks_int8(u8: Any, row: Any, share: Any, left: int, kept: Any) -> None:
    """Compute a share (see ``shares``) of the output pixels, up to eight at a time, inputs gathered at ``left``.

    ``kept`` is where a checked step counts (see ``checked.counts``), empty where nothing is checked.
    """
    begin, end, group, groups_end, panel, panels_end = share
    dense, flip = is_dense(row), flipped(row) ^ OFFSET
    depth = row[KERNEL_H] * row[KERNEL_W] * per_group(row[IN_C], row[GROUPS])
    copies = copies_of(row, kept)
    while group < groups_end:
        start = begin
        while start < end:
            first, count = portion(start, end, TILE_ROWS)
            if copies[0] > 0 and count == TILE_ROWS:
                copy_counted(u8, (row[IN_A] + first * depth, left), depth, flip, kept, copies)
            else:
                if dense:
                    copy_bytes(u8, row[IN_A] + first * depth, left, count * depth)
                else:
                    gather(u8, row, 1, (first, count), group, left)
                invert(u8, left, count * depth, flip)
            multiply(u8, row, (group, panel, panels_end), (first, count), (left, depth, (0, 1, 0, 1, depth)), kept)
            start = first + count
        group += 1


@kernel
def invert(u8: Any, place: int, count: int, mask: int) -> None:
    """Invert the bits of a mask in some bytes."""
    if mask != 0:
        values, bits = u8[place : place + count], np.uint8(mask)
        for i in range(count):
            values[i] ^= bits


@part(NOTHING, BYTES, ROW, ints(2), INT, ROW)
def by_lines_int8(u8: Any, row: Any, lines: Any, ring: int, kept: Any) -> None:
    """Compute the rows of output pixels between the two ``lines``, on a ring; ``kept`` as for pixels."""
    first, last = lines
    size, span = row[IN_C] * ring_width(row), span_of(row)
    step, length = row[DILATION_H] * size, row[KERNEL_W] * row[IN_C]
    flip, panels = flipped(row) ^ OFFSET, (row[OUT_C] + LANES - 1) // LANES
    for y in range(first, last):
        begin, end = fill_ring(u8, row, 1, y, y == first, ring)
        for line in range(begin, end):
            invert(u8, ring + line % span * size, size, flip)
        runs = (y * row[STRIDE_H] % span * size, row[KERNEL_H], step, span * size, length)
        multiply(u8, row, (0, 0, panels), (y * row[OUT_W], row[OUT_W]), (ring, row[STRIDE_W] * row[IN_C], runs), kept)
