"""Micro-kernels on sixteen integer sums."""

from __future__ import annotations

from typing import Any

from node.jit import intrinsic, ir, types
from node.kernels.inference.tiles import LANES, Lanes, requantise


@intrinsic
def add_products(typing_context: Any, memory: Any, sums: Any, weights: Any, pairs: Any, count: Any) -> Any:
    """Add ``count`` products of a change and sixteen weights to sixteen sums.

    ``sums`` and ``weights`` are byte offsets; ``pairs`` is the place of (bytes from ``weights``, change) as int32.
    """
    del typing_context, sums, weights, pairs, count

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        wide = ir.IntType(64)
        b = builder
        first = lanes.load(lanes.words, arguments[1])
        entry = b.block
        loop, done = b.append_basic_block("products"), b.append_basic_block("summed")
        b.branch(loop)
        b.position_at_end(loop)
        index, total = b.phi(wide), b.phi(lanes.words)
        index.add_incoming(wide(0), entry)
        total.add_incoming(first, entry)
        pair = b.add(arguments[3], b.mul(index, wide(8)))
        offset = b.sext(lanes.load(lanes.word, pair), wide)
        change = lanes.splat(lanes.load(lanes.word, b.add(pair, wide(4))))
        packed = b.sext(lanes.load(lanes.bytes, b.add(arguments[2], offset), 1), lanes.words)
        added = b.add(total, b.mul(change, packed))
        following = b.add(index, wide(1))
        index.add_incoming(following, loop)
        total.add_incoming(added, loop)
        b.cbranch(b.icmp_signed("<", following, arguments[4]), loop, done)
        b.position_at_end(done)
        lanes.store(added, arguments[1])
        return context.get_dummy_value()

    return types.void(memory, *[types.int64] * 4), codegen


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


def _limits(lanes: Lanes, limits: Any) -> tuple[Any, Any, Any]:
    b = lanes.builder
    zero, low, high = (lanes.splat(b.trunc(b.extract_value(limits, i), lanes.word)) for i in range(3))
    return zero, low, high


assert LANES == 16
