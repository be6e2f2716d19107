"""Checks of a row that walks memory in strides, and typed access to elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.bounds import fits, volume
from node.kernels.inference.general.codes import BOOL, F32, I8, I32, I64, KINDS, RANK, SHAPE, STRIDES_A, STRIDES_B, U8

LARGEST_STRIDE = 1 << 31
"""Magnitude of a stride, so that no sum over six dimensions leaves 64 bits."""


@kernel
def size_of(kind: int) -> int:
    """Give the bytes of an element, 0 for an unknown kind."""
    if kind in (U8, I8, BOOL):
        return 1
    if kind in (I32, F32):
        return 4
    return 8 if kind == I64 else 0


@kernel
def kind_in(row: Any) -> Any:
    """Give the kind of the inputs."""
    return row[KINDS] & 7


@kernel
def kind_out(row: Any) -> Any:
    """Give the kind of the output."""
    return row[KINDS] >> 3


@kernel
def count_of(row: Any, first: int, last: int, limit: int) -> int:
    """Give the product of dimensions ``first`` to ``last - 1``, -1 where it is not in 1 .. limit."""
    product = 1
    for i in range(first, last):
        product = volume(product, row[SHAPE + i], 1, limit)
        if product < 0:
            return -1
    return product


@kernel
def view_fits(row: Any, strides: int, offset: int, item: int, total: int) -> bool:
    """Tell whether every element of a view lies inside the memory; its dimensions are known to be valid."""
    low, high = 0, 0
    for i in range(RANK):
        stride = row[strides + i]
        if stride < -LARGEST_STRIDE or stride > LARGEST_STRIDE:
            return False
        reach = stride * (row[SHAPE + i] - 1)
        low += min(reach, 0)
        high += max(reach, 0)
    if offset < 0 or offset > total or item < 1 or offset % item != 0:
        return False
    return offset // item + low >= 0 and fits(offset, (high + 1) * item, item, total)


@kernel
def line_start(row: Any, strides: int, line: int) -> Any:
    """Give the element at which a line along the last dimension begins, lines counted in row order."""
    place = 0
    for i in range(RANK - 2, 0, -1):
        size = row[SHAPE + i]
        # A division takes longer than all the rest, and most lines need none.
        if line < size:
            return place + line * row[strides + i]
        following = line // size
        place += (line - following * size) * row[strides + i]
        line = following
    return place + line * row[strides]


@kernel
def load(memory: Any, kind: int, index: int) -> Any:
    """Give an integer element as int64; ``index`` counts elements of its size."""
    u8, i32, i64 = memory
    if kind == U8:
        return np.int64(u8[index])
    if kind == I8:
        return np.int64(u8[index] ^ np.uint8(128)) - 128
    if kind == BOOL:
        return np.int64(u8[index] != 0)
    return np.int64(i32[index]) if kind == I32 else i64[index]


@kernel
def store(memory: Any, kind: int, index: int, value: int) -> None:
    """Store an int64 as an element, wrapped around; a bool is whether it is not 0."""
    u8, i32, i64 = memory
    if kind == BOOL:
        u8[index] = np.uint8(value != 0)
    elif kind in (U8, I8):
        u8[index] = np.uint8(value & 255)
    elif kind == I32:
        i32[index] = np.int32(value)
    else:
        i64[index] = value


@kernel
def binary_row_fits(row: Any, item: int, item_out: int, total: int) -> bool:
    """Check shape, both views and the dense output of an element-wise row."""
    size = count_of(row, 0, RANK, total)
    return (
        size > 0
        and view_fits(row, STRIDES_A, row[1], item, total)
        and view_fits(row, STRIDES_B, row[2], item, total)
        and item_out > 0
        and fits(row[3], size * item_out, item_out, total)
    )
