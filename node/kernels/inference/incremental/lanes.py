"""Micro-kernels on sixteen integer sums, and on sixteen outputs."""

from __future__ import annotations

from typing import Any

from node.jit import intrinsic, ir, types
from node.kernels.inference.tiles import LANES, Lanes, requantise


def _make_add_products(panels: int) -> Any:
    @intrinsic
    def add(typing_context: Any, memory: Any, sums: Any, weights: Any, panel_bytes: Any, pairs: Any, count: Any) -> Any:
        del typing_context, sums, weights, panel_bytes, pairs, count

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            wide = ir.IntType(64)
            b = builder
            places = [b.add(arguments[1], wide(4 * LANES * p)) for p in range(panels)]
            columns = [b.add(arguments[2], b.mul(arguments[3], wide(p))) for p in range(panels)]
            first = [lanes.load(lanes.words, place) for place in places]
            entry = b.block
            loop, done = b.append_basic_block("products"), b.append_basic_block("summed")
            b.branch(loop)
            b.position_at_end(loop)
            index = b.phi(wide)
            totals = [b.phi(lanes.words) for _ in range(panels)]
            pair = b.add(arguments[4], b.mul(index, wide(8)))
            offset = b.sext(lanes.load(lanes.word, pair), wide)
            change = lanes.splat(lanes.load(lanes.word, b.add(pair, wide(4))))
            packed = [b.sext(lanes.load(lanes.bytes, b.add(column, offset), 1), lanes.words) for column in columns]
            added = [b.add(total, b.mul(change, row)) for total, row in zip(totals, packed, strict=True)]
            following = b.add(index, wide(1))
            index.add_incoming(wide(0), entry)
            index.add_incoming(following, loop)
            for total, start, end in zip(totals, first, added, strict=True):
                total.add_incoming(start, entry)
                total.add_incoming(end, loop)
            b.cbranch(b.icmp_signed("<", following, arguments[5]), loop, done)
            b.position_at_end(done)
            for place, total in zip(places, added, strict=True):
                lanes.store(total, place)
            return context.get_dummy_value()

        return types.void(memory, *[types.int64] * 5), codegen

    return add


add_products = _make_add_products(1)
"""Add ``count`` products of a change and sixteen weights to sixteen sums.

``add_products(memory, sums, weights, panel_bytes, pairs, count)``: ``sums`` and ``weights`` are byte offsets, ``pairs``
is the place of (bytes from ``weights``, change) as int32. Panels of weights lie ``panel_bytes`` apart.
"""

add_products_to_four = _make_add_products(4)
"""As :data:`add_products` for four panels, whose sums lie one after the other: each change is read once for all."""


@intrinsic
def requantise_sums(typing_context: Any, memory: Any, sums: Any, scales: Any, out: Any, limits: Any) -> Any:
    """Write sixteen sums at ``sums`` as bytes to ``out``, with sixteen multipliers and (zero, low, high)."""
    del typing_context, sums, scales, out

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        total = lanes.load(lanes.words, arguments[1])
        multiplier = lanes.load(lanes.floats, arguments[2])
        lanes.store(requantise(lanes, total, multiplier, _limits(lanes, arguments[4])), arguments[3], 1)
        return context.get_dummy_value()

    return types.void(memory, types.int64, types.int64, types.int64, limits), codegen


@intrinsic
def requantise_shifted(
    typing_context: Any,
    memory: Any,
    sums: Any,
    line: Any,
    change: Any,
    multiplier: Any,
    out: Any,
    limits: Any,
) -> Any:
    """Write sixteen (sums + change * line) as bytes to ``out``; all have one multiplier, int32 wraps."""
    del typing_context, sums, line, change, out

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        change = lanes.splat(builder.trunc(arguments[3], lanes.word))
        moved = builder.mul(lanes.load(lanes.words, arguments[2]), change)
        total = builder.add(lanes.load(lanes.words, arguments[1]), moved)
        factor = lanes.splat(arguments[4])
        lanes.store(requantise(lanes, total, factor, _limits(lanes, arguments[6])), arguments[5], 1)
        return context.get_dummy_value()

    places = [types.int64] * 3
    return types.void(memory, *places, multiplier, types.int64, limits), codegen


@intrinsic
def differing(typing_context: Any, memory: Any, place: Any, twin: Any) -> Any:
    """Give which of sixteen bytes differ from sixteen others, as bits of an int64."""
    del typing_context, place, twin

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        ours, others = (lanes.load(lanes.bytes, arguments[i], 1) for i in (1, 2))
        found = builder.bitcast(builder.icmp_signed("!=", ours, others), ir.IntType(LANES))
        return builder.zext(found, ir.IntType(64))

    return types.int64(memory, types.int64, types.int64), codegen


@intrinsic
def outdone(typing_context: Any, memory: Any, place: Any, count: Any, best: Any) -> Any:
    """Tell of up to sixteen floats from a byte on whether another one than ``best`` is the first of the largest.

    It is, too, where one of them is a NaN. Sixteen are read, whatever their ``count``.
    """
    del typing_context, place, count, best

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        b, wide = builder, ir.IntType(64)
        values = lanes.load(lanes.floats, arguments[1])
        best = b.add(arguments[1], b.mul(arguments[3], wide(4)))
        largest = lanes.splat(lanes.load(lanes.single, best))
        used, before = lanes.first(arguments[2]), lanes.first(arguments[3])
        less, no_more = (b.fcmp_ordered(sign, values, largest) for sign in ("<", "<="))
        sound = b.or_(b.select(before, less, no_more), b.not_(used))
        found = b.bitcast(b.not_(sound), ir.IntType(LANES))
        return b.icmp_unsigned("!=", found, found.type(0))

    return types.boolean(memory, types.int64, types.int64, types.int64), codegen


@intrinsic
def lowest_one(typing_context: Any, bits: Any) -> Any:
    """Give the number of the lowest one of an int64 that is not 0."""
    del typing_context, bits

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen


def _limits(lanes: Lanes, limits: Any) -> tuple[Any, Any, Any]:
    b = lanes.builder
    zero, low, high = (lanes.splat(b.trunc(b.extract_value(limits, i), lanes.word)) for i in range(3))
    return zero, low, high


assert LANES == 16
