"""The step table: what each operator of a compiled model does, as one row of 64-bit integers.

Every row has the same columns; an operator leaves those it does not read at 0. Places are byte offsets into
the arena. Activations are kept channels last, [height][width][channel], without a batch dimension; a vector
is one pixel. The table lies in the arena itself, so a struck row has effect: every kernel checks the row
before it reads or writes anything.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

STEP_WORDS = 32
"""Words of a row; those after the last column are 0."""


class Opcode(IntEnum):
    """What a row asks for."""

    CONV_F32 = 1
    """Convolution, or product with a matrix as a 1 x 1 convolution, any groups; weights in panels of 16."""
    DEPTHWISE_F32 = 2
    """Convolution of each channel by itself; weights [kernel_h][kernel_w][channel]."""
    ADD_F32 = 3
    """a + b, where b is repeated every ``count`` values."""
    CLAMP_F32 = 4
    """Limits to [low, high]; NaN passes."""
    MAX_POOL_F32 = 5
    """Largest value of each window; NaN wins."""
    AVERAGE_POOL_F32 = 6
    """Mean of each window; ``count`` 1 counts the padding too."""
    SOFTMAX_F32 = 7
    """exp(x - max) / sum over the last axis."""
    TRANSPOSE = 8
    """[in_h][in_w] to [in_w][in_h] of elements of ``count`` bytes, 1 or 4."""
    QUANTIZE = 9
    """clamp(round_half_even(x / scale) + zero point); NaN becomes the zero point."""
    DEQUANTIZE = 10
    """(q - zero point) * scale."""
    CONV_INT8 = 11
    """As CONV_F32 with int8 weights, int32 sums and one float32 multiplier for each output channel."""
    DEPTHWISE_INT8 = 12
    """As DEPTHWISE_F32 in integers."""
    ADD_INT8 = 13
    """Sum of two dequantised values, quantised again; scales are (a, b, out)."""
    MAX_POOL_INT8 = 14
    """Largest value of each window."""
    AVERAGE_POOL_INT8 = 15
    """Mean of each window as int32 sum, requantised with scale_in / scale_out."""
    REQUANTIZE = 16
    """Changes scale and zero point: scales are (in, out)."""

    # From here on rows hold a shape of six dimensions and strides: see node.model.views.
    COPY = 17
    """Elements of view a to view b, which begins at the output's place."""
    MAP_F32 = 18
    """A function of each value."""
    BINARY_F32 = 19
    """A function of two views."""
    COMPARE_F32 = 20
    """A comparison of two views of floats, as bytes 0 and 1."""
    BINARY_INT = 21
    """A function of two views of integers or truth values, wrapped around."""
    SELECT = 22
    """Elements of b to the output where the truth values a are not 0; the others stay."""
    CAST = 23
    """Another type; floats are rounded towards zero, integers wrap around."""
    REDUCE_F32 = 24
    """Sum, mean, extreme or its place over the last three dimensions; sums in float64."""
    REDUCE_INT = 25
    """As REDUCE_F32 in 64-bit integers."""
    MATMUL_F32 = 26
    """Product of two activations; dimensions are three leading ones, rows, columns, depth."""
    GATHER = 27
    """Chosen indices of an axis; dimensions are outer, axis, number of indices, inner."""
    LSTM = 28
    """Some moments of an LSTM, one after the other."""
    GRU = 29
    """Some moments of a GRU, one after the other."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One row, its columns in order.

    Parameters
    ----------
    opcode : int
        An :class:`Opcode`.
    in_a, in_b, out : int
        Places of the inputs and the output.
    weights, bias : int
        Places of the packed parameters.
    scales : int
        Place of the float32 scales or multipliers of an integer step.
    scratch : int
        Place of the working memory: gathered input rows, sums of a ragged panel.
    in_h, in_w, in_c, out_h, out_w, out_c : int
        Shapes; element-wise steps use ``in_c`` as the number of values.
    kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w, groups : int
        The window.
    low, high : int
        Limits of the output: bits of a float32, or quantised values.
    zero_a, zero_b, zero_out : int
        Zero points.
    signed : int
        Bit 0, 1, 2: input a, input b, output hold int8, else uint8.
    count : int
        Period of b, counting of padding, or bytes of an element, see :class:`Opcode`.
    """

    opcode: int
    in_a: int = 0
    in_b: int = 0
    out: int = 0
    weights: int = 0
    bias: int = 0
    scales: int = 0
    scratch: int = 0
    in_h: int = 1
    in_w: int = 1
    in_c: int = 1
    out_h: int = 1
    out_w: int = 1
    out_c: int = 1
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1
    low: int = 0
    high: int = 0
    zero_a: int = 0
    zero_b: int = 0
    zero_out: int = 0
    signed: int = 0
    count: int = 0

    def placed(self, places: dict[str, int]) -> Step:
        """Give the step with some of its places filled in."""
        return replace(self, **places)

    def row(self) -> NDArray[np.int64]:
        """Give the row, int64 [STEP_WORDS]."""
        words = np.zeros(STEP_WORDS, np.int64)
        values = astuple(self)
        words[: len(values)] = values
        return words

    @classmethod
    def from_row(cls, row: NDArray[np.int64]) -> Step:
        """Read a row back."""
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, map(int, row), strict=False)))


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Step))
"""Names of the columns, in order."""


def float_bits(value: float) -> int:
    """Give the bits of a value as float32, as the ``low`` and ``high`` columns hold them.

    Examples
    --------
    >>> hex(float_bits(1.0))
    '0x3f800000'
    """
    return int(np.float32(value).view(np.uint32))
