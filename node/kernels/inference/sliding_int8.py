"""Integer windows of 3 x 3, channel by channel, that slide along a line: three products an instruction.

The bytes of a column under the window, one for each row, lie side by side in a lane of 32 bits for the instructions of
:mod:`node.kernels.inference.dots`. As the window moves on, it keeps the columns that it still covers. Beside the input
a column holds zero points; a row above or below it has no weights. What a zero point adds to a sum is subtracted from
its beginning, as in ``tiles_int8``.
"""

from __future__ import annotations

from typing import Any

from node.jit import intrinsic, ir, types
from node.kernels.inference.dots import QUAD, Dots
from node.kernels.inference.tiles import LANES, Lanes, emit_loop, requantise
from node.kernels.inference.tiles_f32 import store_columns

TAPS = 3
"""Rows and columns of the window."""


class Line:
    """Emits what one line of output pixels needs of its inputs and weights.

    Parameters
    ----------
    lanes : Lanes
        Where the code goes and the memory lies.
    rows : tuple of int64
        Places of the first column in the three rows of inputs.
    spots : tuple of int64
        Pixels of a row; bytes of a pixel; place of the weights, [3][3] of so many bytes; the rows that exist, as the
        bits of three bytes.
    zero : tuple of int64
        What a byte of padding holds, and the bits that are inverted in an input before.
    """

    def __init__(self, lanes: Lanes, rows: Any, spots: Any, zero: Any) -> None:
        self.lanes, self.dots = lanes, Dots(lanes)
        b = lanes.builder
        self.rows = [b.extract_value(rows, i) for i in range(TAPS)]
        self.width, self.pixel, self.weights, self.existing = (b.extract_value(spots, i) for i in range(4))
        self.padding, self.flip = (self._four_times(b.extract_value(zero, i)) for i in range(2))

    def _four_times(self, byte: Any) -> Any:
        b = self.lanes.builder
        return self.lanes.splat(b.mul(b.trunc(byte, self.lanes.word), self.lanes.word(0x01010101)))

    def _in_lanes(self, places: list[Any]) -> Any:
        lanes = self.lanes
        loaded = [lanes.load(lanes.bytes, place, 1) for place in places]
        return lanes.builder.bitcast(self.dots.in_lanes([*loaded, ir.Constant(lanes.bytes, None)]), lanes.words)

    def inputs(self, x: Any) -> Any:
        """Emit the column ``x`` of the inputs."""
        b = self.lanes.builder
        inside = b.icmp_unsigned("<", x, self.width)
        place = b.mul(b.select(inside, x, x.type(0)), self.pixel)
        values = b.xor(self._in_lanes([b.add(row, place) for row in self.rows]), self.flip)
        return b.select(inside, values, self.padding)

    def factors(self, column: int) -> Any:
        """Emit a column of the weights, as the second operand of a product of four bytes."""
        b = self.lanes.builder
        places = [b.mul(self.pixel, self.pixel.type(TAPS * row + column)) for row in range(TAPS)]
        values = self._in_lanes([b.add(self.weights, place) for place in places])
        return b.bitcast(b.and_(values, self.lanes.splat(b.trunc(self.existing, self.lanes.word))), QUAD)

    def begin(self, bias: Any, factors: list[Any]) -> Any:
        """Emit bias minus what the zero point adds to a sum."""
        b, added = self.lanes.builder, ir.Constant(self.lanes.words, None)
        for column in factors:
            added = self.dots.add_lanes(added, self.padding, column)
        return b.sub(self.lanes.load(self.lanes.words, bias), added)


def _make_line(stride: int) -> Any:
    @intrinsic
    def line(
        typing_context: Any, memory: Any, rows: Any, spots: Any, zero: Any, start: Any, out: Any, limits: Any
    ) -> Any:
        del typing_context

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            b, wide = builder, ir.IntType(64)
            lanes = Lanes(context, b, signature.args[0], arguments[0])
            window = Line(lanes, *arguments[1:4])
            bias, scales, first = (b.extract_value(arguments[4], i) for i in range(3))
            place, count, width = (b.extract_value(arguments[5], i) for i in range(3))
            numbers = tuple(lanes.splat(b.trunc(b.extract_value(arguments[6], i), lanes.word)) for i in range(3))
            factors = [window.factors(column) for column in range(TAPS)]
            begin, multiplier = window.begin(bias, factors), lanes.load(lanes.floats, scales)

            def pixel(index: Any, kept: list[Any]) -> list[Any]:
                left = b.add(first, b.mul(index, wide(stride)))
                columns = [*kept, *(window.inputs(b.add(left, wide(j))) for j in range(len(kept), TAPS))]
                total = begin
                for inputs, factor in zip(columns, factors, strict=True):
                    total = window.dots.add_lanes(total, inputs, factor)
                value = requantise(lanes, total, multiplier, numbers)
                at = b.add(place, b.mul(index, window.pixel))
                with b.if_else(b.icmp_signed(">=", width, wide(LANES))) as (whole, part):
                    with whole:
                        lanes.store(value, at, 1)
                    with part:
                        store_columns(lanes, value, at, width)
                return columns[stride:]

            emit_loop(b, count, [window.inputs(b.add(first, wide(j))) for j in range(TAPS - stride)], pixel)
            return context.get_dummy_value()

        return types.void(memory, rows, spots, zero, start, out, limits), codegen

    return line


line_int8 = _make_line(1)
"""A line of output pixels, sixteen channels of each, next to each other in the input.

``line_int8(memory, (row, row, row), (in_width, pixel, weights, existing), (padding, flip), (bias, scales, first),
(out, count, width), (zero, low, high))``: the first three as :class:`Line` says; ``first`` is the column of the input
where the first window begins, ``width`` how many of the sixteen channels are written. Sixteen bytes are read from the
place of each input and weight, and as many words of biases and scales.
"""

line_by_two_int8 = _make_line(2)
"""As :data:`line_int8`, every second pixel of the input."""
