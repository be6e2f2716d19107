"""Float convolution: the output pixels that meet a changed input are computed anew, eight at a time."""

from __future__ import annotations

from typing import Any

from node.jit import f32_from_bits, kernel
from node.kernels.inference.bounds import is_dense
from node.kernels.inference.columns import (
    BIAS,
    GROUPS,
    HIGH,
    IN_A,
    IN_C,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OUT,
    OUT_C,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    STRIDE_H,
    STRIDE_W,
    WEIGHTS,
)
from node.kernels.inference.gather import gather_window
from node.kernels.inference.incremental.dirty import lists_of
from node.kernels.inference.incremental.tables import (
    BLOCKS,
    FRAME_BYTES,
    GATHERED,
    OUT_TENSOR,
    TILE,
)
from node.kernels.inference.tiles import LANES, TILE_ROWS, copy_bytes, tile_f32, tile_f32_row, tile_f32_wide_row


@kernel
def gather_pixel(u8: Any, row: Any, frame_bytes: int, item: int, where: Any, place: int) -> int:
    """Copy the inputs of one output pixel to byte ``place``; give the byte after them.

    ``where`` is (frame, output pixel, group).
    """
    frame, pixel, group = where
    size = row[IN_C] // row[GROUPS] * item
    start = row[IN_A] + frame * frame_bytes + group * size
    top = pixel // row[OUT_W] * row[STRIDE_H] - row[PAD_TOP]
    left = pixel % row[OUT_W] * row[STRIDE_W] - row[PAD_LEFT]
    return gather_window(u8, row, item, (start, top, left, size), place)


@kernel
def compute_conv_f32(memory: Any, plan: Any, state: Any, step: int, places: Any) -> None:
    """Compute every listed output pixel of a CONV_F32 step; ``places`` has room for eight numbers."""
    u8, row, tensors, sizes = memory[0], plan[0][step], plan[2], plan[3]
    out = plan[1][step, OUT_TENSOR]
    lists, blocks, count = lists_of(plan, state, out)[1], tensors[out, BLOCKS], state[2][out]
    work = (sizes[GATHERED], sizes[TILE])
    frame_bytes, dense, depth_bytes = sizes[FRAME_BYTES], is_dense(row), 4 * row[IN_C]
    for group in range(row[GROUPS]):
        for first in range(0, count, TILE_ROWS):
            place = sizes[GATHERED]
            rows = min(TILE_ROWS, count - first)
            for r in range(rows):
                frame = lists[first + r] // blocks
                pixel = lists[first + r] - frame * blocks
                places[r] = row[OUT] + frame * frame_bytes + 4 * pixel * row[OUT_C]
                if dense:
                    copy_bytes(u8, row[IN_A] + frame * frame_bytes + pixel * depth_bytes, place, depth_bytes)
                    place += depth_bytes
                else:
                    place = gather_pixel(u8, row, frame_bytes, 4, (frame, pixel, group), place)
            multiply_listed(u8, row, places[:rows], group, work)


@kernel
def multiply_listed(u8: Any, row: Any, places: Any, group: int, work: Any) -> None:
    """Multiply gathered rows with the weights of a group and write the outputs of up to eight pixels.

    ``places`` are those of the pixels; ``work`` is (place of the rows, of a tile).
    """
    gathered, tile = work
    channels = row[OUT_C] // row[GROUPS]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    panels = (channels + LANES - 1) // LANES
    clamp = (f32_from_bits(row[LOW]), f32_from_bits(row[HIGH]))
    panel = 0
    while panel < panels:
        column = (group * panels + panel) * LANES
        weights, bias = row[WEIGHTS] + 4 * column * depth, row[BIAS] + 4 * column
        offset = 4 * (group * channels + panel * LANES)
        if len(places) == 1 and channels - panel * LANES >= 4 * LANES:
            tile_f32_wide_row(u8, gathered, depth, weights, depth, bias, places[0] + offset, LANES, clamp)
            panel += 4
            continue
        # Rows beyond the last pixel hold what was gathered before; their sums are not used.
        if len(places) == 1:
            tile_f32_row(u8, gathered, depth, weights, depth, bias, tile, LANES, clamp)
        else:
            tile_f32(u8, gathered, depth, weights, depth, bias, tile, LANES, clamp)
        width = channels - panel * LANES
        for r in range(len(places)):
            if width >= LANES:
                # A number of bytes that is known beforehand is copied by one instruction.
                copy_bytes(u8, tile + 4 * LANES * r, places[r] + offset, 4 * LANES)
            else:
                copy_bytes(u8, tile + 4 * LANES * r, places[r] + offset, 4 * width)
        panel += 1
