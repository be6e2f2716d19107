"""Integer convolution: what changed in the inputs is multiplied and added to the golden sums, which is exact."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.columns import (
    GROUPS,
    HIGH,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    LOW,
    OUT,
    OUT_C,
    SCALES,
    SIGNED,
    WEIGHTS,
    ZERO_OUT,
)
from node.kernels.inference.incremental.dirty import enter, lists_of
from node.kernels.inference.incremental.lanes import (
    add_products,
    add_products_to_four,
    differing,
    lowest_one,
    requantise_sums,
)
from node.kernels.inference.incremental.reach import along, window_of
from node.kernels.inference.incremental.tables import (
    BASE,
    BLOCK,
    BLOCKS,
    FRAME_BYTES,
    GOLDEN,
    IN_A_TENSOR,
    OUT_TENSOR,
    PAIRS,
    SHIFT_A,
    SLOTS,
    START,
    SUM_COLUMNS,
    SUM_FRAME_BYTES,
    SUMS,
    TILE,
)
from node.kernels.inference.tiles import LANES, copy_bytes


@kernel
def spread_conv_int8(memory: Any, plan: Any, state: Any, step: int) -> None:
    """Compute every output pixel that meets a changed input, and enter it into the list of the output."""
    u8, i32 = memory[0], memory[1]
    row, links, tensors, sizes = plan[0][step], plan[1], plan[2], plan[3]
    tensor, out = links[step, IN_A_TENSOR], links[step, OUT_TENSOR]
    lists = lists_of(plan, state, tensor)[1]
    marks, reached = lists_of(plan, state, out)
    slots = state[3][tensors[out, BASE] :]
    block, blocks = tensors[tensor, BLOCK], tensors[tensor, BLOCKS]
    channels, width, of_group = row[IN_C], row[IN_W], row[IN_C] // row[GROUPS]
    last = row[IN_H] * width * channels
    panels = (row[OUT_C] // row[GROUPS] + LANES - 1) // LANES
    taps = row[KERNEL_H] * row[KERNEL_W]
    pixel_bytes = 4 * links[step, SUM_COLUMNS]
    window, flip = window_of(row), 128 if row[SIGNED] & 1 else 0
    count = 0
    for i in range(state[2][tensor]):
        frame = lists[i] // blocks
        first = (lists[i] - frame * blocks) * block - links[step, SHIFT_A]
        place = tensors[tensor, START] + frame * sizes[FRAME_BYTES] + links[step, SHIFT_A]
        first_out = frame * tensors[out, BLOCKS]
        golden = links[step, SUMS] + frame * sizes[SUM_FRAME_BYTES] - first_out * pixel_bytes
        element, end = max(first, 0), min(first + block, last)
        while element < end:
            number = element // of_group
            following = min(end, (number + 1) * of_group)
            part = (place + element, following - element, element - number * of_group)
            pairs = list_changes(u8, i32, sizes[PAIRS], part, (sizes[GOLDEN], flip))
            if pairs > 0:
                pixel = element // channels
                group = number - pixel * row[GROUPS]
                y = pixel // width
                weights = (row[WEIGHTS] + group * panels * LANES * taps * of_group, LANES * of_group, taps, panels)
                sums = (golden, sizes[SLOTS], pixel_bytes, 4 * LANES * panels * group)
                position = (y, pixel - y * width, first_out)
                count = add_changes(
                    u8, (marks, reached, slots), count, position, window, weights, sums, (sizes[PAIRS], pairs)
                )
            element = following
    state[2][out] = count
    requantise_changed(memory, plan, state, step)


@kernel
def list_changes(u8: Any, i32: Any, pairs: int, part: Any, twin: Any) -> int:
    """Write a pair (bytes from the first weight of a tap, change) for every input that changed; give their number.

    ``part`` is (place of the inputs, their number, channel of the first); ``twin`` is (distance to the golden
    values, 128 for int8).
    """
    place, size, channel = part
    golden, flip = twin[0], np.int32(twin[1])
    listed = i32[pairs // 4 : pairs // 4 + 2 * size]
    count = 0
    for first in range(0, size, LANES):
        found = differing(u8, place + first, place + golden + first) & ((1 << min(LANES, size - first)) - 1)
        while found != 0:
            i = first + lowest_one(found)
            value, other = np.int32(u8[place + i]), np.int32(u8[place + golden + i])
            listed[2 * count] = (channel + i) * LANES
            listed[2 * count + 1] = (value ^ flip) - (other ^ flip)
            count += 1
            found &= found - 1
    return count


@kernel
def add_changes(
    u8: Any, found: Any, count: int, position: Any, window: Any, weights: Any, sums: Any, pairs: Any
) -> int:
    """Add listed changes of one pixel and group to the sums of every output pixel that they reach.

    Sums that are met for the first time are copied from the golden ones.

    Parameters
    ----------
    u8 : ndarray
        The working memory.
    found : tuple of ndarray
        Marks and list of the output, and where in the working memory the sums of a listed pixel lie.
    count : int
        Pixels in the list.
    position : tuple of int
        Row and column of the input pixel, entry of output pixel 0 of its frame.
    window : tuple
        See ``window_of``.
    weights : tuple of int
        Place of the weights of the group, bytes of the weights of a tap, taps, panels.
    sums : tuple of int
        Place of the golden sums of entry 0 and of the changed ones, bytes of a pixel, bytes to those of the group.
    pairs : tuple of int
        Place of the changes and their number.

    Returns
    -------
    int
        Pixels in the list afterwards.
    """
    marks, reached, slots = found
    y, x, first_out = position
    kernel_h, pad_top, dilation_h, stride_h, out_h = window[0]
    kernel_w, pad_left, dilation_w, stride_w, out_w = window[1]
    place_weights, tap_bytes, taps, panels = weights
    golden, changed, pixel_bytes, offset = sums
    for ky in range(kernel_h):
        down = along(y, pad_top, ky * dilation_h, stride_h, out_h)
        if down < 0:
            continue
        for kx in range(kernel_w):
            right = along(x, pad_left, kx * dilation_w, stride_w, out_w)
            if right < 0:
                continue
            entry = first_out + down * out_w + right
            if not marks[entry]:
                slots[entry] = count
                for part in range(0, pixel_bytes, 4 * LANES):
                    copy_bytes(u8, golden + entry * pixel_bytes + part, changed + count * pixel_bytes + part, 4 * LANES)
                count = enter(marks, reached, count, entry)
            place = changed + slots[entry] * pixel_bytes + offset
            column = place_weights + tap_bytes * (ky * kernel_w + kx)
            panel_bytes, left = tap_bytes * taps, panels
            while left >= 4:
                add_products_to_four(u8, place, column, panel_bytes, pairs[0], pairs[1])
                place += 4 * 4 * LANES
                column += 4 * panel_bytes
                left -= 4
            for _ in range(left):
                add_products(u8, place, column, panel_bytes, pairs[0], pairs[1])
                place += 4 * LANES
                column += panel_bytes
    return count


@kernel
def requantise_changed(memory: Any, plan: Any, state: Any, step: int) -> None:
    """Write the outputs of all changed sums."""
    u8 = memory[0]
    row, links, tensors, sizes = plan[0][step], plan[1], plan[2], plan[3]
    out = links[step, OUT_TENSOR]
    blocks = tensors[out, BLOCKS]
    channels = row[OUT_C] // row[GROUPS]
    panels = (channels + LANES - 1) // LANES
    limits = (row[ZERO_OUT], row[LOW], row[HIGH])
    sums = sizes[SLOTS]
    for i in range(state[2][out]):
        entry = state[1][tensors[out, BASE] + i]
        pixel = row[OUT] + entry // blocks * sizes[FRAME_BYTES] + entry % blocks * row[OUT_C]
        for group in range(row[GROUPS]):
            for panel in range(panels):
                scales = row[SCALES] + 4 * LANES * (group * panels + panel)
                width = min(LANES, channels - panel * LANES)
                place = pixel + group * channels + panel * LANES
                requantise_sums(u8, sums, scales, place if width == LANES else sizes[TILE], limits)
                if width < LANES:
                    copy_bytes(u8, sizes[TILE], place, width)
                sums += 4 * LANES
