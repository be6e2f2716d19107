"""One time step of LSTM and GRU: the state lies in the arena, between steps and during them.

The part of the gates that comes from the input is computed beforehand for the whole sequence; here the state
is multiplied with packed weights, each sum in the order of the state, and the gates are applied.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, kernel
from node.kernels.inference.bounds import fits, volume, work_limit
from node.kernels.inference.columns import BIAS, IN_A, IN_B, INVALID, OK, OUT, SCALES, SCRATCH, WEIGHTS
from node.kernels.inference.general.codes import ALPHA, FUNCTION, SHAPE, STRIDES_A
from node.kernels.inference.general.functions import unary
from node.kernels.inference.tiles import LANES, tile_f32_row, tile_f32_wide_row

PEEPHOLES, COUPLED, LINEAR_BEFORE_RESET = 1, 2, 4
"""Bits of FUNCTION."""

SLOPE, MIDDLE = np.float32(0.2), np.float32(0.5)
"""Parameters of a HardSigmoid, as ONNX sets them."""

OPEN = (np.float32(-np.inf), np.float32(np.inf))


@kernel
def padded(count: int) -> int:
    """Give a count rounded up to whole panels."""
    return (count + LANES - 1) // LANES * LANES


@kernel
def row_product(u8: Any, left: int, depth: int, operands: Any, out: int) -> None:
    """Write bias + left @ weights; ``operands`` are weights, bias (places) and the padded number of columns."""
    weights, bias, columns = operands
    done = 0
    while done < columns:
        place, shift = weights + 4 * done * depth, 4 * done
        if columns - done >= 4 * LANES:
            tile_f32_wide_row(u8, left, depth, place, depth, bias + shift, out + shift, LANES, OPEN)
            done += 4 * LANES
        else:
            tile_f32_row(u8, left, depth, place, depth, bias + shift, out + shift, LANES, OPEN)
            done += LANES


@kernel
def gate(row: Any, which: int, value: Any) -> Any:
    """Give a gate's function of a sum, clipped before."""
    limit = f32_from_bits(row[ALPHA])
    value = limit if value > limit else value
    value = -limit if value < -limit else value
    return unary(row[SHAPE + 2 + which], value, SLOPE, MIDDLE)


@kernel
def row_fits(row: Any, gates: int, total: int) -> bool:
    """Check what LSTM and GRU have in common: sizes, gates, state and output."""
    batch, hidden, stride = row[SHAPE], row[SHAPE + 1], row[STRIDES_A]
    size = volume(batch, hidden, 1, total)
    columns = gates * hidden
    if size < 0 or stride < columns or stride > total or batch * hidden > work_limit(total) // padded(columns):
        return False
    return (
        fits(row[IN_A], 4 * ((batch - 1) * stride + padded(columns)), 4, total)
        and fits(row[IN_B], 4 * size, 4, total)
        and fits(row[OUT], 4 * size, 4, total)
    )


@kernel
def lstm(u8: Any, f32: Any, row: Any) -> int:
    """Run an LSTM row; gates lie in the order input, output, forget, cell.

    WEIGHTS are [4 hidden] columns in panels, BIAS three peepholes, SCALES the cell state, which is updated in
    place, SCRATCH one row of gates.
    """
    total = u8.size
    if not row_fits(row, 4, total):
        return INVALID
    hidden = row[SHAPE + 1]
    columns = padded(4 * hidden)
    if not (
        fits(row[WEIGHTS], 4 * hidden * columns, 4, total)
        and fits(row[SCALES], 4 * row[SHAPE] * hidden, 4, total)
        and fits(row[SCRATCH], 4 * columns, 4, total)
        and (row[FUNCTION] & PEEPHOLES == 0 or fits(row[BIAS], 12 * hidden, 4, total))
    ):
        return INVALID
    for n in range(row[SHAPE]):
        operands = (row[WEIGHTS], row[IN_A] + 4 * n * row[STRIDES_A], columns)
        row_product(u8, row[IN_B] + 4 * n * hidden, hidden, operands, row[SCRATCH])
        cell_state(f32, row, row[SCALES] // 4 + n * hidden, row[OUT] // 4 + n * hidden)
    return OK


@kernel
def cell_state(f32: Any, row: Any, cell: int, out: int) -> None:
    """Apply the gates of one sample in the scratch to its cell state, and write its output."""
    hidden, flags = row[SHAPE + 1], row[FUNCTION]
    sums, peephole = row[SCRATCH] // 4, row[BIAS] // 4
    for j in range(hidden):
        old = f32[cell + j]
        i, o, f = f32[sums + j], f32[sums + hidden + j], f32[sums + 2 * hidden + j]
        if flags & PEEPHOLES:
            i += f32[peephole + j] * old
            f += f32[peephole + 2 * hidden + j] * old
        i = gate(row, 0, i)
        f = np.float32(1.0) - i if flags & COUPLED else gate(row, 0, f)
        new = f * old + i * gate(row, 1, f32[sums + 3 * hidden + j])
        if flags & PEEPHOLES:
            o += f32[peephole + hidden + j] * new
        f32[cell + j] = new
        f32[out + j] = gate(row, 0, o) * unary(row[SHAPE + 4], new, SLOPE, MIDDLE)


@kernel
def gru(u8: Any, f32: Any, row: Any) -> int:
    """Run a GRU row; gates lie in the order update, reset, hidden.

    WEIGHTS are the columns of update and reset, SCALES those of the hidden gate, both in panels, BIAS the hidden
    gate's own bias where it is applied before the reset, SCRATCH rows of two gates, of one, and of the state.
    """
    total = u8.size
    if not row_fits(row, 3, total):
        return INVALID
    hidden = row[SHAPE + 1]
    pair, single = padded(2 * hidden), padded(hidden)
    before = row[FUNCTION] & LINEAR_BEFORE_RESET != 0
    if not (
        fits(row[WEIGHTS], 4 * hidden * pair, 4, total)
        and fits(row[SCALES], 4 * hidden * single, 4, total)
        and fits(row[SCRATCH], 4 * (pair + 2 * single), 4, total)
        and fits(row[IN_A], 4 * ((row[SHAPE] - 1) * row[STRIDES_A] + 2 * hidden + single), 4, total)
        and (not before or fits(row[BIAS], 4 * single, 4, total))
    ):
        return INVALID
    for n in range(row[SHAPE]):
        state, inputs = row[IN_B] + 4 * n * hidden, row[IN_A] + 4 * n * row[STRIDES_A]
        row_product(u8, state, hidden, (row[WEIGHTS], inputs, pair), row[SCRATCH])
        left = state if before else row[SCRATCH] + 4 * (pair + single)
        bias = row[BIAS] if before else inputs + 8 * hidden
        if not before:
            for j in range(hidden):
                reset = gate(row, 0, f32[row[SCRATCH] // 4 + hidden + j])
                f32[left // 4 + j] = reset * f32[state // 4 + j]
        row_product(u8, left, hidden, (row[SCALES], bias, single), row[SCRATCH] + 4 * pair)
        blend(f32, row, n, before)
    return OK


@kernel
def blend(f32: Any, row: Any, n: int, before: bool) -> None:
    """Write the output of one sample from its sums in the scratch."""
    hidden = row[SHAPE + 1]
    sums, state, out = row[SCRATCH] // 4, row[IN_B] // 4 + n * hidden, row[OUT] // 4 + n * hidden
    fresh = sums + padded(2 * hidden)
    inputs = row[IN_A] // 4 + n * row[STRIDES_A] + 2 * hidden
    for j in range(hidden):
        value = f32[fresh + j]
        if before:
            value = f32[inputs + j] + gate(row, 0, f32[sums + hidden + j]) * value
        update = gate(row, 0, f32[sums + j])
        f32[out + j] = (np.float32(1.0) - update) * gate(row, 1, value) + update * f32[state + j]
