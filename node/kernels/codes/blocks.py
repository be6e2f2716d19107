"""The block of the vertical codes, and vectors of it: LLVM instructions over 64 rows of 64 bytes.

A block is 4 KiB: 64 rows, each a cache line. A codeword of a vertical code is a column: the same bit, byte or
word of every row. One vector register then holds a piece of a row, so that all its columns are added up at once
by the instructions for one. Plain loops are left to the compiler's mood: one register too many, or a trip count
that is not constant, costs a factor of four, so the instructions are written out here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from node.jit import intrinsic, ir, types, vector_bits

ROWS = 64
ROW_BYTES = 64
ROW_WORDS = 8
BLOCK_BYTES = ROWS * ROW_BYTES
BLOCK_WORDS = BLOCK_BYTES // 8

LANES = min(vector_bits(), 512) // 64
"""Words of a row in one vector register of this machine."""

PIECES = ROW_WORDS // LANES
"""Registers that a row takes."""

PIECE_BYTES = 8 * LANES

WORD = ir.IntType(64)
WORDS = ir.VectorType(WORD, LANES)
BYTES = ir.VectorType(ir.IntType(8), 8 * LANES)
HALVES = ir.VectorType(ir.IntType(32), 2 * LANES)

RECORD_BYTES = 16
"""What is kept for each block beside its check rows: its digest, twice."""

ROWS_AHEAD = 64
"""Rows that are asked for this long before they are added: the same row of the next block. Memory that is read in this
order comes a tenth to a third slower without it: the processor's own reading ahead ends with each page of 4 KiB."""

BLOCKS_AHEAD = 8
"""The same for check rows, in blocks. They are asked for one by one between the rows of the data: eight at once, after
the last row, keep the data waiting."""

_REGISTERS = {"x86_64": "v", "AMD64": "v", "aarch64": "w", "arm64": "w"}
"""The letter that stands for a vector register in inline assembly, by the name of the machine."""

Row = Callable[[int], Any]
Emit = Callable[[Any, Row], list[Any]]
"""Given a builder and what loads row i, emits the instructions for the check rows and gives them in order."""


def splat(kind: Any, value: int) -> Any:
    """Give a vector constant with the same number in each lane."""
    return ir.Constant(kind, [value] * kind.count)


def call(builder: Any, name: str, result: Any, operands: list[Any]) -> Any:
    """Call an LLVM intrinsic by its full name."""
    known = builder.module.globals.get(name)
    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return builder.call(known or ir.Function(builder.module, kind, name), operands)


def add_up(builder: Any, vector: Any, operation: str) -> Any:
    """Combine the lanes of a vector of words by ``or`` or ``add``."""
    return call(builder, f"llvm.vector.reduce.{operation}.v{LANES}i64", WORD, [vector])


def settled(builder: Any, vector: Any) -> Any:
    """Give a vector as it is, made in a register by now: what was added to it is not put off or added in another order.

    Left to itself, the compiler finishes one sum over all rows before it begins the next, keeps the rows on the stack
    until then, and loses a tenth of the speed of the memory.
    """
    register = _REGISTERS.get(platform.machine())
    if register is None:
        return vector
    kind = ir.FunctionType(vector.type, [vector.type])
    return builder.call(ir.InlineAsm(kind, "", f"={register},0", side_effect=False), [vector])


class Place:
    """Bytes of an array from an offset on, read and written in vectors without regard to alignment."""

    def __init__(self, context: Any, builder: Any, array: tuple[Any, Any], offset: Any) -> None:
        self.builder = builder
        kind, value = array
        data = context.make_array(kind)(context, builder, value).data
        start = builder.bitcast(data, ir.IntType(8).as_pointer())
        self.start = builder.gep(start, [offset])

    def pointer(self, offset: int, kind: Any) -> Any:
        """Give the address of a value of a kind, ``offset`` bytes on."""
        return self.builder.bitcast(self.builder.gep(self.start, [WORD(offset)]), kind.as_pointer())

    def load(self, offset: int, kind: Any = WORDS) -> Any:
        """Load a value of a kind."""
        return self.builder.load(self.pointer(offset, kind), align=1)

    def prefetch(self, offset: int) -> None:
        """Ask for a cache line that will be read; past the end of the array this does nothing."""
        builder, half = self.builder, ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [self.start.type, half, half, half])
        name = "llvm.prefetch.p0"
        known = builder.module.globals.get(name)
        place = builder.gep(self.start, [WORD(offset)])
        builder.call(known or ir.Function(builder.module, kind, name), [place, half(0), half(3), half(1)])

    def row(self, number: int) -> Any:
        """Load a piece of a row of a block, and ask for one further on."""
        self.prefetch((number + ROWS_AHEAD) * ROW_BYTES)
        return self.load(number * ROW_BYTES)

    def store(self, value: Any, offset: int) -> None:
        """Write a value."""
        self.builder.store(value, self.pointer(offset, value.type), align=1)


def make_scan(emit: Emit, checks: int, record_bytes: int) -> Any:
    """Make ``scan(data, check, records, first, last)``: the first block that is not clean, or ``last``.

    ``emit`` gives so many ``checks``. A block is clean when its check rows are those that are kept and the halves of
    its record are equal. The whole loop is written out: with a choice of the code in it, or a call to another kernel,
    it loses a twentieth of its speed.
    """

    @intrinsic
    def scan(typing_context: Any, data: Any, check: Any, records: Any, first: Any, last: Any) -> Any:
        del typing_context, first, last

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def place(array: int, offset: Any) -> Place:
                return Place(context, builder, (signature.args[array], arguments[array]), offset)

            pieces = WORD(PIECES)
            start, end = (builder.mul(number, pieces) for number in arguments[3:])
            before, head = builder.block, builder.append_basic_block("scan")
            body, done = builder.append_basic_block("block"), builder.append_basic_block("scanned")
            builder.branch(head)
            builder.position_at_end(head)
            index = builder.phi(WORD)
            number, piece = builder.udiv(index, pieces), builder.mul(builder.urem(index, pieces), WORD(PIECE_BYTES))
            builder.cbranch(builder.icmp_signed("<", index, end), body, done)
            builder.position_at_end(body)
            rows = place(0, builder.add(builder.mul(number, WORD(BLOCK_BYTES)), piece))
            kept = place(1, builder.add(builder.mul(number, WORD(checks * ROW_BYTES)), piece))

            def row(number: int) -> Any:
                check, between = divmod(number, ROWS // checks)
                if between == 0 and check < checks:
                    kept.prefetch((check + BLOCKS_AHEAD * checks) * ROW_BYTES)
                return rows.row(number)

            wrong = splat(WORDS, 0)
            for check_row, vector in enumerate(emit(builder, row)):
                wrong = builder.or_(wrong, builder.xor(vector, kept.load(check_row * ROW_BYTES)))
            found = add_up(builder, wrong, "or")
            if record_bytes:
                record = place(2, builder.mul(number, WORD(record_bytes)))
                halves = record.load(0, WORD), record.load(record_bytes // 2, WORD)
                found = builder.or_(found, builder.xor(*halves))
            following, after = builder.add(index, WORD(1)), builder.block
            builder.cbranch(builder.icmp_unsigned("==", found, WORD(0)), head, done)
            index.add_incoming(start, before)
            index.add_incoming(following, after)
            builder.position_at_end(done)
            return number

        return types.int64(data, check, records, types.int64, types.int64), codegen

    return scan


def make_store(emit: Emit) -> Any:
    """Make ``store(data, data_offset, check, check_offset)``, which writes a piece of the check rows of a block."""

    @intrinsic
    def store(typing_context: Any, data: Any, data_offset: Any, check: Any, check_offset: Any) -> Any:
        del typing_context, data_offset, check_offset

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows = Place(context, builder, (signature.args[0], arguments[0]), arguments[1])
            kept = Place(context, builder, (signature.args[2], arguments[2]), arguments[3])
            for number, vector in enumerate(emit(builder, rows.row)):
                kept.store(vector, number * ROW_BYTES)
            return context.get_dummy_value()

        return types.void(data, types.int64, check, types.int64), codegen

    return store


@intrinsic
def load_word(typing_context: Any, data: Any, offset: Any) -> Any:
    """Give the eight bytes of an array of bytes from ``offset`` on as an uint64."""
    del typing_context, offset

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return Place(context, builder, (signature.args[0], arguments[0]), arguments[1]).load(0, WORD)

    return types.uint64(data, types.int64), codegen


@intrinsic
def store_word(typing_context: Any, data: Any, offset: Any, word: Any) -> Any:
    """Write an uint64 as the eight bytes of an array of bytes from ``offset`` on."""
    del typing_context, offset, word

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        Place(context, builder, (signature.args[0], arguments[0]), arguments[1]).store(arguments[2], 0)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), codegen
