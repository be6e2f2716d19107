"""A struck accumulator: the finished sum of one output of a product, a depthwise convolution or a mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, kernel
from node.kernels.inference.clip import clipped_window
from node.kernels.inference.columns import (
    BIAS,
    COUNT,
    GROUPS,
    HIGH,
    IN_A,
    IN_C,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OPCODE,
    OUT,
    OUT_C,
    OUT_W,
    SCALES,
    SIGNED,
    WEIGHTS,
    ZERO_A,
    ZERO_OUT,
)
from node.kernels.inference.dispatch import AVERAGE_POOL_F32, CONV_F32, CONV_INT8, DEPTHWISE_F32, DEPTHWISE_INT8
from node.kernels.inference.incremental.conv_f32 import gather_pixel
from node.kernels.inference.incremental.dirty import enter, lists_of, settle
from node.kernels.inference.incremental.lanes import requantise_sums
from node.kernels.inference.incremental.plain import place_row
from node.kernels.inference.incremental.struck import packed_column
from node.kernels.inference.incremental.tables import (
    BIT,
    BLOCKS,
    COUNTS,
    ELEMENT,
    FRAME_BYTES,
    FRAMES,
    GATHERED,
    ITEM,
    OUT_TENSOR,
    STEP,
    SUM_COLUMNS,
    SUM_FRAME_BYTES,
    SUMS,
    TILE,
)
from node.kernels.inference.quantised import quantised
from node.kernels.inference.taps import tap_part_f32
from node.kernels.inference.tiles import LANES, copy_bytes, tile_f32_row


@kernel
def strike_accumulators(memory: Any, plan: Any, state: Any, fault: Any, line: Any) -> None:
    """Flip a bit of the same finished sum in every frame, and enter the pixel of its output."""
    for frame in range(plan[3][FRAMES]):
        strike_sum(memory, plan, state, (fault[STEP], frame, fault[ELEMENT]), np.int64(1) << fault[BIT], line)
    settle(memory, plan, state, plan[1][fault[STEP], OUT_TENSOR])


@kernel
def strike_sum(memory: Any, plan: Any, state: Any, cell: Any, mask: int, line: Any) -> None:
    """Write the output of a golden sum with some bits flipped, and enter its pixel.

    ``cell`` is (step, frame, number of the output); ``line`` has room for a row.
    """
    step, frame, output = cell
    out, place = plan[1][step, OUT_TENSOR], plan[3][TILE]
    place_row(plan, step, frame, line)
    item, pixel = plan[2][out, ITEM], output // line[OUT_C]
    opcode = line[OPCODE]
    if opcode == CONV_F32:
        place = product_f32(memory, plan[3], line, output, mask)
    elif opcode == CONV_INT8:
        place = product_int8(memory, plan, line, cell, mask)
    elif opcode == DEPTHWISE_F32:
        depthwise_f32(memory, line, output, mask, place)
    elif opcode == DEPTHWISE_INT8:
        depthwise_int8(memory, line, output, mask, place)
    else:
        mean(memory, line, output, mask, place)
    copy_bytes(memory[0], place, line[OUT] + item * output, item)
    marks, lists = lists_of(plan, state, out)
    state[COUNTS][out] = enter(marks, lists, state[COUNTS][out], frame * plan[2][out, BLOCKS] + pixel)


@kernel
def limit(memory: Any, row: Any, place: int, mask: int) -> None:
    """Flip bits of the float at a byte, and limit it."""
    _, i32, f32 = memory
    i32[place // 4] ^= np.int32(mask)
    low, high = f32_from_bits(row[LOW]), f32_from_bits(row[HIGH])
    value = low if f32[place // 4] < low else f32[place // 4]
    f32[place // 4] = high if value > high else value


@kernel
def product_int8(memory: Any, plan: Any, row: Any, cell: Any, mask: int) -> Any:
    """Give the byte that holds the output of a struck sum of a CONV_INT8 step; its golden sums are kept."""
    u8, i32, _ = memory
    links, tile = plan[1], plan[3][TILE]
    step, frame, output = cell
    column = packed_column(row, output % row[OUT_C])
    panel, lane = column // LANES * LANES, column % LANES
    pixel = output // row[OUT_C] * links[step, SUM_COLUMNS]
    copy_bytes(u8, links[step, SUMS] + frame * plan[3][SUM_FRAME_BYTES] + 4 * (pixel + panel), tile, 4 * LANES)
    i32[tile // 4 + lane] ^= np.int32(mask)
    requantise_sums(u8, tile, row[SCALES] + 4 * panel, tile, (row[ZERO_OUT], row[LOW], row[HIGH]))
    return tile + lane


@kernel
def product_f32(memory: Any, sizes: Any, row: Any, output: int, mask: int) -> Any:
    """As :func:`product_int8`, for floats: the sum is computed again, as the engine does, but not limited."""
    u8, tile = memory[0], sizes[TILE]
    channel = output % row[OUT_C]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    column = packed_column(row, channel)
    panel, lane = column // LANES * LANES, column % LANES
    where = (0, output // row[OUT_C], channel // (row[OUT_C] // row[GROUPS]))
    gather_pixel(u8, row, sizes[FRAME_BYTES], 4, where, sizes[GATHERED])
    weights, bias = row[WEIGHTS] + 4 * panel * depth, row[BIAS] + 4 * panel
    tile_f32_row(u8, sizes[GATHERED], depth, weights, depth, bias, tile, LANES, unlimited())
    limit(memory, row, tile + 4 * lane, mask)
    return tile + 4 * lane


@kernel
def unlimited() -> Any:
    """Give limits that every float keeps to."""
    return np.float32(-np.inf), np.float32(np.inf)


@kernel
def window_of(row: Any, item: int, output: int) -> Any:
    """Give the place of an output's first input, that of its first weight, and the window as ``Taps`` takes it."""
    channel, pixel = output % row[OUT_C], output // row[OUT_C]
    inputs, weights, window = clipped_window(row, item, pixel // row[OUT_W], pixel % row[OUT_W])
    return row[IN_A] + inputs + item * channel, row[WEIGHTS] + weights + item * channel, window


@kernel
def depthwise_f32(memory: Any, row: Any, output: int, mask: int, place: int) -> None:
    """Write the output of a struck sum of a DEPTHWISE_F32 step to a byte."""
    left, weights, window = window_of(row, 4, output)
    bias = row[BIAS] + 4 * (output % row[OUT_C])
    tap_part_f32(memory[0], (left, weights, 0), window, bias, place, (0, 1), unlimited())
    limit(memory, row, place, mask)


@kernel
def depthwise_int8(memory: Any, row: Any, output: int, mask: int, place: int) -> None:
    """Write the output of a struck sum of a DEPTHWISE_INT8 step to a byte."""
    u8, i32, _ = memory
    left, weights, window = window_of(row, 1, output)
    rows, line, weight_line, columns, pixel, weight_pixel = window
    flip = np.int32(128 if row[SIGNED] & 1 else 0)
    total = i32[row[BIAS] // 4 + output % row[OUT_C]]
    for y in range(rows):
        for x in range(columns):
            value = (np.int32(u8[left + y * line + x * pixel]) ^ flip) - np.int32(flip + row[ZERO_A])
            weight = (np.int32(u8[weights + y * weight_line + x * weight_pixel]) ^ 128) - 128
            total = np.int32(total + value * weight)
    i32[place // 4] = total ^ np.int32(mask)
    # The other fifteen lanes hold anything; what comes of them is not used.
    scales = row[SCALES] + 4 * (output % row[OUT_C])
    requantise_sums(u8, place, scales, place, (row[ZERO_OUT], row[LOW], row[HIGH]))


@kernel
def mean(memory: Any, row: Any, output: int, mask: int, place: int) -> None:
    """Write the output of a struck sum of an average to a byte."""
    u8, i32, f32 = memory
    item = 4 if row[OPCODE] == AVERAGE_POOL_F32 else 1
    left, _, window = window_of(row, item, output)
    rows, line, _, columns, pixel, _ = window
    flip = np.int32(128 if row[SIGNED] & 1 else 0)
    total, whole = np.float32(0.0), np.int32(0)
    for y in range(rows):
        for x in range(columns):
            at = left + y * line + x * pixel
            if item == 4:
                total += f32[at // 4]
            else:
                whole += np.int32((np.int32(u8[at]) ^ flip) - np.int32(flip + row[ZERO_A]))
    divisor = np.float32(row[KERNEL_H] * row[KERNEL_W] if row[COUNT] == 1 else rows * columns)
    if item == 4:
        f32[place // 4] = total
        i32[place // 4] ^= np.int32(mask)
        f32[place // 4] = f32[place // 4] / divisor
        return
    scale_in, scale_out = f32[row[SCALES] // 4], f32[row[SCALES] // 4 + 1]
    value = np.float32(np.int32(whole ^ np.int32(mask))) / divisor * scale_in / scale_out
    u8[place] = np.uint8(quantised(value, row[ZERO_OUT], row[LOW], row[HIGH]) & 255)
