"""Product of two activations, with broadcast leading dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import fma_f32, kernel
from node.kernels.inference.bounds import fits, work_limit
from node.kernels.inference.columns import IN_A, IN_B, INVALID, OK, OUT
from node.kernels.inference.general.codes import RANK, SHAPE, STRIDES_A, STRIDES_B
from node.kernels.inference.general.views import count_of, view_fits

BATCHES = 3
"""Dimensions 0 to 2 are leading ones; 3, 4, 5 are rows, columns and depth."""


@kernel
def add_line(out: Any, a: Any, b: Any) -> None:
    """Add a times a line to a line."""
    for j in range(out.size):
        out[j] = fma_f32(a, b[j], out[j])


@kernel
def one_row(f32: Any, row: Any, a: int, b: int, out: int) -> None:
    """Compute one row of the output: every sum from 0 in the order of the depth, one fma a product."""
    columns, depth = row[SHAPE + 4], row[SHAPE + 5]
    a_k, b_n, b_k = row[STRIDES_A + 5], row[STRIDES_B + 4], row[STRIDES_B + 5]
    if b_n == 1:
        line = f32[out : out + columns]
        for j in range(columns):
            line[j] = np.float32(0.0)
        for k in range(depth):
            add_line(line, f32[a + k * a_k], f32[b + k * b_k : b + k * b_k + columns])
        return
    for j in range(columns):
        total = np.float32(0.0)
        for k in range(depth):
            total = fma_f32(f32[a + k * a_k], f32[b + j * b_n + k * b_k], total)
        f32[out + j] = total


@kernel
def matmul_f32(f32: Any, row: Any) -> int:
    """Run a MATMUL_F32 row, to a dense output."""
    total = 4 * f32.size
    work = count_of(row, 0, RANK, work_limit(total))
    if work < 0 or not fits(row[OUT], 4 * (work // row[SHAPE + 5]), 4, total):
        return INVALID
    if not (view_fits(row, STRIDES_A, row[IN_A], 4, total) and view_fits(row, STRIDES_B, row[IN_B], 4, total)):
        return INVALID
    rows, columns = row[SHAPE + 3], row[SHAPE + 4]
    out = row[OUT] // 4
    for batch in range(row[SHAPE] * row[SHAPE + 1] * row[SHAPE + 2]):
        a, b, rest = row[IN_A] // 4, row[IN_B] // 4, batch
        for i in range(BATCHES - 1, -1, -1):
            a += (rest % row[SHAPE + i]) * row[STRIDES_A + i]
            b += (rest % row[SHAPE + i]) * row[STRIDES_B + i]
            rest //= row[SHAPE + i]
        for m in range(rows):
            one_row(f32, row, a + m * row[STRIDES_A + 3], b, out)
            out += columns
    return OK
