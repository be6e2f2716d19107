"""Sums over the taps of a window, channel by channel: sixteen channels of one or four pixels in vector registers."""

from __future__ import annotations

from typing import Any

from node.jit import intrinsic, ir, types
from node.kernels.inference.tiles import LANES, Lanes, requantise
from node.kernels.inference.tiles_f32 import clamped, store_columns

PIXELS = 4
"""Output pixels side by side that share the loads of their weights."""

WIDE = 4
"""Vectors of sixteen channels of one pixel that share the loops over its taps."""


class Taps:
    """The loops over the taps of a window.

    Parameters
    ----------
    lanes : Lanes
        Where the code goes and the memory lies.
    places : tuple of int64
        Bytes of the first input and weight, and from one pixel to the next.
    window : tuple of int64
        Rows of taps, bytes from one to the next in inputs and in weights; taps of a row, the same.
    """

    def __init__(self, lanes: Lanes, places: Any, window: Any) -> None:
        self.lanes = lanes
        b = lanes.builder
        self.inputs, self.weights, self.stride = (b.extract_value(places, i) for i in range(3))
        self.rows, self.columns = ([b.extract_value(window, i + j) for j in range(3)] for i in (0, 3))

    def sums(self, begin: list[Any], product: Any) -> list[Any]:
        """Emit the loops and give the sums.

        ``product(sums, inputs, weights)`` emits what one tap adds, from the places of the first pixel's inputs
        and of the weights. A window without taps leaves the sums as they begin.
        """
        b, wide = self.lanes.builder, ir.IntType(64)
        entry = b.block
        row, tap, next_row, done = (b.append_basic_block(name) for name in ("row", "tap", "next", "done"))
        some = b.and_(*(b.icmp_signed(">", loop[0], wide(0)) for loop in (self.rows, self.columns)))
        b.cbranch(some, row, done)
        b.position_at_end(row)
        y, above, left = b.phi(wide), b.phi(wide), b.phi(wide)
        before = [b.phi(total.type) for total in begin]
        b.branch(tap)
        b.position_at_end(tap)
        x, inputs, weights = b.phi(wide), b.phi(wide), b.phi(wide)
        sums = [b.phi(total.type) for total in begin]
        new = product(sums, inputs, weights)
        later = [b.add(x, wide(1)), b.add(inputs, self.columns[1]), b.add(weights, self.columns[2])]
        b.cbranch(b.icmp_signed("<", later[0], self.columns[0]), tap, next_row)
        for phi, first, last in zip((x, inputs, weights), (wide(0), above, left), later, strict=True):
            phi.add_incoming(first, row)
            phi.add_incoming(last, tap)
        b.position_at_end(next_row)
        below = [b.add(y, wide(1)), b.add(above, self.rows[1]), b.add(left, self.rows[2])]
        b.cbranch(b.icmp_signed("<", below[0], self.rows[0]), row, done)
        for phi, first, last in zip((y, above, left), (wide(0), self.inputs, self.weights), below, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(last, next_row)
        b.position_at_end(done)
        results = [b.phi(total.type) for total in begin]
        for index, total in enumerate(begin):
            before[index].add_incoming(total, entry)
            before[index].add_incoming(new[index], next_row)
            sums[index].add_incoming(before[index], row)
            sums[index].add_incoming(new[index], tap)
            results[index].add_incoming(total, entry)
            results[index].add_incoming(new[index], next_row)
        return results


def load_columns(lanes: Lanes, kind: Any, offset: Any, width: Any) -> Any:
    """Emit the load of sixteen values, or of the first ``width`` of them where that is given; the others are 0."""
    size = 1 if kind == lanes.bytes else 4
    if width is None:
        return lanes.load(kind, offset, size)
    b = lanes.builder
    mask = lanes.first(width)
    pointer = lanes.pointer(kind, offset)
    name = f"llvm.masked.load.v{LANES}{kind.element.intrinsic_name}.p0"
    known = b.module.globals.get(name)
    if known is None:
        given = [pointer.type, lanes.word, mask.type, kind]
        known = ir.Function(b.module, ir.FunctionType(kind, given), name)
    return b.call(known, [pointer, lanes.word(size), mask, ir.Constant(kind, None)])


def _make_taps(pixels: int, vectors: int, emit: Any, masked: bool = False) -> Any:
    @intrinsic
    def taps(
        typing_context: Any, memory: Any, places: Any, window: Any, start: Any, out: Any, strides: Any, limits: Any
    ) -> Any:
        del typing_context

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            loops = Taps(lanes, arguments[1], arguments[2])
            out_stride, width = (builder.extract_value(arguments[5], i) for i in range(2))
            kind, begin, product, finish = emit(lanes, arguments[3], arguments[6], width if masked else None)

            def tap(sums: list[Any], inputs: Any, weights: Any) -> list[Any]:
                factors = [product[0](moved(lanes, weights, (0, v), loops.stride, kind)) for v in range(vectors)]
                return [
                    product[1](
                        sums[index],
                        moved(lanes, inputs, divmod(index, vectors), loops.stride, kind),
                        factors[index % vectors],
                    )
                    for index in range(pixels * vectors)
                ]

            zero = out_stride.type(0)
            first = [begin(moved(lanes, zero, (0, v), zero, lanes.words)) for v in range(vectors)]
            for index, total in enumerate(loops.sums(first * pixels, tap)):
                p, v = divmod(index, vectors)
                value = finish(total, moved(lanes, zero, (0, v), zero, lanes.words))
                place = moved(lanes, arguments[4], (p, v), out_stride, kind)
                if masked:
                    store_columns(lanes, value, place, width)
                else:
                    lanes.store(value, place, 1)
            return context.get_dummy_value()

        return types.void(memory, places, window, start, out, strides, limits), codegen

    return taps


def moved(lanes: Lanes, place: Any, by: tuple[int, int], stride: Any, kind: Any) -> Any:
    """Emit a place that lies so many pixels and vectors further."""
    b = lanes.builder
    size = LANES * (1 if kind == lanes.bytes else 4)
    return b.add(b.add(place, b.mul(stride, stride.type(by[0]))), stride.type(size * by[1]))


def _emit_f32(lanes: Lanes, bias: Any, limits: Any, width: Any) -> Any:
    """Give the kind of what is read, and what emits first sums, the two halves of a product, and outputs."""
    b = lanes.builder

    def load(place: Any) -> Any:
        return load_columns(lanes, lanes.floats, place, width)

    def product(total: Any, place: Any, factor: Any) -> Any:
        return lanes.call("llvm.fma", [load(place), factor, total])

    def finish(total: Any, shift: Any) -> Any:
        del shift
        return clamped(lanes, total, limits)

    return lanes.floats, lambda shift: load(b.add(bias, shift)), (load, product), finish


def _emit_int8(lanes: Lanes, start: Any, limits: Any, width: Any) -> Any:
    """Give the same for bytes."""
    b = lanes.builder
    bias, scales = (b.extract_value(start, i) for i in range(2))
    numbers = [b.extract_value(limits, i) for i in range(5)]
    zero, low, high, shift_a = (lanes.splat(b.trunc(number, lanes.word)) for number in numbers[:4])
    flip = lanes.splat(b.trunc(numbers[4], ir.IntType(8)))

    def begin(shift: Any) -> Any:
        return load_columns(lanes, lanes.words, b.add(bias, shift), width)

    def factor(place: Any) -> Any:
        return b.sext(load_columns(lanes, lanes.bytes, place, width), lanes.words)

    def product(total: Any, place: Any, weights: Any) -> Any:
        value = b.xor(load_columns(lanes, lanes.bytes, place, width), flip)
        return b.add(total, b.mul(b.sub(b.zext(value, lanes.words), shift_a), weights))

    def finish(total: Any, shift: Any) -> Any:
        multiplier = load_columns(lanes, lanes.floats, b.add(scales, shift), width)
        return requantise(lanes, total, multiplier, (zero, low, high))

    return lanes.bytes, begin, (factor, product), finish


taps_f32 = _make_taps(PIXELS, 1, _emit_f32)
"""Sixteen channels of ``PIXELS`` pixels: clamp(bias + inputs * weights over the taps), each sum in their order by fma.

``taps_f32(memory, (inputs, weights, stride), (rows, row_inputs, row_weights, columns, column_inputs,
column_weights), bias, out, (out_stride, width), (low, high))``: places and strides in bytes, as :class:`Taps` says;
``width``, of the sixteen channels those that exist, is for the ``part`` forms.
"""

taps_part_f32 = _make_taps(PIXELS, 1, _emit_f32, masked=True)
tap_wide_f32 = _make_taps(1, WIDE, _emit_f32)
tap_f32 = _make_taps(1, 1, _emit_f32)
tap_part_f32 = _make_taps(1, 1, _emit_f32, masked=True)

taps_int8 = _make_taps(PIXELS, 1, _emit_int8)
"""As :data:`taps_f32` on bytes, in int32 sums that wrap; ``bias`` is (bias, scales) and the last argument
(zero point, low, high, what is subtracted from an input, what its bits are inverted by before)."""

taps_part_int8 = _make_taps(PIXELS, 1, _emit_int8, masked=True)
tap_wide_int8 = _make_taps(1, WIDE, _emit_int8)
tap_int8 = _make_taps(1, 1, _emit_int8)
tap_part_int8 = _make_taps(1, 1, _emit_int8, masked=True)
