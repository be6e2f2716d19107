"""A struck accumulator: the finished sum of one output of a product with packed weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, kernel
from node.kernels.inference.columns import (
    BIAS,
    GROUPS,
    HIGH,
    IN_C,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OPCODE,
    OUT,
    OUT_C,
    SCALES,
    WEIGHTS,
    ZERO_OUT,
)
from node.kernels.inference.dispatch import CONV_INT8
from node.kernels.inference.incremental.conv_f32 import gather_pixel
from node.kernels.inference.incremental.dirty import enter, lists_of, settle
from node.kernels.inference.incremental.lanes import requantise_sums
from node.kernels.inference.incremental.struck import packed_column
from node.kernels.inference.incremental.tables import (
    BIT,
    BLOCKS,
    ELEMENT,
    FRAME_BYTES,
    FRAMES,
    GATHERED,
    OUT_TENSOR,
    STEP,
    SUM_COLUMNS,
    SUM_FRAME_BYTES,
    SUMS,
    TILE,
)
from node.kernels.inference.tiles import LANES, copy_bytes, tile_f32_row


@kernel
def strike_accumulators(memory: Any, plan: Any, state: Any, fault: Any) -> None:
    """Flip a bit of the same finished sum in every frame, and enter the pixel of its output."""
    step, sizes = fault[STEP], plan[3]
    row, out = plan[0][step], plan[1][step, OUT_TENSOR]
    marks, lists = lists_of(plan, state, out)
    for frame in range(sizes[FRAMES]):
        where = (frame, fault[ELEMENT] // row[OUT_C], fault[ELEMENT] % row[OUT_C])
        if row[OPCODE] == CONV_INT8:
            strike_sum_int8(memory, plan, step, where, fault[BIT])
        else:
            strike_sum_f32(memory, plan, step, where, fault[BIT])
        enter(marks, lists, frame, frame * plan[2][out, BLOCKS] + where[1])
    state[2][out] = sizes[FRAMES]
    settle(memory, plan, state, out)


@kernel
def strike_sum_int8(memory: Any, plan: Any, step: int, where: Any, bit: int) -> None:
    """Write the output of a golden sum with one bit flipped; ``where`` is (frame, pixel, channel)."""
    u8, i32, _ = memory
    row, links, sizes = plan[0][step], plan[1], plan[3]
    frame, pixel, channel = where
    column = packed_column(row, channel)
    panel, lane = column // LANES * LANES, column % LANES
    sums = links[step, SUMS] + frame * sizes[SUM_FRAME_BYTES] + 4 * (pixel * links[step, SUM_COLUMNS] + panel)
    copy_bytes(u8, sums, sizes[TILE], 4 * LANES)
    i32[sizes[TILE] // 4 + lane] ^= np.int32(np.int64(1) << bit)
    requantise_sums(u8, sizes[TILE], row[SCALES] + 4 * panel, sizes[TILE], (row[ZERO_OUT], row[LOW], row[HIGH]))
    u8[row[OUT] + frame * sizes[FRAME_BYTES] + pixel * row[OUT_C] + channel] = u8[sizes[TILE] + lane]


@kernel
def strike_sum_f32(memory: Any, plan: Any, step: int, where: Any, bit: int) -> None:
    """As :func:`strike_sum_int8`, for a sum of floats: it is computed again, as the engine does, but not limited."""
    u8, i32, f32 = memory
    row, sizes = plan[0][step], plan[3]
    frame, pixel, channel = where
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    column = packed_column(row, channel)
    panel, lane = column // LANES * LANES, column % LANES
    gather_pixel(
        u8, row, sizes[FRAME_BYTES], 4, (frame, pixel, channel // (row[OUT_C] // row[GROUPS])), sizes[GATHERED]
    )
    everything = (np.float32(-np.inf), np.float32(np.inf))
    weights, bias = row[WEIGHTS] + 4 * panel * depth, row[BIAS] + 4 * panel
    tile_f32_row(u8, sizes[GATHERED], depth, weights, depth, bias, sizes[TILE], LANES, everything)
    place = sizes[TILE] // 4 + lane
    i32[place] ^= np.int32(np.int64(1) << bit)
    low, high = f32_from_bits(row[LOW]), f32_from_bits(row[HIGH])
    value = low if f32[place] < low else f32[place]
    f32[place] = high if value > high else value
    i32[(row[OUT] + frame * sizes[FRAME_BYTES]) // 4 + pixel * row[OUT_C] + channel] = i32[place]
