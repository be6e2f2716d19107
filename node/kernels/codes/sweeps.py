"""The five vertical codes as sums over the rows of a block.

==========  ==========  ===========================================================================
parity      1 check     the sum of all rows
diagonal    2 checks    the sum, and the sum with row i turned left by i bits within each word
symbols     2 checks    over GF(256): the sum, and the sum with row i times a^(63 - i)
chipkill    3 checks    these two, and the sum with row i times a^-(63 - i)
hsiao       8 checks    check r adds up the rows whose column of the matrix has bit r
==========  ==========  ===========================================================================

GF(256) is taken modulo x^8 + x^4 + x^3 + x^2 + 1, and a is x.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node.jit import cpu_features, ir
from node.kernels.codes.blocks import (
    BYTES,
    LANES,
    RECORD_BYTES,
    ROWS,
    WORDS,
    Emit,
    Row,
    call,
    make_scan,
    make_store,
    settled,
    splat,
)
from node.kernels.codes.matrices import LAID_COLUMNS

FIELD = 0x11D

GFNI = "gfni" in cpu_features()

DOUBLING, HALVING = 0x8001828488102040, 0x0205091120408001
"""Multiplication and division by a as 8 x 8 matrices of bits, in the form that the instruction of GFNI takes."""


def _parity(builder: Any, row: Row) -> list[Any]:
    total = row(0)
    for i in range(1, ROWS):
        total = builder.xor(total, row(i))
    return [total]


def _diagonal(builder: Any, row: Row) -> list[Any]:
    column = turned = row(0)
    for i in range(1, ROWS):
        word = row(i)
        column = builder.xor(column, word)
        left = call(builder, f"llvm.fshl.v{LANES}i64", WORDS, [word, word, splat(WORDS, i)])
        turned = builder.xor(turned, left)
        if i % 4 == 3:
            column, turned = settled(builder, column), settled(builder, turned)
    return [column, turned]


def _hsiao(builder: Any, row: Row) -> list[Any]:
    sums = [splat(WORDS, 0) for _ in range(8)]
    for i in range(ROWS):
        word = row(i)
        for r in range(8):
            if LAID_COLUMNS[i] >> r & 1:
                sums[r] = builder.xor(sums[r], word)
        if i % 4 == 3:
            sums = [settled(builder, total) for total in sums]
    return sums


def _transformed(builder: Any, symbols: Any, matrix: int) -> Any:
    """Multiply each byte, as eight bits, by a matrix."""
    wide = builder.bitcast(splat(WORDS, matrix), BYTES)
    return call(builder, f"llvm.x86.vgf2p8affineqb.{64 * LANES}", BYTES, [symbols, wide, ir.IntType(8)(0)])


def _doubled(builder: Any, symbols: Any) -> Any:
    """Multiply each byte by a."""
    if GFNI:
        return _transformed(builder, symbols, DOUBLING)
    high = builder.icmp_signed("<", symbols, splat(BYTES, 0))
    carried = builder.select(high, splat(BYTES, FIELD & 0xFF), splat(BYTES, 0))
    return builder.xor(builder.add(symbols, symbols), carried)


def _halved(builder: Any, symbols: Any) -> Any:
    """Divide each byte by a."""
    if GFNI:
        return _transformed(builder, symbols, HALVING)
    low = builder.neg(builder.and_(symbols, splat(BYTES, 1)))
    carried = builder.and_(low, splat(BYTES, FIELD >> 1))
    return builder.xor(builder.lshr(symbols, splat(BYTES, 1)), carried)


def _symbols(builder: Any, row: Row, steps: tuple[Callable[[Any, Any], Any], ...] = (_doubled,)) -> list[Any]:
    """Add the rows up, and once more for each step by Horner's rule: row i is multiplied 63 - i times."""
    plain = row(0)
    sums = [builder.bitcast(plain, BYTES) for _ in steps]
    for i in range(1, ROWS):
        word = row(i)
        plain = builder.xor(plain, word)
        symbols = builder.bitcast(word, BYTES)
        sums = [builder.xor(step(builder, total), symbols) for step, total in zip(steps, sums, strict=True)]
        if i % 4 == 3 and not GFNI:
            plain, sums = settled(builder, plain), [settled(builder, total) for total in sums]
    return [plain, *(builder.bitcast(total, WORDS) for total in sums)]


def _chipkill(builder: Any, row: Row) -> list[Any]:
    return _symbols(builder, row, (_doubled, _halved))


CHECKS = (1, 2, 2, 3, 8)
"""Check rows of each code, in the order of the table."""


def _made(emit: Emit, checks: int, record_bytes: int = RECORD_BYTES) -> tuple[Any, Any]:
    return make_scan(emit, checks, record_bytes), make_store(emit)


parity_scan, parity_store = _made(_parity, CHECKS[0], 0)
diagonal_scan, diagonal_store = _made(_diagonal, CHECKS[1])
symbols_scan, symbols_store = _made(_symbols, CHECKS[2])
chipkill_scan, chipkill_store = _made(_chipkill, CHECKS[3])
hsiao_scan, hsiao_store = _made(_hsiao, CHECKS[4])
