"""Product of two activations, with broadcast leading dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import fma_f32, intrinsic, ir, kernel, part, types
from node.kernels.inference.bounds import fits, work_limit
from node.kernels.inference.columns import IN_A, IN_B, INVALID, OK, OUT
from node.kernels.inference.general.codes import RANK, SHAPE, STRIDES_A, STRIDES_B
from node.kernels.inference.general.views import count_of, view_fits
from node.kernels.inference.kinds import BYTES, FLOATS, INT, ROW
from node.kernels.inference.tiles import LANES, Lanes

BATCHES = 3
"""Dimensions 0 to 2 are leading ones; 3, 4, 5 are rows, columns and depth."""


def _make_line(panels: int) -> Any:
    @intrinsic
    def line(typing_context: Any, memory: Any, left: Any, right: Any, depth: Any, out: Any) -> Any:
        del typing_context, depth, out

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            b, wide = builder, ir.IntType(64)
            (left, left_step), (right, right_step) = (
                [b.extract_value(pair, i) for i in range(2)] for pair in arguments[1:3]
            )
            entry, loop, done = b.block, b.append_basic_block("product"), b.append_basic_block("summed")
            b.branch(loop)
            b.position_at_end(loop)
            k, value, column = (b.phi(wide) for _ in range(3))
            sums = [b.phi(lanes.floats) for _ in range(panels)]
            factor = lanes.splat(lanes.load(lanes.single, value))
            new = [
                lanes.call("llvm.fma", [factor, lanes.load(lanes.floats, b.add(column, wide(4 * LANES * p))), sums[p]])
                for p in range(panels)
            ]
            following = [b.add(k, wide(1)), b.add(value, left_step), b.add(column, right_step)]
            zero = ir.Constant(lanes.floats, None)
            for phi, first, later in zip((k, value, column), (wide(0), left, right), following, strict=True):
                phi.add_incoming(first, entry)
                phi.add_incoming(later, loop)
            for phi, later in zip(sums, new, strict=True):
                phi.add_incoming(zero, entry)
                phi.add_incoming(later, loop)
            b.cbranch(b.icmp_signed("<", following[0], arguments[3]), loop, done)
            b.position_at_end(done)
            for p in range(panels):
                lanes.store(new[p], b.add(arguments[4], wide(4 * LANES * p)))
            return context.get_dummy_value()

        return types.void(memory, left, right, types.int64, types.int64), codegen

    return line


line_f32 = _make_line(1)
"""Sixteen sums of products, each from 0 in the order of the depth by fma.

``line_f32(memory, (left, step), (right, step), depth, out)``: places and steps in bytes. Each factor of the left meets
sixteen neighbours of the right.
"""

line_wide_f32 = _make_line(4)
"""As :data:`line_f32` for 64 neighbours."""


@kernel
def whole_row(u8: Any, left: Any, right: Any, size: Any, out: int) -> None:
    """Compute one row of the output from neighbouring columns; ``size`` is their number, at least 16, and the depth.

    The last sixteen move back to be whole: columns that come twice come out the same.
    """
    columns, depth = size
    column = 0
    while column < columns:
        place = min(column, columns - LANES)
        start = (right[0] + 4 * place, right[1])
        if columns - column >= 4 * LANES:
            line_wide_f32(u8, left, start, depth, out + 4 * place)
            column += 4 * LANES
        else:
            line_f32(u8, left, start, depth, out + 4 * place)
            column += LANES


@kernel
def add_line(out: Any, a: Any, b: Any) -> None:
    """Add a times a line to a line."""
    for j in range(out.size):
        out[j] = fma_f32(a, b[j], out[j])


@kernel
def one_row(u8: Any, f32: Any, row: Any, a: int, b: int, out: int) -> None:
    """Compute one row of the output: every sum from 0 in the order of the depth, one fma a product."""
    columns, depth = row[SHAPE + 4], row[SHAPE + 5]
    a_k, b_n, b_k = row[STRIDES_A + 5], row[STRIDES_B + 4], row[STRIDES_B + 5]
    if b_n == 1 and columns >= LANES:
        whole_row(u8, (4 * a, 4 * a_k), (4 * b, 4 * b_k), (columns, depth), 4 * out)
        return
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


@part(INT, BYTES, FLOATS, ROW)
def matmul_f32(u8: Any, f32: Any, row: Any) -> int:
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
            one_row(u8, f32, row, a + m * row[STRIDES_A + 3], b, out)
            out += columns
    return OK
