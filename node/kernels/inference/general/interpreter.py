"""The interpreter of general steps; the others belong to ``node.kernels.inference.dispatch``.

The two are compiled apart, so that a plain network never waits for the compiling of general kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
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


@kernel
def run_steps(memory: Any, table: Any, row: Any, first: int, last: int) -> int:
    """Run steps ``first`` up to, not including, ``last``; give -1, or the first step that is invalid.

    Parameters are those of :func:`node.kernels.inference.dispatch.run_steps`; the arena is a multiple of 8 bytes.
    """
    for step in range(first, last):
        for column in range(row.size):
            row[column] = table[step, column]
        if general_step(memory, row) != OK:
            return step
    return -1


@kernel
def general_step(memory: Any, row: Any) -> int:
    """Run one general step whose row lies outside the arena."""
    u8, i32, f32 = memory
    integers = (u8, i32, u8.view(np.int64))
    opcode = row[OPCODE]
    if opcode == BINARY_F32:
        return binary_f32(f32, row)
    if opcode == MAP_F32:
        return map_f32(f32, row)
    if opcode == MATMUL_F32:
        return matmul_f32(f32, row)
    if opcode == LSTM:
        return lstm(u8, f32, row)
    if opcode == GRU:
        return gru(u8, f32, row)
    if opcode == COMPARE_F32:
        return compare_f32(u8, f32, row)
    if opcode == CAST:
        return cast(integers, f32, row)
    if opcode == REDUCE_F32:
        return reduce_f32(integers, f32, row)
    if opcode in (COPY, SELECT, GATHER):
        return moved(integers, row, opcode)
    if opcode == BINARY_INT:
        return binary_int(integers, row)
    return reduce_int(integers, row) if opcode == REDUCE_INT else INVALID


@kernel
def moved(integers: Any, row: Any, opcode: int) -> int:
    """Run a step that moves elements."""
    if opcode == COPY:
        return copy(integers, row)
    return select(integers, row) if opcode == SELECT else gather(integers, row)


def warm() -> None:
    """Compile or load the interpreter, hence every kernel of general steps, for the types of an arena."""
    u8 = np.zeros(64, np.uint8)
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    run_steps(memory, np.zeros((1, 32), np.int64), np.zeros(32, np.int64), 0, 1)
