"""Micro-kernels of the checks: sums that are kept before they are rounded, and sums of sums, in sixteen lanes.

Written as LLVM instructions, as those of ``node.kernels.inference.tiles``: a sum of floats has one order, whatever the
width of the machine's vectors.
"""

from __future__ import annotations

from typing import Any

from node.jit import intrinsic, ir, types
from node.kernels.inference.tiles import LANES, TILE_ROWS, Lanes, Words, emit_loop

WIDE = ir.IntType(64)


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


def _make_dots(rows: int) -> Any:
    @intrinsic
    def dots(
        typing_context: Any, left: Any, place: Any, stride: Any, memory: Any, weights: Any, blocks: Any, out: Any
    ) -> Any:
        del typing_context, place, stride, weights, blocks

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            inputs = Words(context, builder, signature.args[0], arguments[0])
            lanes = Lanes(context, builder, signature.args[3], arguments[3])
            kept = Words(context, builder, signature.args[6], arguments[6])
            block = WIDE(4 * LANES)

            def body(index: Any, sums: list[Any]) -> list[Any]:
                offset = builder.mul(index, block)
                weight = lanes.load(lanes.floats, builder.add(arguments[4], offset))
                new = []
                for row, total in enumerate(sums):
                    start = builder.add(arguments[1], builder.mul(arguments[2], WIDE(row)))
                    value = inputs.load(lanes.floats, builder.add(start, offset))
                    new.append(lanes.call("llvm.fma", [value, weight, total]))
                return new

            nothing = ir.Constant(lanes.floats, [0.0] * LANES)
            for row, total in enumerate(emit_loop(builder, arguments[5], [nothing] * rows, body)):
                kept.store(_summed(lanes, total), WIDE(8 * row))
            return context.get_dummy_value()

        return types.void(left, types.int64, types.int64, memory, types.int64, types.int64, out), codegen

    return dots


dots_f32 = _make_dots(TILE_ROWS)
"""The products of eight rows with one row of weights, one fused multiply-add a product.

``dots_f32(left, place, stride, memory, weights, blocks, out)``: rows begin at byte ``place`` of the bytes ``left``,
``stride`` bytes apart; the weights lie at byte ``weights`` of ``memory``. Of each, ``blocks`` times sixteen floats are
taken; of each row one float64 goes to ``out`` [rows].
"""

dots_f32_row = _make_dots(1)
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
        for number, total in enumerate(emit_loop(builder, arguments[2], [nothing] * 2, body)):
            kept.store(_summed(lanes, total), WIDE(8 * number))
        return context.get_dummy_value()

    return types.void(memory, types.int64, types.int64, clamp, out), codegen
