"""Micro-kernels of the checks: sums that are kept before they are rounded, and sums of sums, in sixteen lanes.

Written as LLVM instructions, as those of ``node.kernels.inference.tiles``: a sum of floats has one order, whatever the
width of the machine's vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.jit import intrinsic, ir, types
from node.kernels.inference.tiles import LANES, TILE_ROWS, Lanes, requantise, sum_of_products

WIDE = ir.IntType(64)


class Words(Lanes):
    """As Lanes, for an array of any type: addresses are in bytes all the same."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        super().__init__(context, builder, array_type, array)
        self.base = builder.bitcast(self.base, ir.IntType(8).as_pointer())


def _loop(b: Any, count: Any, start: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Emit ``count`` rounds of ``body``, which turns the values carried along into new ones; give the last ones."""
    entry = b.block
    head, inside, done = (b.append_basic_block(name) for name in ("head", "round", "done"))
    b.branch(head)
    b.position_at_end(head)
    index = b.phi(WIDE)
    carried = [b.phi(value.type) for value in start]
    b.cbranch(b.icmp_signed("<", index, count), inside, done)
    b.position_at_end(inside)
    new = body(index, carried)
    following = b.add(index, WIDE(1))
    last = b.block
    b.branch(head)
    index.add_incoming(WIDE(0), entry)
    index.add_incoming(following, last)
    for value, first, later in zip(carried, start, new, strict=True):
        value.add_incoming(first, entry)
        value.add_incoming(later, last)
    b.position_at_end(done)
    return carried


def _summed(lanes: Lanes, floats: Any) -> Any:
    """Emit the sum of sixteen floats as float64, in a fixed order."""
    b = lanes.builder
    total = b.fpext(floats, ir.VectorType(ir.DoubleType(), LANES))
    half = LANES // 2
    while half:
        nothing = ir.Constant(total.type, ir.Undefined)
        parts = [
            b.shuffle_vector(total, nothing, ir.Constant(ir.VectorType(lanes.word, half), list(range(at, at + half))))
            for at in (0, half)
        ]
        total = b.fadd(*parts)
        half //= 2
    return b.extract_element(total, ir.Constant(lanes.word, 0))


def _make_sums_int8(rows: int) -> Any:
    @intrinsic
    def sums(typing_context: Any, memory: Any, left: Any, weights: Any, depth: Any, bias: Any, place: Any) -> Any:
        del typing_context, left, weights, depth, bias, place

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            operands = (arguments[1], arguments[3], arguments[2], arguments[3], arguments[4])
            for row, total in enumerate(sum_of_products(lanes, (rows, 1, lanes.words, 1), operands)):
                lanes.store(total, builder.add(arguments[5], WIDE(4 * LANES * row)))
            return context.get_dummy_value()

        return types.void(memory, *[types.int64] * 5), codegen

    return sums


sums_int8 = _make_sums_int8(TILE_ROWS)
"""Eight rows by sixteen columns of bias + left @ weights as int32 that wrap, stored one row of words after the other.

``sums_int8(memory, left, weights, depth, bias, place)``: as ``tile_int8`` takes them; the words go to ``place``.
"""

sums_int8_row = _make_sums_int8(1)
"""As :data:`sums_int8` for one row."""


def _make_finish_int8(rows: int) -> Any:
    @intrinsic
    def finish(
        typing_context: Any,
        memory: Any,
        place: Any,
        scales: Any,
        out: Any,
        out_stride: Any,
        width: Any,
        limits: Any,
        totals: Any,
    ) -> Any:
        del typing_context, place, scales, out, out_stride, width

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            kept = Words(context, builder, signature.args[7], arguments[7])
            zero, low, high = (
                lanes.splat(builder.trunc(builder.extract_value(arguments[6], i), lanes.word)) for i in range(3)
            )
            multiplier = lanes.load(lanes.floats, arguments[2])
            numbers = ir.Constant(lanes.words, list(range(LANES)))
            counts = builder.icmp_signed("<", numbers, lanes.splat(builder.trunc(arguments[5], lanes.word)))
            nothing = ir.Constant(lanes.words, [0] * LANES)
            for row in range(rows):
                at = WIDE(4 * LANES * row)
                total = lanes.load(lanes.words, builder.add(arguments[1], at))
                quantised = requantise(lanes, total, multiplier, (zero, low, high))
                lanes.store(quantised, builder.add(arguments[3], builder.mul(arguments[4], WIDE(row))), 1)
                counted = builder.select(counts, total, nothing)
                kept.store(builder.add(kept.load(lanes.words, at), counted), at)
            return context.get_dummy_value()

        return types.void(memory, *[types.int64] * 5, limits, totals), codegen

    return finish


finish_int8 = _make_finish_int8(TILE_ROWS)
"""Quantise eight rows of the words that :data:`sums_int8` stored, and add them to their rows' totals.

``finish_int8(memory, place, scales, out, out_stride, width, (zero, low, high), totals)``: sixteen bytes a row go to
``out``, rows ``out_stride`` bytes apart; of each row the first ``width`` words are added, lane by lane, to a row of
``totals``, int32 [rows * 16].
"""

finish_int8_row = _make_finish_int8(1)
"""As :data:`finish_int8` for one row."""


def _make_dots(rows: int, integer: bool) -> Any:
    @intrinsic
    def dots(
        typing_context: Any, left: Any, place: Any, stride: Any, memory: Any, weights: Any, blocks: Any, out: Any
    ) -> Any:
        del typing_context, place, stride, weights, blocks

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            inputs = Words(context, builder, signature.args[0], arguments[0])
            lanes = Lanes(context, builder, signature.args[3], arguments[3])
            kept = Words(context, builder, signature.args[6], arguments[6])
            kind = lanes.words if integer else lanes.floats
            block = WIDE(4 * LANES)

            def body(index: Any, sums: list[Any]) -> list[Any]:
                offset = builder.mul(index, block)
                weight = lanes.load(kind, builder.add(arguments[4], offset))
                new = []
                for row, total in enumerate(sums):
                    start = builder.add(arguments[1], builder.mul(arguments[2], WIDE(row)))
                    value = inputs.load(kind, builder.add(start, offset))
                    if integer:
                        new.append(builder.add(total, builder.mul(value, weight)))
                    else:
                        new.append(lanes.call("llvm.fma", [value, weight, total]))
                return new

            nothing = ir.Constant(kind, [0] * LANES)
            for row, total in enumerate(_loop(builder, arguments[5], [nothing] * rows, body)):
                if integer:
                    kept.store(total, WIDE(4 * LANES * row))
                else:
                    kept.store(_summed(lanes, total), WIDE(8 * row))
            return context.get_dummy_value()

        return types.void(left, types.int64, types.int64, memory, types.int64, types.int64, out), codegen

    return dots


dots_int8 = _make_dots(TILE_ROWS, integer=True)
"""Lane by lane, the products of eight rows with one row of weights, words that wrap.

``dots_int8(left, place, stride, memory, weights, blocks, out)``: rows begin at byte ``place`` of the bytes ``left``,
``stride`` bytes apart; the weights lie at byte ``weights`` of ``memory``. Of each, ``blocks`` times sixteen words are
taken; sixteen sums a row go to ``out`` [rows * 16].
"""

dots_int8_row = _make_dots(1, integer=True)
"""As :data:`dots_int8` for one row."""

dots_f32 = _make_dots(TILE_ROWS, integer=False)
"""As :data:`dots_int8` for floats, one fused multiply-add a product; of each row one float64 goes to ``out`` [rows]."""

dots_f32_row = _make_dots(1, integer=False)
"""As :data:`dots_f32` for one row."""


@intrinsic
def sum_and_clamp(typing_context: Any, memory: Any, place: Any, blocks: Any, clamp: Any, out: Any) -> Any:
    """Sum floats and their magnitudes lane by lane, and clamp them in place.

    ``sum_and_clamp(memory, place, blocks, (low, high), out)``: ``blocks`` times sixteen floats from byte ``place``;
    the sum, then the sum of magnitudes, of the values as they were go to ``out``, float64 [2]. A NaN passes both
    limits.
    """
    del typing_context, place, blocks

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        kept = Words(context, builder, signature.args[4], arguments[4])
        low, high = (lanes.splat(builder.extract_value(arguments[3], i)) for i in range(2))

        def body(index: Any, sums: list[Any]) -> list[Any]:
            at = builder.add(arguments[1], builder.mul(index, WIDE(4 * LANES)))
            value = lanes.load(lanes.floats, at)
            magnitude = lanes.call("llvm.fabs", [value])
            new = [builder.fadd(sums[0], value), builder.fadd(sums[1], magnitude)]
            value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
            value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
            lanes.store(value, at)
            return new

        nothing = ir.Constant(lanes.floats, [0.0] * LANES)
        for number, total in enumerate(_loop(builder, arguments[2], [nothing] * 2, body)):
            kept.store(_summed(lanes, total), WIDE(8 * number))
        return context.get_dummy_value()

    return types.void(memory, types.int64, types.int64, clamp, out), codegen
