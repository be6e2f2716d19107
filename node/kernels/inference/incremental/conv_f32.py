"""Float convolution: the output pixels that meet a changed input are computed anew, eight at a time."""

from __future__ import annotations

from typing import Any

from node.jit import f32_from_bits, kernel
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
from node.kernels.inference.tiles import LANES, TILE_ROWS, copy_bytes, tile_f32, tile_f32_wide_row


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
def compute_conv_f32(memory: Any, plan: Any, state: Any, step: int) -> None:
    """Compute every listed output pixel of a CONV_F32 step."""
    u8, row, tensors, sizes = memory[0], plan[0][step], plan[2], plan[3]
    out = plan[1][step, OUT_TENSOR]
    lists, blocks, count = lists_of(plan, state, out)[1], tensors[out, BLOCKS], state[2][out]
    work = (sizes[GATHERED], sizes[TILE], sizes[FRAME_BYTES])
    for group in range(row[GROUPS]):
        for first in range(0, count, TILE_ROWS):
            place = sizes[GATHERED]
            entries = lists[first : min(first + TILE_ROWS, count)]
            for r in range(len(entries)):
                where = (entries[r] // blocks, entries[r] % blocks, group)
                place = gather_pixel(u8, row, sizes[FRAME_BYTES], 4, where, place)
            multiply_listed(u8, row, entries, (blocks, group), work)


@kernel
def multiply_listed(u8: Any, row: Any, entries: Any, part: Any, work: Any) -> None:
    """Multiply gathered rows with the weights of a group and write the outputs of up to eight listed pixels.

    ``part`` is (blocks of a frame, group); ``work`` is (place of the rows, of a tile, bytes of a frame).
    """
    blocks, group = part
    gathered, tile, frame_bytes = work
    channels = row[OUT_C] // row[GROUPS]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    panels = (channels + LANES - 1) // LANES
    clamp = (f32_from_bits(row[LOW]), f32_from_bits(row[HIGH]))
    panel = 0
    while panel < panels:
        column = (group * panels + panel) * LANES
        weights, bias = row[WEIGHTS] + 4 * column * depth, row[BIAS] + 4 * column
        wide = len(entries) == 1 and panels - panel >= 4
        if wide:
            tile_f32_wide_row(u8, gathered, depth, weights, depth, bias, tile, LANES, clamp)
        else:
            # Rows beyond the last pixel hold what was gathered before; their sums are not used.
            tile_f32(u8, gathered, depth, weights, depth, bias, tile, LANES, clamp)
        width = min(4 * LANES if wide else LANES, channels - panel * LANES)
        for r in range(len(entries)):
            pixel = row[OUT] + entries[r] // blocks * frame_bytes + 4 * (entries[r] % blocks) * row[OUT_C]
            place = pixel + 4 * (group * channels + panel * LANES)
            copy_bytes(u8, tile + 4 * LANES * r, place, 4 * width)
        panel += 4 if wide else 1
