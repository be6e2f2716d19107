"""Cyclic redundancy checks of 32 bits, reflected, by tables and by carry-less multiplication.

By tables: sixteen bytes at a time, "slicing" (M. E. Kounavis, F. L. Berry, "A systematic approach to building high
performance, software-based, CRC generators", ISCC 2005). By multiplication: the message is taken as a polynomial, and
``FOLD_BYTES`` of it are replaced by what they leave modulo the generator that many bytes further on (V. Gopal et al.,
"Fast CRC computation for generic polynomials using PCLMULQDQ instruction", Intel 2009), as long as there are more; the
last of them go through the tables. Both give the same number, whatever the generator.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np

from node.jit import cpu_features, intrinsic, ir, kernel, types
from node.kernels.codes.blocks import Place, call, load_word, splat

SLICES = 16
"""Tables, and bytes that go through them at a time."""


def _multiplier_bits() -> int:
    """Give the width of the vectors that the processor multiplies without carry; 0 where it does not."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return 0
    features = cpu_features()
    if "vpclmulqdq" in features:
        return 512 if "avx512f" in features else 256
    return 128 if "pclmul" in features else 0


MULTIPLIER_BITS = _multiplier_bits()
STREAMS = 4
"""Vectors that are folded side by side, so that none waits for its last multiplication."""

FOLD_BYTES = STREAMS * MULTIPLIER_BITS // 8
BYTES_AHEAD = 8192
"""How far ahead memory is asked for."""

_WORD = ir.IntType(64)
_LINE_BYTES = 64
_BYTE, _EIGHT, _WHOLE = np.uint64(0xFF), np.uint64(8), np.uint64(0xFFFFFFFF)


@intrinsic
def fold(typing_context: Any, data: Any, count: Any, value: Any, low: Any, high: Any, made: Any) -> Any:
    """Fold ``count`` pieces of ``FOLD_BYTES``, at least one, into ``made``; ``value`` is added to the first bytes."""
    del typing_context, count, value, low, high

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not MULTIPLIER_BITS:
            # Compiled wherever the kernels are, though it runs only where the instruction exists.
            return context.get_dummy_value()
        lanes = MULTIPLIER_BITS // 64
        words = ir.VectorType(_WORD, lanes)
        suffix = f".{MULTIPLIER_BITS}" if lanes > 2 else ""

        def product(vector: Any, halves: int) -> Any:
            chosen = ir.IntType(8)(halves)
            return call(builder, f"llvm.x86.pclmulqdq{suffix}", words, [vector, factors, chosen])

        def piece(number: Any) -> list[Any]:
            place = Place(context, builder, (signature.args[0], arguments[0]), builder.mul(number, _WORD(FOLD_BYTES)))
            for line in range(0, FOLD_BYTES, _LINE_BYTES):
                place.prefetch(BYTES_AHEAD + line)
            return [place.load(stream * MULTIPLIER_BITS // 8, words) for stream in range(STREAMS)]

        factors = splat(words, 0)
        for lane in range(lanes):
            factors = builder.insert_element(factors, arguments[3 + lane % 2], ir.IntType(32)(lane))
        start = piece(_WORD(0))
        start[0] = builder.xor(start[0], builder.insert_element(splat(words, 0), arguments[2], ir.IntType(32)(0)))
        entry, loop, done = builder.block, builder.append_basic_block("fold"), builder.append_basic_block("folded")
        more = builder.icmp_signed(">", arguments[1], _WORD(1))
        builder.cbranch(more, loop, done)
        builder.position_at_end(loop)
        number, sums = builder.phi(_WORD), [builder.phi(words) for _ in range(STREAMS)]
        added = [
            builder.xor(builder.xor(product(total, 0x00), product(total, 0x11)), vector)
            for total, vector in zip(sums, piece(number), strict=True)
        ]
        following = builder.add(number, _WORD(1))
        builder.cbranch(builder.icmp_signed("<", following, arguments[1]), loop, done)
        for phi, first, again in ((number, _WORD(1), following), *zip(sums, start, added, strict=True)):
            phi.add_incoming(first, entry)
            phi.add_incoming(again, loop)
        builder.position_at_end(done)
        results = [builder.phi(words) for _ in range(STREAMS)]
        for result, first, again in zip(results, start, added, strict=True):
            result.add_incoming(first, entry)
            result.add_incoming(again, loop)
        out = Place(context, builder, (signature.args[5], arguments[5]), _WORD(0))
        for stream, total in enumerate(results):
            out.store(total, stream * MULTIPLIER_BITS // 8)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64, types.uint64, types.uint64, made), codegen


@kernel
def by_tables(tables: Any, data: Any, start: int, value: Any) -> Any:
    """Take bytes from ``start`` on into the register ``value``, an uint64 of 32 bits."""
    whole = start + (data.size - start) // SLICES * SLICES
    for i in range(start, whole, SLICES):
        first, second = load_word(data, i) ^ value, load_word(data, i + 8)
        value = np.uint64(0)
        for byte in range(8):
            shift = np.uint64(8 * byte)
            value ^= tables[15 - byte, first >> shift & _BYTE] ^ tables[7 - byte, second >> shift & _BYTE]
    for i in range(whole, data.size):
        value = value >> _EIGHT ^ tables[0, (value ^ np.uint64(data[i])) & _BYTE]
    return value


@kernel
def by_multiplication(tables: Any, factors: Any, data: Any, value: Any, scratch: Any) -> Any:
    """Do as `by_tables` from the first byte on, where the processor can; ``scratch`` has ``FOLD_BYTES``."""
    if MULTIPLIER_BITS == 0 or data.size < 2 * FOLD_BYTES:
        return by_tables(tables, data, 0, value)
    count = data.size // FOLD_BYTES
    fold(data, count, value, factors[0], factors[1], scratch)
    return by_tables(tables, data, count * FOLD_BYTES, by_tables(tables, scratch, 0, np.uint64(0)))


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.digest` passes."""
    tables, factors, data = np.zeros((SLICES, 256), np.uint64), np.zeros(2, np.uint64), np.zeros(1, np.uint8)
    by_multiplication(tables, factors, data, np.uint64(0), np.zeros(FOLD_BYTES, np.uint8))
