"""Columns of bytes added up, 64 side by side: what the inputs of many pixels sum up to.

Bytes are added bit by bit, three to a sum and a carry of the same width (a carry-save adder), so that most of the work
is done on whole vectors of bytes: of four rows only one vector, which counts fourfold, is widened to 16 bits.
"""

from __future__ import annotations

from typing import Any

from node.jit import intrinsic, ir, types, vector_bits
from node.kernels.inference.tiles import LANES, Lanes, Words, emit_loop

BLOCK = 4 * LANES
"""Columns that are added up at once."""

MOST_ROWS = 256
"""Rows that can be added up: 255 times so many fits 16 bits."""

COUNTED_BYTES = 2 * BLOCK
"""Memory in which a block of columns is counted: 16-bit sums of pairs of bytes as they are, and of their second ones.
"""

COLUMNS = ir.VectorType(ir.IntType(8), BLOCK)
HALVES = ir.VectorType(ir.IntType(16), BLOCK // 2)
XOR, MAJORITY = 0x96, 0xE8
"""Truth tables of three bits."""


def _splat(lanes: Lanes, byte: Any) -> Any:
    """Emit a byte 64 times."""
    b = lanes.builder
    one = b.insert_element(ir.Constant(COLUMNS, ir.Undefined), b.trunc(byte, ir.IntType(8)), lanes.word(0))
    return b.shuffle_vector(one, one, ir.Constant(ir.VectorType(lanes.word, BLOCK), [0] * BLOCK))


def _high(lanes: Lanes, halves: Any) -> Any:
    """Emit the second byte of each pair."""
    return lanes.builder.lshr(halves, ir.Constant(HALVES, [8] * (BLOCK // 2)))


def _in_order(lanes: Lanes, pairs: Any, high: Any) -> Any:
    """Emit 64 words from 16-bit sums of pairs of bytes as they are, and of their second bytes."""
    b = lanes.builder
    low = b.sub(pairs, b.shl(high, ir.Constant(HALVES, [8] * (BLOCK // 2))))
    order = [i // 2 + BLOCK // 2 * (i % 2) for i in range(BLOCK)]
    both = b.shuffle_vector(low, high, ir.Constant(ir.VectorType(lanes.word, BLOCK), order))
    return b.zext(both, ir.VectorType(lanes.word, BLOCK))


class _Adder:
    """Emits sums of vectors of bytes.

    Parameters
    ----------
    lanes : Lanes
        Where the code goes and the memory lies.
    flip : int64
        Bits by which bytes are inverted. Inverting all three bits inverts their sum and their carry, so it is done when
        bytes have been added up.
    """

    def __init__(self, lanes: Lanes, flip: Any) -> None:
        self.lanes, self.nothing = lanes, _splat(lanes, flip)

    def add(self, sums: list[Any], four: list[Any]) -> list[Any]:
        """Emit the addition of four vectors.

        ``sums`` are vectors of bytes that count once and twice, and 16-bit sums of what counts fourfold: of pairs of
        bytes as they are, and of the second byte of each.
        """
        ones, carry = self._bits(sums[0], four[0], four[1])
        ones, other = self._bits(ones, four[2], four[3])
        twos, fours = self._bits(sums[1], carry, other)
        return [ones, twos, *self.add_one(sums[2:], fours)]

    def add_one(self, sums: list[Any], values: Any) -> list[Any]:
        """Emit the addition of a vector to 16-bit sums."""
        b = self.lanes.builder
        halves = b.bitcast(b.xor(values, self.nothing), HALVES)
        return [b.add(sums[0], halves), b.add(sums[1], _high(self.lanes, halves))]

    def totals(self, sums: list[Any], more: list[Any]) -> Any:
        """Emit the sums of the columns, in their order, as 64 words; ``more`` are 16-bit sums that count once."""
        b = self.lanes.builder
        for part, double in ((sums[2:], 2), (sums[1], 1), (sums[0], 0)):
            pair = part if double == 2 else self.add_one([ir.Constant(HALVES, None)] * 2, part)
            shift = ir.Constant(HALVES, [double] * (BLOCK // 2))
            more = [b.add(old, b.shl(new, shift)) for old, new in zip(more, pair, strict=True)]
        return _in_order(self.lanes, *more)

    def _bits(self, x: Any, y: Any, z: Any) -> tuple[Any, Any]:
        """Three bits to a sum and a carry."""
        b = self.lanes.builder
        if vector_bits() == 512:
            words = [b.bitcast(value, self.lanes.words) for value in (x, y, z)]
            return b.bitcast(self._of_three(words, XOR), COLUMNS), b.bitcast(self._of_three(words, MAJORITY), COLUMNS)
        both = b.xor(x, y)
        return b.xor(both, z), b.or_(b.and_(x, y), b.and_(both, z))

    def _of_three(self, words: list[Any], table: int) -> Any:
        b, name = self.lanes.builder, "llvm.x86.avx512.pternlog.d.512"
        known = b.module.globals.get(name)
        kind = ir.FunctionType(self.lanes.words, [self.lanes.words] * 3 + [self.lanes.word])
        return b.call(known or ir.Function(b.module, kind, name), [*words, self.lanes.word(table)])


def _each_block(lanes: Lanes, length: Any, emit: Any) -> None:
    """Emit ``emit(block, column)`` for each block of ``length`` columns.

    The last block moves back to be whole: columns that come twice come out the same.
    """
    b, wide = lanes.builder, ir.IntType(64)
    last = b.sub(length, wide(BLOCK))

    def one_block(block: Any, _: list[Any]) -> list[Any]:
        column = b.mul(block, wide(BLOCK))
        emit(block, b.select(b.icmp_signed("<", column, last), column, last))
        return []

    emit_loop(b, b.sdiv(b.add(length, wide(BLOCK - 1)), wide(BLOCK)), [], one_block)


@intrinsic
def sum_columns(typing_context: Any, memory: Any, rows: Any, length: Any, flip: Any, kept: Any, word: Any) -> Any:
    """Write the sums of columns of bytes, after some of their bits were inverted.

    ``sum_columns(memory, (place, stride, count), length, flip, kept, word)``: ``memory`` is an array of uint8, and the
    first of ``count`` rows, at most ``MOST_ROWS``, begins at ``place``. The sums of ``length`` columns, at least
    ``BLOCK``, go to ``kept`` as int32 from word ``word`` on.
    """
    del typing_context, length, flip, word

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        room = Words(context, builder, signature.args[4], arguments[4])
        b, wide = builder, ir.IntType(64)
        place, stride, count = (b.extract_value(arguments[1], i) for i in range(3))
        length, word, adder = arguments[2], arguments[5], _Adder(lanes, arguments[3])

        def one_block(_: Any, column: Any) -> None:
            first = b.add(place, column)

            def row(number: Any) -> Any:
                return lanes.load(COLUMNS, b.add(first, b.mul(number, stride)), 1)

            def four_rows(index: Any, sums: list[Any]) -> list[Any]:
                number = b.shl(index, wide(2))
                return adder.add(sums, [row(b.add(number, wide(i))) for i in range(4)])

            def one_row(index: Any, sums: list[Any]) -> list[Any]:
                number = b.add(b.and_(count, wide(-4)), index)
                return adder.add_one(sums, row(number))

            empty = [ir.Constant(HALVES, None)] * 2
            sums = emit_loop(b, b.ashr(count, wide(2)), [adder.nothing] * 2 + empty, four_rows)
            more = emit_loop(b, b.and_(count, wide(3)), empty, one_row)
            room.store(adder.totals(sums, more), b.shl(b.add(word, column), wide(2)))

        _each_block(lanes, length, one_block)
        return context.get_dummy_value()

    return types.void(memory, rows, types.int64, types.int64, kept, types.int64), codegen


@intrinsic
def copy_columns(typing_context: Any, memory: Any, rows: Any, length: Any, flip: Any, kept: Any, word: Any) -> Any:
    """Copy rows of bytes, invert some of their bits, and add up their columns.

    ``copy_columns(memory, (source, place, stride, count), length, flip, kept, word)``: ``count`` rows of ``length``
    bytes, at least ``BLOCK``, are copied within ``memory`` to where there are no others of them. Each block is counted
    in ``COUNTED_BYTES`` of ``kept``, from word ``word`` on, which takes ``MOST_ROWS`` rows.
    """
    del typing_context, length, flip, word

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        room = Words(context, builder, signature.args[4], arguments[4])
        b, wide = builder, ir.IntType(64)
        source, place, stride, count = (b.extract_value(arguments[1], i) for i in range(4))
        flip, counted = _splat(lanes, arguments[3]), b.shl(arguments[5], wide(2))

        def one_block(block: Any, column: Any) -> None:
            at = b.add(counted, b.mul(block, wide(COUNTED_BYTES)))
            places = [at, b.add(at, wide(BLOCK))]

            def one_row(row: Any, sums: list[Any]) -> list[Any]:
                ahead = b.add(column, b.mul(row, stride))
                values = b.xor(lanes.load(COLUMNS, b.add(source, ahead), 1), flip)
                lanes.store(values, b.add(place, ahead), 1)
                halves = b.bitcast(values, HALVES)
                return [b.add(sums[0], halves), b.add(sums[1], _high(lanes, halves))]

            sums = emit_loop(b, count, [room.load(HALVES, one) for one in places], one_row)
            for total, one in zip(sums, places, strict=True):
                room.store(total, one)

        _each_block(lanes, arguments[2], one_block)
        return context.get_dummy_value()

    return types.void(memory, rows, types.int64, types.int64, kept, types.int64), codegen


@intrinsic
def settle_columns(typing_context: Any, kept: Any, length: Any, counted: Any, word: Any) -> Any:
    """Add what :data:`copy_columns` counted to int32 from word ``word`` of ``kept`` on, and begin anew.

    ``settle_columns(kept, length, counted, word)``: ``counted`` is the word where that is.
    """
    del typing_context, length, counted, word

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        room = Words(context, builder, signature.args[0], arguments[0])
        b, wide = builder, ir.IntType(64)
        counted, word = arguments[2:]

        def one_block(block: Any, column: Any) -> None:
            at = b.add(b.shl(counted, wide(2)), b.mul(block, wide(COUNTED_BYTES)))
            pairs, high = room.load(HALVES, at), room.load(HALVES, b.add(at, wide(BLOCK)))
            sums = _in_order(room, pairs, high)
            for place in (at, b.add(at, wide(BLOCK))):
                room.store(ir.Constant(HALVES, None), place)
            # Of a block that has moved back, the first columns belong to the one before.
            known = b.trunc(b.sub(b.mul(block, wide(BLOCK)), column), room.word)
            one = b.insert_element(ir.Constant(sums.type, ir.Undefined), known, room.word(0))
            known = b.shuffle_vector(one, one, ir.Constant(sums.type, [0] * BLOCK))
            fresh = b.icmp_signed(">=", ir.Constant(sums.type, list(range(BLOCK))), known)
            place = b.shl(b.add(word, column), wide(2))
            old = room.load(sums.type, place)
            room.store(b.select(fresh, b.add(old, sums), old), place)

        _each_block(room, arguments[1], one_block)
        return context.get_dummy_value()

    return types.void(kept, types.int64, types.int64, types.int64), codegen
