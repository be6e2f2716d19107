"""Float convolution and product with a matrix: tiles of sums over runs of inputs and packed weights.

Every sum starts with the bias and takes its products in the order kernel row, kernel column, channel, with one
rounding each (a fused multiply-add), so its bits depend neither on the tile nor on the CPU.
"""

from __future__ import annotations

from typing import Any

from node.jit import f32_from_bits, kernel, part
from node.kernels.inference.bounds import is_dense, per_group, product_fits, tile_rows, window_fits, work_limit
from node.kernels.inference.checked.sums_f32 import check_pixels, clear_slots, group_words
from node.kernels.inference.columns import (
    BIAS,
    DILATION_H,
    GROUPS,
    HIGH,
    IN_A,
    IN_C,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OUT,
    OUT_C,
    OUT_H,
    OUT_W,
    STRIDE_H,
    STRIDE_W,
    WEIGHTS,
    ZERO_A,
)
from node.kernels.inference.gather import gather, portion
from node.kernels.inference.kinds import BYTES, CHECK_F32, INT, NOTHING, ROW, RUNS, ints
from node.kernels.inference.limits import CHUNK
from node.kernels.inference.ring import fill_ring, overhangs, ring_values, ring_width, span_of
from node.kernels.inference.tiles import LANES, TILE_ROWS
from node.kernels.inference.tiles_f32 import (
    MOST,
    PAIR,
    ROWS,
    row_f32,
    row_wide_f32,
    row_widest_f32,
    tile_f32,
    tile_pair_f32,
)


@part(NOTHING, BYTES, ROW, ints(3), ints(2), RUNS, CHECK_F32)
def multiply(u8: Any, row: Any, place: Any, pixels: Any, inputs: Any, check: Any) -> None:
    """Compute some neighbouring output pixels of some panels of one group.

    ``place`` is the group, its first panel and the one after its last; ``pixels`` are the first and their number;
    ``inputs`` are the byte of the first input, bytes from one pixel to the next, and the runs as :data:`tile_f32`
    takes them; ``check`` is as :func:`by_chunks_f32` takes it.
    """
    group, panel, end = place
    first, count = pixels
    left, stride, runs = inputs
    kept, sums = check
    if kept.size > 0:
        clear_slots(count, kept)
    channels, depth = per_group(row[OUT_C], row[GROUPS]), runs[1] * runs[4]
    columns = group * ((channels + LANES - 1) // LANES * LANES) + panel * LANES
    weights, bias = row[WEIGHTS] + 4 * columns * depth, row[BIAS] + 4 * columns
    out, line = row[OUT] + 4 * (first * row[OUT_C] + group * channels + panel * LANES), 4 * row[OUT_C]
    channels = min(channels, end * LANES) - panel * LANES
    clamp = (f32_from_bits(row[LOW]), f32_from_bits(row[HIGH]))
    while channels > 0:
        panels = 1
        if count < ROWS:
            panels = MOST if channels >= MOST * LANES else 4 if channels >= 4 * LANES else 1
            for r in range(count):
                spots = (left + r * stride, weights, bias, stride)
                if panels == 8:
                    row_widest_f32(u8, spots, runs, out + r * line, line, channels, clamp, kept, r)
                elif panels == 4:
                    row_wide_f32(u8, spots, runs, out + r * line, line, channels, clamp, kept, r)
                else:
                    row_f32(u8, spots, runs, out + r * line, line, channels, clamp, kept, r)
        else:
            panels = PAIR if channels >= PAIR * LANES else 1
            for start in range(0, count, ROWS):
                # The last tile moves back to be whole: pixels that come twice come out the same.
                r = min(start, count - ROWS)
                spots = (left + r * stride, weights, bias, stride)
                if panels == 2:
                    tile_pair_f32(u8, spots, runs, out + r * line, line, channels, clamp, kept, start)
                else:
                    tile_f32(u8, spots, runs, out + r * line, line, channels, clamp, kept, start)
        channels -= panels * LANES
        weights += 4 * panels * LANES * depth
        bias += 4 * panels * LANES
        out += 4 * panels * LANES
    if kept.size > 0:
        channels = row[OUT_C] // row[GROUPS]
        check_pixels(u8, count, channels, inputs, (kept, sums + 4 * group * group_words(depth)))


@kernel
def scratch_bytes(row: Any, total: int) -> Any:
    """Give the bytes of scratch that a row of valid shapes needs, -1 where they take too long to fill."""
    if is_dense(row):
        return 0
    ring = ring_values(row, total // 4)
    if ring >= 0:
        return -1 if row[OUT_H] > work_limit(total) // ring else 4 * ring if overhangs(row) else 0
    return 4 * tile_rows(row) * row[KERNEL_H] * row[KERNEL_W] * per_group(row[IN_C], max(1, row[GROUPS]))


@kernel
def conv_is_valid_f32(row: Any, total: int) -> Any:
    """Check a CONV_F32 row in an arena of that many bytes."""
    if row[ZERO_A] != 0 or not window_fits(row, 4, total):
        return False
    return product_fits(row, 4, scratch_bytes(row, total), total)


@kernel
def in_lines_f32(row: Any, total: int) -> Any:
    """Tell whether a valid row is computed row by row, else by gathered or neighbouring pixels."""
    return not is_dense(row) and ring_values(row, total // 4) >= 0


@part(NOTHING, BYTES, ROW, ints(6), INT, CHECK_F32)
def by_chunks_f32(u8: Any, row: Any, share: Any, scratch: int, check: Any) -> None:
    """Compute a share (see ``shares``) of the output pixels, whose inputs lie side by side, or are gathered so.

    ``check`` is where a checked step counts (see ``checked.sums_f32``), empty where nothing is checked; and the byte
    where its check data begin.
    """
    begin, end, group, groups_end, panel, panels_end = share
    dense = is_dense(row)
    depth = row[KERNEL_H] * row[KERNEL_W] * per_group(row[IN_C], row[GROUPS])
    most = CHUNK if dense else TILE_ROWS
    runs = (0, 1, 0, 1, depth)
    while group < groups_end:
        start = begin
        while start < end:
            first, count = portion(start, end, most)
            left = row[IN_A] + 4 * first * depth
            if not dense:
                left = scratch
                gather(u8, row, 4, (first, count), group, left)
            multiply(u8, row, (group, panel, panels_end), (first, count), (left, 4 * depth, runs), check)
            start = first + count
        group += 1


@part(NOTHING, BYTES, ROW, ints(2), INT, CHECK_F32)
def by_lines_f32(u8: Any, row: Any, lines: Any, ring: int, check: Any) -> None:
    """Compute the rows of output pixels between the two ``lines``; ``check`` as for pixels.

    They are computed on the input itself or, where windows overhang, on a ring.
    """
    begin, end = lines
    pixel = 4 * row[IN_C]
    ringed = overhangs(row)
    size = pixel * (ring_width(row) if ringed else row[IN_W])
    step, length = row[DILATION_H] * size, row[KERNEL_W] * row[IN_C]
    span, panels = span_of(row), (row[OUT_C] + LANES - 1) // LANES
    for y in range(begin, end):
        first = y * row[STRIDE_H]
        left, start = row[IN_A] + first * size, 0
        if ringed:
            fill_ring(u8, row, 4, y, y == begin, ring)
            left, start = ring, first % span * size
        runs = (start, row[KERNEL_H], step, span * size, length)
        multiply(u8, row, (0, 0, panels), (y * row[OUT_W], row[OUT_W]), (left, row[STRIDE_W] * pixel, runs), check)
