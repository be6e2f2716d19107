"""The float half of the interpreter's kernels and its checks, compiled ahead of it."""

from __future__ import annotations

import numpy as np

from node.jit import entry_of
from node.kernels.inference.conv_f32 import by_chunks_f32, by_lines_f32
from node.kernels.inference.depthwise_f32 import depthwise_part_f32
from node.kernels.inference.dispatch import pointwise_f32
from node.kernels.inference.pool_f32 import pool_f32
from node.kernels.inference.shares import share_of
from node.kernels.inference.windows import needs_of, pieces_of


def warm() -> None:
    """Compile or load them for the types that :func:`node.kernels.inference.dispatch.run_steps` calls them with."""
    u8, row = np.zeros(64, np.uint8), np.zeros(32, np.int64)
    entry_of(needs_of, row, 0)
    entry_of(pieces_of, row, 0)
    entry_of(share_of, row, True, 0, 0)
    entry_of(by_chunks_f32, u8, row, (0,) * 6, 0, (row[:0], 0))
    entry_of(by_lines_f32, u8, row, (0, 0), 0, (row[:0], 0))
    entry_of(depthwise_part_f32, u8, row, 0, 0)
    entry_of(pool_f32, u8.view(np.float32), row, True)
    entry_of(pointwise_f32, u8.view(np.float32), row, 0)
