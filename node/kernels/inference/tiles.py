"""Micro-kernels: tiles of sums kept in vector registers, written as LLVM instructions.

Plain loops keep their sums in memory, at a fifth of the speed. Every sum takes its products in the order of
k, whatever the tile and however wide the machine's vectors are, so the bits are the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.jit import cgutils, intrinsic, ir, types

LANES = 16
"""Output channels that a micro-kernel computes side by side; packed weights come in panels of so many."""

TILE_ROWS = 8
"""Output pixels that a micro-kernel computes at once, so that eight sums hide the multiplier's latency."""


class Lanes:
    """Sixteen lanes as LLVM vectors: addresses in bytes from the start of an array of bytes."""

    single = ir.FloatType()
    word = ir.IntType(32)
    floats = ir.VectorType(ir.FloatType(), LANES)
    words = ir.VectorType(ir.IntType(32), LANES)
    bytes = ir.VectorType(ir.IntType(8), LANES)

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        self.builder = builder
        held = context.make_array(array_type)(context, builder, array)
        self.base, self.size = held.data, held.nitems

    def pointer(self, kind: Any, offset: Any) -> Any:
        """Give the address of a value of that kind."""
        place = self.builder.gep(self.base, [offset])
        return self.builder.bitcast(place, kind.as_pointer())

    def load(self, kind: Any, offset: Any, alignment: int = 4) -> Any:
        """Read a value of that kind."""
        return self.builder.load(self.pointer(kind, offset), align=alignment)

    def store(self, value: Any, offset: Any, alignment: int = 4) -> None:
        """Write a value."""
        self.builder.store(value, self.pointer(value.type, offset), align=alignment)

    def splat(self, scalar: Any) -> Any:
        """Give a vector of sixteen times the same."""
        kind = ir.VectorType(scalar.type, LANES)
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, scalar, ir.Constant(self.word, 0))
        zeros = ir.Constant(self.words, [0] * LANES)
        return self.builder.shuffle_vector(first, empty, zeros)

    def first(self, width: Any) -> Any:
        """Emit the mask of the first ``width`` lanes."""
        numbers = ir.Constant(self.words, list(range(LANES)))
        return self.builder.icmp_signed("<", numbers, self.splat(self.builder.trunc(width, self.word)))

    def call(self, name: str, arguments: list[Any]) -> Any:
        """Call an intrinsic on vectors of floats."""
        full = f"{name}.v{LANES}f32"
        known = self.builder.module.globals.get(full)
        kind = ir.FunctionType(self.floats, [self.floats] * len(arguments))
        return self.builder.call(known or ir.Function(self.builder.module, kind, full), arguments)


class Words(Lanes):
    """As Lanes, for an array of any type: addresses are in bytes all the same."""

    def __init__(self, context: Any, builder: Any, array_type: Any, array: Any) -> None:
        super().__init__(context, builder, array_type, array)
        self.base = builder.bitcast(self.base, ir.IntType(8).as_pointer())


def emit_loop(b: Any, count: Any, start: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Emit ``count`` rounds of ``body``, which turns the values carried along into new ones; give the last ones."""
    entry = b.block
    head, inside, done = (b.append_basic_block(name) for name in ("head", "round", "done"))
    b.branch(head)
    b.position_at_end(head)
    wide = ir.IntType(64)
    index = b.phi(wide)
    carried = [b.phi(value.type) for value in start]
    b.cbranch(b.icmp_signed("<", index, count), inside, done)
    b.position_at_end(inside)
    new = body(index, carried)
    following = b.add(index, wide(1))
    last = b.block
    b.branch(head)
    index.add_incoming(wide(0), entry)
    index.add_incoming(following, last)
    for value, first, later in zip(carried, start, new, strict=True):
        value.add_incoming(first, entry)
        value.add_incoming(later, last)
    b.position_at_end(done)
    return carried


def sum_of_products(lanes: Lanes, shape: tuple[int, int, Any, int], operands: tuple[Any, ...]) -> list[Any]:
    """Emit the loop over k that keeps rows x panels sums in registers; give them at its end.

    ``shape`` is (rows, panels, kind of a sum, bytes of a weight); ``operands`` are left, left_stride,
    weights, depth and bias. Each sum starts with its bias and takes its products in the order of k.
    """
    rows, panels, kind, weight_bytes = shape
    left, left_stride, weights, depth, bias = operands
    b = lanes.builder
    wide = ir.IntType(64)
    integer = kind == lanes.words
    entry = b.block
    first = [lanes.load(kind, b.add(bias, wide(4 * LANES * p))) for p in range(panels)]
    panel_bytes = b.mul(depth, wide(LANES * weight_bytes))
    loop, done = b.append_basic_block("products"), b.append_basic_block("summed")
    b.branch(loop)
    b.position_at_end(loop)
    k = b.phi(wide)
    k.add_incoming(wide(0), entry)
    sums = [b.phi(kind) for _ in range(rows * panels)]
    column = b.add(weights, b.mul(k, wide(LANES * weight_bytes)))
    packed = []
    for p in range(panels):
        place = b.add(column, b.mul(panel_bytes, wide(p)))
        weight = lanes.load(lanes.bytes if integer else kind, place, weight_bytes)
        packed.append(b.sext(weight, kind) if integer else weight)
    scalar = lanes.word if integer else lanes.single
    new = []
    for r in range(rows):
        place = b.add(left, b.mul(b.add(b.mul(left_stride, wide(r)), k), wide(4)))
        value = lanes.splat(lanes.load(scalar, place))
        for p in range(panels):
            old = sums[r * panels + p]
            if integer:
                new.append(b.add(old, b.mul(value, packed[p])))
            else:
                new.append(lanes.call("llvm.fma", [value, packed[p], old]))
    following = b.add(k, wide(1))
    k.add_incoming(following, loop)
    for index, total in enumerate(sums):
        total.add_incoming(first[index % panels], entry)
        total.add_incoming(new[index], loop)
    b.cbranch(b.icmp_signed("<", following, depth), loop, done)
    b.position_at_end(done)
    return new


def _make_tile_f32(rows: int, panels: int) -> Any:
    @intrinsic
    def tile(
        typing_context: Any,
        memory: Any,
        left: Any,
        left_stride: Any,
        weights: Any,
        depth: Any,
        bias: Any,
        out: Any,
        out_stride: Any,
        clamp: Any,
    ) -> Any:
        del typing_context, left, left_stride, weights, depth, bias, out, out_stride

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            sums = sum_of_products(lanes, (rows, panels, lanes.floats, 4), tuple(arguments[1:6]))
            low, high = (lanes.splat(builder.extract_value(arguments[8], i)) for i in range(2))
            for index, value in enumerate(sums):
                row, panel = divmod(index, panels)
                # Comparisons with NaN are false: a NaN passes both limits.
                value = builder.select(builder.fcmp_ordered("<", value, low), low, value)
                value = builder.select(builder.fcmp_ordered(">", value, high), high, value)
                column = builder.add(builder.mul(arguments[7], ir.IntType(64)(row)), ir.IntType(64)(LANES * panel))
                lanes.store(value, builder.add(arguments[6], builder.mul(column, ir.IntType(64)(4))))
            return context.get_dummy_value()

        places = [types.int64] * 7
        return types.void(memory, *places, clamp), codegen

    return tile


tile_f32 = _make_tile_f32(TILE_ROWS, 1)
"""Eight rows by sixteen columns of clamp(bias + left @ weights): each sum in k order, one fma a product.

``tile_f32(memory, left, left_stride, weights, depth, bias, out, out_stride, (low, high))``: ``memory`` is an
array of uint8, places are byte offsets into it, strides count floats, weights are packed [depth][16].
"""

tile_f32_row = _make_tile_f32(1, 1)
"""As :data:`tile_f32` for one row."""

tile_f32_wide_row = _make_tile_f32(1, 4)
"""As :data:`tile_f32` for one row and four panels of weights, packed [4][depth][16]."""


def requantise(lanes: Lanes, total: Any, multiplier: Any, limits: tuple[Any, Any, Any]) -> Any:
    """Emit clamp(round_half_even(total * multiplier) + zero point) as sixteen bytes; NaN counts as 0."""
    b = lanes.builder
    zero, low, high = limits

    def constant(value: float) -> Any:
        return ir.Constant(lanes.floats, [value] * LANES)

    # A NaN counts as 0; infinity times 0 would be one, and the largest number does in its place.
    largest = 3.4028234663852886e38
    sound = b.select(b.fcmp_ordered("ord", multiplier, multiplier), multiplier, constant(0.0))
    sound = b.select(b.fcmp_ordered("<", sound, constant(-largest)), constant(-largest), sound)
    sound = b.select(b.fcmp_ordered(">", sound, constant(largest)), constant(largest), sound)
    scaled = b.fmul(b.sitofp(total, lanes.floats), sound)
    # Rounding leaves whole limits where they are, and before it they are limits for a conversion that is defined, too.
    low, high = (b.sitofp(b.sub(limit, zero), lanes.floats) for limit in (low, high))
    scaled = b.select(b.fcmp_ordered("<", scaled, low), low, scaled)
    scaled = b.select(b.fcmp_ordered(">", scaled, high), high, scaled)
    quantised = b.add(b.fptosi(lanes.call("llvm.rint", [scaled]), lanes.words), zero)
    return b.trunc(quantised, lanes.bytes)


@intrinsic
def copy_bytes(typing_context: Any, memory: Any, source: Any, place: Any, count: Any) -> Any:
    """Copy ``count`` bytes within an array of bytes; the ranges may overlap."""
    del typing_context, source, place, count

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        origin, target = (builder.gep(base, [arguments[i]]) for i in (1, 2))
        cgutils.raw_memmove(builder, target, origin, arguments[3], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(memory, types.int64, types.int64, types.int64), codegen


def _make_copy_items(bits: int) -> Any:
    @intrinsic
    def copy_items(typing_context: Any, memory: Any, source: Any, place: Any, count: Any) -> Any:
        del typing_context, count

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            kind = ir.IntType(bits).as_pointer()
            (origin, from_step), (target, to_step) = (
                [builder.extract_value(arguments[side], i) for i in range(2)] for side in (1, 2)
            )
            with cgutils.for_range(builder, arguments[3]) as loop:
                moved = [
                    builder.bitcast(builder.gep(base, [builder.add(start, builder.mul(loop.index, step))]), kind)
                    for start, step in ((origin, from_step), (target, to_step))
                ]
                builder.store(builder.load(moved[0], align=bits // 8), moved[1], align=bits // 8)
            return context.get_dummy_value()

        return types.void(memory, source, place, types.int64), codegen

    return copy_items


copy_bytes_apart = _make_copy_items(8)
"""Copy ``count`` bytes that lie apart, one after the other: ``copy_bytes_apart(memory, (source, step), (place, step),
count)``, places and steps in bytes."""

copy_words_apart = _make_copy_items(32)
"""As :data:`copy_bytes_apart` for words of 32 bits."""

copy_long_words_apart = _make_copy_items(64)
"""As :data:`copy_bytes_apart` for words of 64 bits."""


@intrinsic
def fill_bytes(typing_context: Any, memory: Any, place: Any, count: Any, byte: Any) -> Any:
    """Set ``count`` bytes of an array of bytes to the low eight bits of ``byte``."""
    del typing_context, place, count, byte

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        target = builder.gep(base, [arguments[1]])
        filler = builder.trunc(arguments[3], ir.IntType(8))
        cgutils.memset(builder, target, arguments[2], filler)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(memory, types.int64, types.int64, types.int64), codegen
