"""The interpreter of general steps; the others belong to ``node.kernels.inference.dispatch``.

The two are compiled apart, so that a plain network never waits for the compiling of general kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import part
from node.kernels.inference.columns import INVALID, OK, OPCODE
from node.kernels.inference.general.codes import (
    BINARY_F32,
    BINARY_INT,
    CAST,
    COMPARE_F32,
    COPY,
    GATHER,
    GRU,
    LSTM,
    MAP_F32,
    MATMUL_F32,
    REDUCE_F32,
    REDUCE_INT,
    SELECT,
)
from node.kernels.inference.general.copy import copy, gather, select
from node.kernels.inference.general.elementwise import binary_f32, compare_f32, map_f32
from node.kernels.inference.general.integers import binary_int, cast
from node.kernels.inference.general.matmul import matmul_f32
from node.kernels.inference.general.recurrent import gru, lstm
from node.kernels.inference.general.reduce import reduce_f32, reduce_int
from node.kernels.inference.kinds import INT, MEMORY, ROW, TABLE


@part(INT, MEMORY, TABLE, ROW, INT, INT)
def run_steps(memory: Any, table: Any, row: Any, first: int, last: int) -> int:
    """Run steps ``first`` up to, not including, ``last``; give -1, or the first step that is invalid.

    Parameters are those of :func:`node.kernels.inference.dispatch.run_steps`; the arena is a multiple of 8 bytes.
    All in one function, since each level of calls is optimised once more by the compiler.
    """
    whole, i32, f32 = memory
    u8 = whole[: 4 * i32.size]
    integers = (u8, i32, u8.view(np.int64))
    for step in range(first, last):
        for column in range(table.shape[1]):
            row[column] = table[step, column]
        opcode = row[OPCODE]
        status = INVALID
        if opcode == BINARY_F32:
            status = binary_f32(f32, row)
        elif opcode == MAP_F32:
            status = map_f32(f32, row)
        elif opcode == MATMUL_F32:
            status = matmul_f32(u8, f32, row)
        elif opcode == COPY:
            status = copy(integers, row)
        elif opcode == GATHER:
            status = gather(integers, row)
        elif opcode == SELECT:
            status = select(integers, row)
        elif opcode == REDUCE_F32:
            status = reduce_f32(integers, f32, row)
        elif opcode == LSTM:
            status = lstm(u8, f32, row)
        elif opcode == GRU:
            status = gru(u8, f32, row)
        elif opcode == CAST:
            status = cast(integers, f32, row)
        elif opcode == COMPARE_F32:
            status = compare_f32(u8, f32, row)
        elif opcode == BINARY_INT:
            status = binary_int(integers, row)
        elif opcode == REDUCE_INT:
            status = reduce_int(integers, row)
        if status != OK:
            return step
    return -1
