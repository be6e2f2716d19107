"""Some moments of LSTM and GRU: the state lies in the arena, between them and during them.

The part of the gates that comes from the input is computed beforehand for the whole sequence; here the state
is multiplied with packed weights, each sum in the order of the state, and the gates are applied. The last dimension of
a row is how many moments it computes: the first from IN_B, each other one from the output of the one before it.
STRIDES_A are the elements from sample to sample and from moment to moment of the inputs, the second of STRIDES_B those
from output to output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, kernel, part
from node.kernels.inference.bounds import fits, volume, work_limit
from node.kernels.inference.columns import BIAS, IN_A, IN_B, INVALID, OK, OUT, SCALES, SCRATCH, WEIGHTS
from node.kernels.inference.general.codes import ALPHA, FUNCTION, SHAPE, STRIDES_A, STRIDES_B
from node.kernels.inference.general.functions import unary
from node.kernels.inference.general.views import LARGEST_STRIDE
from node.kernels.inference.kinds import BYTES, FLOATS, INT, ROW
from node.kernels.inference.limits import LARGEST_DIMENSION
from node.kernels.inference.tiles import LANES, tile_f32_row, tile_f32_wide_row

MOMENTS, NEXT_INPUT, NEXT_OUTPUT = SHAPE + 5, STRIDES_A + 1, STRIDES_B + 1
"""Columns: the moments of a row, and the elements from one to the next."""

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
def moments_fit(place: int, size: int, stride: int, moments: int, total: int) -> bool:
    """Tell whether ``size`` floats lie inside the memory at every moment, ``stride`` after those of the one before."""
    if not -LARGEST_STRIDE <= stride <= LARGEST_STRIDE:
        return False
    reach = 4 * stride * (moments - 1)
    return fits(place, 4 * size, 4, total) and fits(place + reach, 4 * size, 4, total)


@kernel
def next_moment(row: Any) -> None:
    """Move a row on: its output is the state of the next moment."""
    row[IN_B] = row[OUT]
    row[IN_A] += 4 * row[NEXT_INPUT]
    row[OUT] += 4 * row[NEXT_OUTPUT]


@kernel
def row_fits(row: Any, gates: int, total: int) -> bool:
    """Check what LSTM and GRU have in common: sizes, gates, state and output."""
    batch, hidden, stride = row[SHAPE], row[SHAPE + 1], row[STRIDES_A]
    size, moments = volume(batch, hidden, 1, total), row[MOMENTS]
    columns = gates * hidden
    if size < 0 or stride < columns or stride > total or moments < 1 or moments > LARGEST_DIMENSION:
        return False
    if size * moments > work_limit(total) // padded(columns):
        return False
    return (
        moments_fit(row[IN_A], (batch - 1) * stride + padded(columns), row[NEXT_INPUT], moments, total)
        and fits(row[IN_B], 4 * size, 4, total)
        and moments_fit(row[OUT], size, row[NEXT_OUTPUT], moments, total)
    )


@part(INT, BYTES, FLOATS, ROW)
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
    for _ in range(row[MOMENTS]):
        for n in range(row[SHAPE]):
            operands = (row[WEIGHTS], row[IN_A] + 4 * n * row[STRIDES_A], columns)
            row_product(u8, row[IN_B] + 4 * n * hidden, hidden, operands, row[SCRATCH])
            cell_state(f32, row, row[SCALES] // 4 + n * hidden, row[OUT] // 4 + n * hidden)
        next_moment(row)
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


@part(INT, BYTES, FLOATS, ROW)
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
    read = (row[SHAPE] - 1) * row[STRIDES_A] + 2 * hidden + single
    if not (
        fits(row[WEIGHTS], 4 * hidden * pair, 4, total)
        and fits(row[SCALES], 4 * hidden * single, 4, total)
        and fits(row[SCRATCH], 4 * (pair + 2 * single), 4, total)
        and moments_fit(row[IN_A], read, row[NEXT_INPUT], row[MOMENTS], total)
        and (not before or fits(row[BIAS], 4 * single, 4, total))
    ):
        return INVALID
    for _ in range(row[MOMENTS]):
        for n in range(row[SHAPE]):
            gru_sums(u8, f32, row, n, before)
            blend(f32, row, n, before)
        next_moment(row)
    return OK


@kernel
def gru_sums(u8: Any, f32: Any, row: Any, n: int, before: bool) -> None:
    """Write the sums of one sample into the scratch."""
    hidden = row[SHAPE + 1]
    pair, single = padded(2 * hidden), padded(hidden)
    state, inputs = row[IN_B] + 4 * n * hidden, row[IN_A] + 4 * n * row[STRIDES_A]
    row_product(u8, state, hidden, (row[WEIGHTS], inputs, pair), row[SCRATCH])
    left = state if before else row[SCRATCH] + 4 * (pair + single)
    bias = row[BIAS] if before else inputs + 8 * hidden
    if not before:
        for j in range(hidden):
            reset = gate(row, 0, f32[row[SCRATCH] // 4 + hidden + j])
            f32[left // 4 + j] = reset * f32[state // 4 + j]
    row_product(u8, left, hidden, (row[SCALES], bias, single), row[SCRATCH] + 4 * pair)


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
