"""Which blocks of an output depend on a block of an input."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.bounds import is_dense
from node.kernels.inference.columns import (
    DILATION_H,
    DILATION_W,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    OUT_H,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    STRIDE_H,
    STRIDE_W,
)
from node.kernels.inference.incremental.dirty import enter, lists_of
from node.kernels.inference.incremental.tables import BLOCK, BLOCKS, OUT_TENSOR


@kernel
def along(position: int, pad: int, offset: int, stride: int, size: int) -> int:
    """Give the output coordinate whose window has an input coordinate at an offset from its start, -1 for none."""
    moved = position + pad - offset
    if moved < 0:
        return -1
    if stride != 1:
        if moved % stride != 0:
            return -1
        moved //= stride
    return moved if moved < size else -1


@kernel
def window_of(row: Any) -> Any:
    """Give the numbers of a row that decide which output pixels an input pixel reaches."""
    height = (row[KERNEL_H], row[PAD_TOP], row[DILATION_H], row[STRIDE_H], row[OUT_H])
    return height, (row[KERNEL_W], row[PAD_LEFT], row[DILATION_W], row[STRIDE_W], row[OUT_W])


@kernel
def reach_windows(plan: Any, state: Any, step: int, tensor: int, shift: int) -> None:
    """Enter the output pixels of a windowed step whose window meets a listed block of its input."""
    row, tensors, out = plan[0][step], plan[2], plan[1][step, OUT_TENSOR]
    lists, counts = lists_of(plan, state, tensor)[1], state[2]
    marks, reached = lists_of(plan, state, out)
    width, channels, pixels = row[IN_W], row[IN_C], row[IN_H] * row[IN_W]
    block, blocks, blocks_out = tensors[tensor, BLOCK], tensors[tensor, BLOCKS], tensors[out, BLOCKS]
    window = window_of(row)
    count = counts[out]
    if is_dense(row) and block == channels and blocks == pixels and shift == 0:
        for i in range(counts[tensor]):
            count = enter(marks, reached, count, lists[i])
        counts[out] = count
        return
    for i in range(counts[tensor]):
        frame = lists[i] // blocks
        first = (lists[i] - frame * blocks) * block - shift
        for pixel in range(max(first, 0) // channels, min((first + block - 1) // channels + 1, pixels)):
            y = pixel // width
            count = reach_from(marks, reached, count, frame * blocks_out, (y, pixel - y * width), window)
    counts[out] = count


@kernel
def reach_from(marks: Any, lists: Any, count: int, first: int, pixel: Any, window: Any) -> int:
    """Enter the output pixels whose window meets one input pixel; ``first`` is the entry of pixel 0 of the frame."""
    kernel_h, pad_top, dilation_h, stride_h, out_h = window[0]
    kernel_w, pad_left, dilation_w, stride_w, out_w = window[1]
    for ky in range(kernel_h):
        y = along(pixel[0], pad_top, ky * dilation_h, stride_h, out_h)
        if y < 0:
            continue
        for kx in range(kernel_w):
            x = along(pixel[1], pad_left, kx * dilation_w, stride_w, out_w)
            if x >= 0:
                count = enter(marks, lists, count, first + y * out_w + x)
    return count


@kernel
def reach_elements(plan: Any, state: Any, step: int, operand: Any, count: int, period: int) -> None:
    """Enter the output blocks of a step that works value by value.

    ``operand`` is (tensor, elements from its start); ``count`` values are read, again every ``period`` outputs.
    """
    tensors, out = plan[2], plan[1][step, OUT_TENSOR]
    tensor, shift = operand
    lists = lists_of(plan, state, tensor)[1]
    marks, reached = lists_of(plan, state, out)
    block, blocks = tensors[tensor, BLOCK], tensors[tensor, BLOCKS]
    size, blocks_out = tensors[out, BLOCK], tensors[out, BLOCKS]
    total = size * blocks_out
    entered = state[2][out]
    for i in range(state[2][tensor]):
        frame = lists[i] // blocks
        place = (lists[i] - frame * blocks) * block - shift
        first, last = max(place, 0), min(place + block, count)
        if first >= last:
            continue
        for start in range(0, total, period):
            for number in range((start + first) // size, (start + last - 1) // size + 1):
                entered = enter(marks, reached, entered, frame * blocks_out + number)
    state[2][out] = entered


@kernel
def reach_transposed(plan: Any, state: Any, step: int, operand: Any) -> None:
    """Enter the output blocks of a change of order; ``operand`` is (tensor, elements from its start)."""
    row, tensors, out = plan[0][step], plan[2], plan[1][step, OUT_TENSOR]
    tensor, shift = operand
    lists = lists_of(plan, state, tensor)[1]
    marks, reached = lists_of(plan, state, out)
    block, blocks = tensors[tensor, BLOCK], tensors[tensor, BLOCKS]
    height, width, size = row[IN_H], row[IN_W], tensors[out, BLOCK]
    entered = state[2][out]
    for i in range(state[2][tensor]):
        frame = lists[i] // blocks
        first = (lists[i] - frame * blocks) * block - shift
        for element in range(max(first, 0), min(first + block, height * width)):
            moved = element % width * height + element // width
            entered = enter(marks, reached, entered, frame * tensors[out, BLOCKS] + moved // size)
    state[2][out] = entered
