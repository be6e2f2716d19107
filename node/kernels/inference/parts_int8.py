"""The integer half of the interpreter's kernels, compiled ahead of it."""

from __future__ import annotations

import numpy as np

from node.jit import entry_of
from node.kernels.inference.conv_int8 import begin_conv_int8, by_chunks_int8, by_lines_int8
from node.kernels.inference.depthwise_int8 import depthwise_part_int8
from node.kernels.inference.dispatch import pointwise_int8
from node.kernels.inference.pool_int8 import pool_int8
from node.kernels.inference.transpose import transpose


def warm() -> None:
    """Compile or load them for the types that :func:`node.kernels.inference.dispatch.run_steps` calls them with."""
    u8, row = np.zeros(64, np.uint8), np.zeros(32, np.int64)
    i32, f32 = u8.view(np.int32), u8.view(np.float32)
    unchecked = row[:0]
    entry_of(begin_conv_int8, u8, row, unchecked)
    entry_of(by_chunks_int8, u8, row, (0,) * 6, 0, unchecked)
    entry_of(by_lines_int8, u8, row, (0, 0), 0, unchecked)
    entry_of(depthwise_part_int8, u8, row, 0, 0)
    entry_of(pool_int8, u8, i32, f32, row, True)
    entry_of(pointwise_int8, u8, f32, row, 0)
    entry_of(transpose, u8, i32, row)
