"""Steps without packed weights: the kernels of the engine, on the part that changed."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.columns import COUNT, IN_A, IN_B, IN_C, IN_H, IN_W, OPCODE, OUT, OUT_W
from node.kernels.inference.depthwise_f32 import depthwise_pixels_f32
from node.kernels.inference.depthwise_int8 import depthwise_pixels_int8
from node.kernels.inference.dispatch import (
    ADD_F32,
    ADD_INT8,
    AVERAGE_POOL_F32,
    CLAMP_F32,
    DEPTHWISE_F32,
    DEPTHWISE_INT8,
    MAX_POOL_F32,
    MAX_POOL_INT8,
    SOFTMAX_F32,
    pointwise_f32,
    pointwise_int8,
)
from node.kernels.inference.incremental.tables import (
    BASE,
    BLOCK,
    BLOCKS,
    FRAME_BYTES,
    IN_A_TENSOR,
    IN_B_TENSOR,
    ITEM,
    OUT_TENSOR,
)
from node.kernels.inference.pool_f32 import pool_pixel_f32
from node.kernels.inference.pool_int8 import pool_pixel_int8
from node.kernels.inference.tiles import copy_bytes


@kernel
def place_row(plan: Any, step: int, frame: int, line: Any) -> None:
    """Write the row of a step, with the activations of a frame, to ``line``."""
    row, links, shift = plan[0][step], plan[1], frame * plan[3][FRAME_BYTES]
    for column in range(len(line)):
        line[column] = row[column]
    line[IN_A] += shift
    line[OUT] += shift
    if links[step, IN_B_TENSOR] >= 0:
        line[IN_B] += shift


@kernel
def compute_pixels(memory: Any, plan: Any, state: Any, step: int, line: Any) -> None:
    """Compute every listed output pixel of a pool or a depthwise convolution."""
    u8, i32, f32 = memory
    row, tensors = plan[0][step], plan[2]
    out = plan[1][step, OUT_TENSOR]
    opcode = row[OPCODE]
    for i in range(state[2][out]):
        entry = state[1][tensors[out, BASE] + i]
        frame, pixel = entry // tensors[out, BLOCKS], entry % tensors[out, BLOCKS]
        place_row(plan, step, frame, line)
        y, x = pixel // row[OUT_W], pixel % row[OUT_W]
        if opcode == DEPTHWISE_F32:
            depthwise_pixels_f32(u8, line, y, x, 1)
        elif opcode == DEPTHWISE_INT8:
            depthwise_pixels_int8(u8, line, y, x, 1)
        elif opcode in (MAX_POOL_F32, AVERAGE_POOL_F32):
            pool_pixel_f32(f32, line, y, x, opcode == MAX_POOL_F32)
        else:
            pool_pixel_int8(u8, i32, f32, line, y, x, opcode == MAX_POOL_INT8)


@kernel
def compute_elements(memory: Any, plan: Any, state: Any, step: int, line: Any) -> None:
    """Compute every listed output block of a step that works value by value, neighbours together."""
    row, tensors = plan[0][step], plan[2]
    out = plan[1][step, OUT_TENSOR]
    base, blocks, block = tensors[out, BASE], tensors[out, BLOCKS], tensors[out, BLOCK]
    added = row[OPCODE] in (ADD_F32, ADD_INT8)
    apart = added and row[COUNT] != row[IN_C] and row[COUNT] > block
    i = 0
    while i < state[2][out]:
        entry = state[1][base + i]
        run = 1
        while (
            not apart
            and i + run < state[2][out]
            and state[1][base + i + run] == entry + run
            and (entry + run) % blocks != 0
        ):
            run += 1
        place_row(plan, step, entry // blocks, line)
        compute_run(memory, plan, step, line, (entry % blocks * block, run * block))
        i += run


@kernel
def compute_run(memory: Any, plan: Any, step: int, line: Any, part: Any) -> None:
    """Compute some outputs of a placed row; ``part`` is (first element, number of elements)."""
    u8, _, f32 = memory
    links, tensors = plan[1], plan[2]
    first, count = part
    opcode = line[OPCODE]
    item, item_out = tensors[links[step, IN_A_TENSOR], ITEM], tensors[links[step, OUT_TENSOR], ITEM]
    if opcode == SOFTMAX_F32:
        line[IN_W] = count // line[IN_C]
    else:
        if opcode in (ADD_F32, ADD_INT8) and line[COUNT] > tensors[links[step, OUT_TENSOR], BLOCK]:
            line[IN_B] += item * (first % line[COUNT])
            line[COUNT] = count
        line[IN_C] = count
    line[IN_A] += item * first
    line[OUT] += item_out * first
    if opcode in (ADD_F32, CLAMP_F32, SOFTMAX_F32):
        pointwise_f32(f32, line, opcode)
    else:
        pointwise_int8(u8, f32, line, opcode)


@kernel
def compute_transposed(memory: Any, plan: Any, state: Any, step: int) -> None:
    """Compute every listed output block of a change of order."""
    row, tensors = plan[0][step], plan[2]
    out = plan[1][step, OUT_TENSOR]
    item, block, blocks = row[COUNT], tensors[out, BLOCK], tensors[out, BLOCKS]
    for i in range(state[2][out]):
        entry = state[1][tensors[out, BASE] + i]
        frame = entry // blocks * plan[3][FRAME_BYTES]
        for element in range(entry % blocks * block, (entry % blocks + 1) * block):
            origin = element % row[IN_H] * row[IN_W] + element // row[IN_H]
            copy_bytes(memory[0], row[IN_A] + frame + item * origin, row[OUT] + frame + item * element, item)
