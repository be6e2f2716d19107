"""The five vertical codes as sums over the rows of a block.

==========  ==========  ===========================================================================
parity      1 check     the sum of all rows
diagonal    2 checks    the sum, and the sum with row i turned left by i bits within each word
symbols     2 checks    over GF(256): the sum, and the sum with row i times a^(63 - i)
chipkill    3 checks    these two, and the sum with row i times a^i
hsiao       8 checks    check r adds up the rows whose column of the matrix has bit r
==========  ==========  ===========================================================================

GF(256) is taken modulo x^8 + x^4 + x^3 + x^2 + 1, and a is x. Horner's rule makes both sums of powers from
doublings alone, the last one from the last row to the first.
"""

from __future__ import annotations

from typing import Any

from node.jit import cpu_features, ir
from node.kernels.codes.blocks import BYTES, LANES, ROWS, WORDS, Row, call, make_differs, make_store, splat
from node.kernels.codes.matrices import LAID_COLUMNS

FIELD = 0x11D

A_TO_HALF = 0x9D
"""a^32 in the field."""

GFNI = "gfni" in cpu_features()
DOUBLING = 0x8001828488102040
"""The multiplication by x as the 8 x 8 matrix of bits that the instruction takes."""

GFNI_NAME = f"llvm.x86.vgf2p8affineqb.{64 * LANES}"


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
    return [column, turned]


def _hsiao(builder: Any, row: Row) -> list[Any]:
    sums = [splat(WORDS, 0) for _ in range(8)]
    for i in range(ROWS):
        word = row(i)
        for r in range(8):
            if LAID_COLUMNS[i] >> r & 1:
                sums[r] = builder.xor(sums[r], word)
    return sums


def _doubled(builder: Any, symbols: Any) -> Any:
    """Multiply each byte by x."""
    if GFNI:
        return call(
            builder, GFNI_NAME, BYTES, [symbols, builder.bitcast(splat(WORDS, DOUBLING), BYTES), ir.IntType(8)(0)]
        )
    high = builder.icmp_signed("<", symbols, splat(BYTES, 0))
    carried = builder.select(high, splat(BYTES, FIELD & 0xFF), splat(BYTES, 0))
    return builder.xor(builder.add(symbols, symbols), carried)


def _times(builder: Any, symbols: Any, factor: int) -> Any:
    """Multiply each byte by a constant, by doubling and adding."""
    total = None
    while factor:
        if factor & 1:
            total = symbols if total is None else builder.xor(total, symbols)
        factor >>= 1
        symbols = _doubled(builder, symbols)
    return total


def _powers(builder: Any, words: list[Any]) -> Any:
    """Give the sum of the words, word i times a^(63 - i): two chains of Horner's rule at a time, then joined."""
    half = len(words) // 2
    first, second = (builder.bitcast(words[i], BYTES) for i in (0, half))
    for i in range(1, half):
        first = builder.xor(_doubled(builder, first), builder.bitcast(words[i], BYTES))
        second = builder.xor(_doubled(builder, second), builder.bitcast(words[half + i], BYTES))
    return builder.bitcast(builder.xor(_times(builder, first, A_TO_HALF), second), WORDS)


def _symbols(builder: Any, row: Row) -> list[Any]:
    words = [row(i) for i in range(ROWS)]
    return [*_parity(builder, words.__getitem__), _powers(builder, words)]


def _chipkill(builder: Any, row: Row) -> list[Any]:
    words = [row(i) for i in range(ROWS)]
    return [*_parity(builder, words.__getitem__), _powers(builder, words), _powers(builder, words[::-1])]


parity_differs, parity_store = make_differs(_parity), make_store(_parity)
diagonal_differs, diagonal_store = make_differs(_diagonal), make_store(_diagonal)
symbols_differs, symbols_store = make_differs(_symbols), make_store(_symbols)
chipkill_differs, chipkill_store = make_differs(_chipkill), make_store(_chipkill)
hsiao_differs, hsiao_store = make_differs(_hsiao), make_store(_hsiao)
