"""The interpreter of the step table: one compiled call for any run of steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.columns import INVALID, OK, OPCODE
from node.kernels.inference.conv_f32 import conv_f32
from node.kernels.inference.conv_int8 import conv_int8
from node.kernels.inference.depthwise_f32 import depthwise_f32
from node.kernels.inference.depthwise_int8 import depthwise_int8
from node.kernels.inference.pointwise_f32 import add_f32, clamp_f32, softmax_f32
from node.kernels.inference.pointwise_int8 import add_int8, dequantize, quantize, requantize
from node.kernels.inference.pool_f32 import pool_f32
from node.kernels.inference.pool_int8 import pool_int8
from node.kernels.inference.transpose import transpose

CONV_F32, DEPTHWISE_F32, ADD_F32, CLAMP_F32 = 1, 2, 3, 4
MAX_POOL_F32, AVERAGE_POOL_F32, SOFTMAX_F32, TRANSPOSE = 5, 6, 7, 8
QUANTIZE, DEQUANTIZE, CONV_INT8, DEPTHWISE_INT8 = 9, 10, 11, 12
ADD_INT8, MAX_POOL_INT8, AVERAGE_POOL_INT8, REQUANTIZE = 13, 14, 15, 16


@kernel
def run_float(u8: Any, i32: Any, f32: Any, row: Any) -> int:
    """Run a row whose opcode is below QUANTIZE."""
    opcode = row[OPCODE]
    if opcode == CONV_F32:
        return conv_f32(u8, i32, f32, row)
    if opcode == DEPTHWISE_F32:
        return depthwise_f32(f32, row)
    if opcode == ADD_F32:
        return add_f32(f32, row)
    if opcode == CLAMP_F32:
        return clamp_f32(f32, row)
    if opcode in (MAX_POOL_F32, AVERAGE_POOL_F32):
        return pool_f32(f32, row, opcode == MAX_POOL_F32)
    if opcode == SOFTMAX_F32:
        return softmax_f32(f32, row)
    if opcode == TRANSPOSE:
        return transpose(u8, i32, row)
    return INVALID


@kernel
def run_integer(u8: Any, i32: Any, f32: Any, row: Any) -> int:
    """Run a row whose opcode is QUANTIZE or above."""
    opcode = row[OPCODE]
    if opcode == CONV_INT8:
        return conv_int8(u8, i32, row)
    if opcode == DEPTHWISE_INT8:
        return depthwise_int8(u8, i32, f32, row)
    if opcode == ADD_INT8:
        return add_int8(u8, f32, row)
    if opcode in (MAX_POOL_INT8, AVERAGE_POOL_INT8):
        return pool_int8(u8, i32, f32, row, opcode == MAX_POOL_INT8)
    if opcode == QUANTIZE:
        return quantize(u8, f32, row)
    if opcode == DEQUANTIZE:
        return dequantize(u8, f32, row)
    if opcode == REQUANTIZE:
        return requantize(u8, f32, row)
    return INVALID


@kernel
def run_steps(memory: Any, table: Any, row: Any, first: int, last: int) -> int:
    """Run steps ``first`` up to, not including, ``last``.

    Parameters
    ----------
    memory : tuple of ndarray
        The whole arena as uint8, int32 and float32.
    table : ndarray of int64, [steps, columns]
        The step table, in the arena.
    row : ndarray of int64, [columns]
        Working memory outside the arena: a step is copied there, checked, then run, so that what was
        checked is what is run, even where a struck step writes over the table.
    first, last : int
        The caller sees to it that they lie in the table.

    Returns
    -------
    int
        -1, or the number of the first step that is invalid; nothing of that step was done.
    """
    u8, i32, f32 = memory
    for step in range(first, last):
        for column in range(row.size):
            row[column] = table[step, column]
        is_float = row[OPCODE] < QUANTIZE
        status = run_float(u8, i32, f32, row) if is_float else run_integer(u8, i32, f32, row)
        if status != OK:
            return step
    return -1


def warm() -> None:
    """Compile or load the interpreter, hence every inference kernel, for the types of an arena."""
    u8 = np.zeros(64, np.uint8)
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    run_steps(memory, np.zeros((1, 32), np.int64), np.zeros(32, np.int64), 0, 1)
