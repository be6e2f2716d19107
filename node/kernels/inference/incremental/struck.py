"""One struck output channel of a convolution: its outputs for all inputs at once, under up to eight faults.

The inputs of all frames lie side by side as lines, one for each product of a sum. An integer sum moves by the
change of the weight times a line; a float sum is taken up at the struck product and goes on in the same order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, kernel
from node.kernels.inference.columns import (
    BIAS,
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
    SCALES,
    SIGNED,
    STRIDE_H,
    STRIDE_W,
    WEIGHTS,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.incremental.conv_f32 import gather_pixel
from node.kernels.inference.incremental.lanes import requantise_shifted
from node.kernels.inference.incremental.resumed import WIDE, resume_wide
from node.kernels.inference.incremental.tables import (
    BIAS_INT8,
    BIT,
    CHANNEL,
    ELEMENT,
    FRAME_BYTES,
    FRAMES,
    GATHERED,
    GOLDEN,
    GOLDEN_LINE,
    HELD_CHANNEL,
    HELD_GROUP,
    HELD_PLACES,
    HELD_PRODUCT,
    HELD_STEP,
    KIND,
    LINES,
    MULTIPLIER_INT8,
    OUT_CHANNEL,
    PRODUCT,
    START_SUMS,
    STEP,
    SUM_COLUMNS,
    SUM_FRAME_BYTES,
    SUMS,
    VARIANTS,
    WEIGHT_F32,
    WEIGHT_INT8,
)
from node.kernels.inference.tiles import LANES, TILE_ROWS, tile_f32, tile_f32_row


@kernel
def padded(count: int) -> Any:
    """Give the number of lanes for so many outputs."""
    return (count + LANES - 1) // LANES * LANES


@kernel
def outputs_of(plan: Any, step: int) -> Any:
    """Give the outputs of one channel of a step over all frames."""
    return plan[3][FRAMES] * plan[0][step, OUT_H] * plan[0][step, OUT_W]


@kernel
def packed_column(row: Any, channel: int) -> Any:
    """Give the number of an output channel among the packed columns, which fill up each group to sixteen."""
    channels = row[OUT_C] // row[GROUPS]
    panels = (channels + LANES - 1) // LANES
    return channel // channels * panels * LANES + channel % channels


@kernel
def weight_place(row: Any, channel: int, product: int, item: int) -> Any:
    """Give the byte of a packed weight."""
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    column = packed_column(row, channel)
    return row[WEIGHTS] + item * (column // LANES * LANES * depth + product * LANES + column % LANES)


@kernel
def hold_golden(memory: Any, plan: Any, step: int, channel: int, item: int) -> None:
    """Copy the golden outputs of a channel side by side."""
    u8, i32, _ = memory
    row, sizes = plan[0][step], plan[3]
    pixels = row[OUT_H] * row[OUT_W]
    for frame in range(sizes[FRAMES]):
        start = row[OUT] + sizes[GOLDEN] + frame * sizes[FRAME_BYTES] + item * channel
        line = sizes[GOLDEN_LINE] + item * frame * pixels
        for pixel in range(pixels):
            if item == 4:
                i32[line // 4 + pixel] = i32[start // 4 + pixel * row[OUT_C]]
            else:
                u8[line + pixel] = u8[start + pixel * row[OUT_C]]


# ---- integers ----------------------------------------------------------------------------------------------------


@kernel
def hold_channel_int8(memory: Any, plan: Any, held: Any, step: int, channel: int) -> None:
    """Prepare the working memory for a channel: golden outputs and golden sums side by side."""
    if held[HELD_STEP] == step and held[HELD_CHANNEL] == channel:
        return
    i32 = memory[1]
    row, links, sizes = plan[0][step], plan[1], plan[3]
    pixels = row[OUT_H] * row[OUT_W]
    hold_golden(memory, plan, step, channel, 1)
    columns, column = links[step, SUM_COLUMNS], packed_column(row, channel)
    for frame in range(sizes[FRAMES]):
        start = (links[step, SUMS] + frame * sizes[SUM_FRAME_BYTES]) // 4 + column
        line = sizes[START_SUMS] // 4 + frame * pixels
        for pixel in range(pixels):
            i32[line + pixel] = i32[start + pixel * columns]
    held[HELD_STEP], held[HELD_CHANNEL], held[HELD_PRODUCT] = step, channel, -1


@kernel
def hold_line_int8(memory: Any, plan: Any, held: Any, step: int, channel: int, product: int) -> None:
    """Write the inputs that a weight meets, without their zero point, side by side."""
    if held[HELD_PRODUCT] == product:
        return
    u8, i32, _ = memory
    row, sizes = plan[0][step], plan[3]
    of_group = row[IN_C] // row[GROUPS]
    group = channel // (row[OUT_C] // row[GROUPS])
    tap, offset = product // of_group, product % of_group + group * of_group
    down, right = tap // row[KERNEL_W] * row[DILATION_H], tap % row[KERNEL_W] * row[DILATION_W]
    flip = np.int32(128 if row[SIGNED] & 1 else 0)
    shift = np.int32(flip + row[ZERO_A])
    line = sizes[LINES] // 4
    for frame in range(sizes[FRAMES]):
        start = row[IN_A] + frame * sizes[FRAME_BYTES] + offset
        for y in range(row[OUT_H]):
            in_y = y * row[STRIDE_H] - row[PAD_TOP] + down
            for x in range(row[OUT_W]):
                in_x = x * row[STRIDE_W] - row[PAD_LEFT] + right
                value = np.int32(0)
                if 0 <= in_y < row[IN_H] and 0 <= in_x < row[IN_W]:
                    value = (np.int32(u8[start + (in_y * row[IN_W] + in_x) * row[IN_C]]) ^ flip) - shift
                i32[line] = value
                line += 1
    held[HELD_PRODUCT] = product


@kernel
def strike_int8(memory: Any, plan: Any, held: Any, faults: Any) -> None:
    """Write the outputs of one channel under each of up to eight faults of the same weight, bias or multiplier."""
    u8, i32, f32 = memory
    step, channel, kind = faults[0, STEP], faults[0, OUT_CHANNEL], faults[0, KIND]
    row, sizes = plan[0][step], plan[3]
    hold_channel_int8(memory, plan, held, step, channel)
    if kind == WEIGHT_INT8:
        hold_line_int8(memory, plan, held, step, channel, faults[0, PRODUCT])
    count = padded(outputs_of(plan, step))
    limits = (row[ZERO_OUT], row[LOW], row[HIGH])
    multiplier = f32[row[SCALES] // 4 + packed_column(row, channel)]
    line = sizes[LINES] if kind == WEIGHT_INT8 else sizes[START_SUMS]
    for r in range(len(faults)):
        change = np.int64(0)
        if kind == WEIGHT_INT8:
            bits = np.int64(u8[faults[r, ELEMENT]])
            change = ((bits ^ (1 << faults[r, BIT])) ^ 128) - (bits ^ 128)
        elif kind == MULTIPLIER_INT8:
            multiplier = f32_from_bits(np.int64(i32[faults[r, ELEMENT] // 4]) ^ (1 << faults[r, BIT]))
        elif kind == BIAS_INT8:
            bits = np.int64(i32[faults[r, ELEMENT] // 4])
            line = hold_ones(i32, sizes[LINES], count)
            held[HELD_PRODUCT] = -1
            change = (bits ^ (1 << faults[r, BIT])) - bits
        variant = sizes[VARIANTS] + r * count
        for first in range(0, count, LANES):
            requantise_shifted(
                u8, sizes[START_SUMS] + 4 * first, line + 4 * first, change, multiplier, variant + first, limits
            )


@kernel
def hold_ones(i32: Any, place: int, count: int) -> int:
    """Write ones side by side and give their place."""
    for i in range(count):
        i32[place // 4 + i] = 1
    return place


# ---- floats ------------------------------------------------------------------------------------------------------


@kernel
def hold_lines_f32(memory: Any, plan: Any, held: Any, step: int, group: int) -> None:
    """Write the inputs of every output pixel of a group as panels of sixteen, product after product."""
    if held[HELD_STEP] == step and held[HELD_GROUP] == group:
        return
    u8, i32, _ = memory
    row, sizes = plan[0][step], plan[3]
    pixels = row[OUT_H] * row[OUT_W]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    gathered = sizes[GATHERED] // 4
    for output in range(outputs_of(plan, step)):
        where = (output // pixels, output % pixels, group)
        gather_pixel(u8, row, sizes[FRAME_BYTES], 4, where, sizes[GATHERED])
        line = sizes[LINES] // 4 + output // LANES * LANES * depth + output % LANES
        for k in range(depth):
            i32[line + LANES * k] = i32[gathered + k]
    held[HELD_STEP], held[HELD_GROUP], held[HELD_CHANNEL] = step, group, -1


@kernel
def hold_channel_f32(memory: Any, plan: Any, held: Any, step: int, channel: int) -> None:
    """Prepare the working memory for a channel: golden outputs, its weights eight times, sums that hold the bias."""
    row, sizes = plan[0][step], plan[3]
    hold_lines_f32(memory, plan, held, step, channel // (row[OUT_C] // row[GROUPS]))
    if held[HELD_CHANNEL] == channel:
        return
    i32 = memory[1]
    hold_golden(memory, plan, step, channel, 4)
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    weights = weight_place(row, channel, 0, 4) // 4
    for r in range(TILE_ROWS):
        for k in range(depth):
            i32[sizes[CHANNEL] // 4 + r * depth + k] = i32[weights + LANES * k]
    restart_sums(i32, plan, step, i32[row[BIAS] // 4 + packed_column(row, channel)])
    held[HELD_CHANNEL], held[HELD_PRODUCT] = channel, 0


@kernel
def restart_sums(i32: Any, plan: Any, step: int, bias_bits: Any) -> None:
    """Begin the sums of all outputs of a channel with a bias."""
    start = plan[3][START_SUMS] // 4
    for i in range(padded(outputs_of(plan, step))):
        i32[start + i] = bias_bits


@kernel
def advance_sums(memory: Any, plan: Any, held: Any, step: int, product: int) -> None:
    """Bring the sums of a channel up to, not including, a product."""
    u8, i32, _ = memory
    row, sizes = plan[0][step], plan[3]
    if product < held[HELD_PRODUCT]:
        restart_sums(i32, plan, step, i32[row[BIAS] // 4 + packed_column(row, held[HELD_CHANNEL])])
        held[HELD_PRODUCT] = 0
    first = held[HELD_PRODUCT]
    if product == first:
        return
    everything = (np.float32(-np.inf), np.float32(np.inf))
    sum_lines(u8, plan, held, step, (first, product, sizes[START_SUMS]), everything)
    held[HELD_PRODUCT] = product


@kernel
def sum_lines(u8: Any, plan: Any, held: Any, step: int, part: Any, clamp: Any) -> None:
    """Bring the sums of a channel on; ``part`` is the first product, the one after the last, where the outputs go."""
    row, sizes, places = plan[0][step], plan[3], held[HELD_PLACES:]
    first, last, out = part
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    left, panels = sizes[CHANNEL] + 4 * first, padded(outputs_of(plan, step)) // LANES
    panel = 0
    while panel < panels:
        lines = sizes[LINES] + 4 * LANES * (panel * depth + first)
        sums, place = sizes[START_SUMS] + 4 * LANES * panel, out + 4 * LANES * panel
        if panels - panel >= WIDE:
            places[0], places[1], places[2] = left, sums, place
            resume_wide(u8, places, lines, 4 * LANES * depth, last - first, LANES, clamp)
            panel += WIDE
        else:
            tile_f32_row(u8, left, depth, lines, last - first, sums, place, LANES, clamp)
            panel += 1


@kernel
def strike_f32(memory: Any, plan: Any, held: Any, faults: Any) -> None:
    """Write the outputs of one channel under each of up to eight faults of the same weight, or one of its bias."""
    u8, i32, _ = memory
    step, channel, product = faults[0, STEP], faults[0, OUT_CHANNEL], faults[0, PRODUCT]
    row, sizes = plan[0][step], plan[3]
    hold_channel_f32(memory, plan, held, step, channel)
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    weights = sizes[CHANNEL] // 4 + product
    bits = i32[faults[0, ELEMENT] // 4]
    if faults[0, KIND] == WEIGHT_F32:
        advance_sums(memory, plan, held, step, product)
        for r in range(len(faults)):
            i32[weights + r * depth] = bits ^ np.int32(np.int64(1) << faults[r, BIT])
    else:
        restart_sums(i32, plan, step, bits ^ np.int32(np.int64(1) << faults[0, BIT]))
        held[HELD_PRODUCT] = depth
    clamp = (f32_from_bits(row[LOW]), f32_from_bits(row[HIGH]))
    count = padded(outputs_of(plan, step))
    if len(faults) == 1:
        sum_lines(u8, plan, held, step, (product, depth, sizes[VARIANTS]), clamp)
        i32[weights] = i32[weight_place(row, channel, product, 4) // 4]
        return
    for panel in range(count // LANES):
        lines = sizes[LINES] + 4 * LANES * (panel * depth + product)
        sums = sizes[START_SUMS] + 4 * LANES * panel
        out = sizes[VARIANTS] + 4 * LANES * panel
        left = sizes[CHANNEL] + 4 * product
        tile_f32(u8, left, depth, lines, depth - product, sums, out, count, clamp)
    for r in range(len(faults)):
        i32[weights + r * depth] = bits
