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
from node.kernels.inference.incremental.tables import (
    BASE,
    BLOCKS,
    FRAME_BYTES,
    GATHERED,
    OUT_TENSOR,
    TILE,
)
from node.kernels.inference.tiles import LANES, TILE_ROWS, copy_bytes, tile_f32, tile_f32_wide_row


@kernel
def gather_pixel(memory: Any, plan: Any, row: Any, item: int, where: Any, place: int) -> int:
    """Copy the inputs of one output pixel to byte ``place``; give the byte after them.

    ``where`` is (frame, output pixel, group).
    """
    frame, pixel, group = where
    size = row[IN_C] // row[GROUPS] * item
    start = row[IN_A] + frame * plan[3][FRAME_BYTES] + group * size
    top = pixel // row[OUT_W] * row[STRIDE_H] - row[PAD_TOP]
    left = pixel % row[OUT_W] * row[STRIDE_W] - row[PAD_LEFT]
    return gather_window(memory[0], row, item, (start, top, left, size), place)


@kernel
def compute_conv_f32(memory: Any, plan: Any, state: Any, step: int) -> None:
    """Compute every listed output pixel of a CONV_F32 step."""
    row, tensors, sizes = plan[0][step], plan[2], plan[3]
    out = plan[1][step, OUT_TENSOR]
    base, blocks = tensors[out, BASE], tensors[out, BLOCKS]
    lists, count = state[1], state[2][out]
    for group in range(row[GROUPS]):
        for first in range(0, count, TILE_ROWS):
            place = sizes[GATHERED]
            rows = min(TILE_ROWS, count - first)
            for r in range(rows):
                entry = lists[base + first + r]
                place = gather_pixel(memory, plan, row, 4, (entry // blocks, entry % blocks, group), place)
            multiply_listed(memory, plan, row, lists[base + first : base + first + rows], (blocks, group))


@kernel
def multiply_listed(memory: Any, plan: Any, row: Any, entries: Any, part: Any) -> None:
    """Multiply gathered rows with the weights of a group and write the outputs of up to eight listed pixels.

    ``part`` is (blocks of a frame, group).
    """
    u8, sizes = memory[0], plan[3]
    blocks, group = part
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
            tile_f32_wide_row(u8, sizes[GATHERED], depth, weights, depth, bias, sizes[TILE], LANES, clamp)
        else:
            # Rows beyond the last pixel hold what was gathered before; their sums are not used.
            tile_f32(u8, sizes[GATHERED], depth, weights, depth, bias, sizes[TILE], LANES, clamp)
        width = min(4 * LANES if wide else LANES, channels - panel * LANES)
        for r in range(len(entries)):
            pixel = row[OUT] + entries[r] // blocks * sizes[FRAME_BYTES] + 4 * (entries[r] % blocks) * row[OUT_C]
            place = pixel + 4 * (group * channels + panel * LANES)
            copy_bytes(u8, sizes[TILE] + 4 * LANES * r, place, 4 * width)
        panel += 4 if wide else 1
