"""Weights of nine bits: bytes around a zero point that is not in their middle, as uint8 quantisers make them.

The kernels multiply int8. A weight beyond is the sum of some that are not, each with an input of its own: the channels
of the input lie there several times, and the sum of products is exactly that of the wide weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.compiler.graph import Array, Node
from hil.compiler.lowering import Lowering, QuantisedConstant
from hil.compiler.program import Tensor, memory_order
from hil.compiler.views import copied, view_of


def integer_weights(weights: QuantisedConstant, axis: int) -> tuple[Array, int]:
    """Give weights without zero point as int8, and in how many parts they lie one after the other along ``axis``."""
    rest = weights.integers.astype(np.int32) - weights.along_axis(weights.zero).astype(np.int32)
    parts = [np.clip(rest, -128, 127)]
    rest = rest - parts[0]
    while rest.any():
        parts.append(np.clip(rest, -128, 127))
        rest = rest - parts[-1]
    return np.concatenate(parts, axis).astype(np.int8), len(parts)


def repeated(low: Lowering, node: Node, source: Tensor, times: int, groups: int = 1) -> Tensor:
    """Give a tensor with the channels of each group several times; they are the last dimension in memory."""
    if times == 1:
        return source
    order = memory_order(len(source.shape), source.channels_last)
    view = view_of(source).permuted(order)
    channels, stride = view.shape[-1], view.strides[-1]
    parts = (*view.shape[:-1], groups, times, channels // groups)
    steps = (*view.strides[:-1], stride * (channels // groups), 0, stride)
    buffer = copied(low, f"{node.name}.repeated", replace(view, shape=parts, strides=steps)).buffer
    shape = tuple(times * size if i == order[-1] else size for i, size in enumerate(source.shape))
    return replace(source, buffer=buffer, shape=shape)
