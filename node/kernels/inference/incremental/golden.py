"""Golden sums, which changes are added to or from which sums go on."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.columns import (
    BIAS,
    GROUPS,
    IN_C,
    KERNEL_H,
    KERNEL_W,
    OPCODE,
    OUT_C,
    OUT_H,
    OUT_W,
    SIGNED,
    WEIGHTS,
    ZERO_A,
)
from node.kernels.inference.dispatch import CONV_INT8
from node.kernels.inference.incremental.conv_f32 import gather_pixel
from node.kernels.inference.incremental.lanes import add_products
from node.kernels.inference.incremental.resumed import keep_sums
from node.kernels.inference.incremental.tables import (
    FRAME_BYTES,
    FRAMES,
    GATHERED,
    PAIRS,
    SUM_COLUMNS,
    SUM_FRAME_BYTES,
    SUMS,
)
from node.kernels.inference.tiles import LANES, copy_bytes


@kernel
def golden_sums(memory: Any, plan: Any, step: int) -> None:
    """Compute the golden sums of a step that has some, in every frame."""
    links, sizes = plan[1], plan[3]
    row = plan[0][step]
    if row[OPCODE] != CONV_INT8:
        keep_sums(memory, plan, step)
        return
    for frame in range(sizes[FRAMES]):
        for pixel in range(row[OUT_H] * row[OUT_W]):
            sums = links[step, SUMS] + frame * sizes[SUM_FRAME_BYTES] + 4 * pixel * links[step, SUM_COLUMNS]
            sum_pixel(memory, plan, step, (frame, pixel), sums)


@kernel
def sum_pixel(memory: Any, plan: Any, step: int, where: Any, sums: int) -> None:
    """Compute the sums of one output pixel of a CONV_INT8 step; ``where`` is (frame, pixel)."""
    u8, i32, _ = memory
    row, sizes = plan[0][step], plan[3]
    depth = row[KERNEL_H] * row[KERNEL_W] * (row[IN_C] // row[GROUPS])
    panels = (row[OUT_C] // row[GROUPS] + LANES - 1) // LANES
    flip = np.int32(128 if row[SIGNED] & 1 else 0)
    shift = np.int32(flip + row[ZERO_A])
    copy_bytes(u8, row[BIAS], sums, 4 * plan[1][step, SUM_COLUMNS])
    for group in range(row[GROUPS]):
        gather_pixel(u8, row, sizes[FRAME_BYTES], 1, (where[0], where[1], group), sizes[GATHERED])
        for k in range(depth):
            i32[sizes[PAIRS] // 4 + 2 * k] = k * LANES
            i32[sizes[PAIRS] // 4 + 2 * k + 1] = (np.int32(u8[sizes[GATHERED] + k]) ^ flip) - shift
        for panel in range(panels):
            column = (group * panels + panel) * LANES
            weights = row[WEIGHTS] + column * depth
            add_products(u8, sums + 4 * column, weights, LANES * depth, sizes[PAIRS], depth)
