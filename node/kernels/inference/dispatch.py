"""The interpreter of the step table: one compiled call for any run of steps."""

from __future__ import annotations

from typing import Any

from node.jit import part
from node.kernels.inference.columns import INVALID, OK, OPCODE
from node.kernels.inference.kinds import BYTES, FLOATS, INT, MEMORY, ROW, TABLE
from node.kernels.inference.pointwise_f32 import add_f32, clamp_f32, softmax_f32
from node.kernels.inference.pointwise_int8 import add_int8, dequantize, quantize, requantize
from node.kernels.inference.pool_f32 import pool_f32
from node.kernels.inference.pool_int8 import pool_int8
from node.kernels.inference.transpose import transpose
from node.kernels.inference.windows import is_window, run_window

CONV_F32, DEPTHWISE_F32, ADD_F32, CLAMP_F32 = 1, 2, 3, 4
MAX_POOL_F32, AVERAGE_POOL_F32, SOFTMAX_F32, TRANSPOSE = 5, 6, 7, 8
QUANTIZE, DEQUANTIZE, CONV_INT8, DEPTHWISE_INT8 = 9, 10, 11, 12
ADD_INT8, MAX_POOL_INT8, AVERAGE_POOL_INT8, REQUANTIZE = 13, 14, 15, 16


@part(INT, MEMORY, TABLE, ROW, INT, INT)
def run_steps(memory: Any, table: Any, row: Any, first: int, last: int) -> int:
    """Run steps ``first`` up to, not including, ``last``; give -1, or the first step that is invalid.

    Parameters
    ----------
    memory : tuple of ndarray
        The whole arena as uint8, int32 and float32; after its uint8 the scratch of each thread, where there are more.
    table : ndarray of int64, [steps, columns]
        The step table, in the arena.
    row : ndarray of int64, [columns]
        Working memory outside the arena: a step is copied there, checked, then run, so that what was
        checked is what is run, even where a struck step writes over the table. A crew's words follow, see ``crew``.
    first, last : int
        The caller sees to it that they lie in the table. A helper of a crew gives -1 and its number: it takes pieces
        of the steps that another call with the same ``row`` runs (in this function, lest all be compiled twice).
    """
    whole, i32, f32 = memory
    total, columns = 4 * i32.size, table.shape[1]
    if first < 0:
        run_window(whole, total, row, last)
        return -1
    u8 = whole[:total]
    for step in range(first, last):
        for column in range(columns):
            row[column] = table[step, column]
        opcode = row[OPCODE]
        status = INVALID
        if is_window(opcode):
            status = run_window(whole, total, row, 0 if row.size > columns else -1)
        elif opcode in (MAX_POOL_F32, AVERAGE_POOL_F32):
            status = pool_f32(f32, row, opcode == MAX_POOL_F32)
        elif opcode in (MAX_POOL_INT8, AVERAGE_POOL_INT8):
            status = pool_int8(u8, i32, f32, row, opcode == MAX_POOL_INT8)
        elif opcode in (ADD_F32, CLAMP_F32, SOFTMAX_F32):
            status = pointwise_f32(f32, row, opcode)
        elif opcode == TRANSPOSE:
            status = transpose(u8, i32, row)
        elif opcode in (QUANTIZE, DEQUANTIZE, REQUANTIZE, ADD_INT8):
            status = pointwise_int8(u8, f32, row, opcode)
        if status != OK:
            return step
    return -1


@part(INT, FLOATS, ROW, INT)
def pointwise_f32(f32: Any, row: Any, opcode: int) -> int:
    """Run a float step that works value by value."""
    if opcode == ADD_F32:
        return add_f32(f32, row)
    if opcode == CLAMP_F32:
        return clamp_f32(f32, row)
    return softmax_f32(f32, row)


@part(INT, BYTES, FLOATS, ROW, INT)
def pointwise_int8(u8: Any, f32: Any, row: Any, opcode: int) -> int:
    """Run a step on bytes that works value by value."""
    if opcode == QUANTIZE:
        return quantize(u8, f32, row)
    if opcode == DEQUANTIZE:
        return dequantize(u8, f32, row)
    if opcode == REQUANTIZE:
        return requantize(u8, f32, row)
    return add_int8(u8, f32, row)
