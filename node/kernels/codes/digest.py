"""A digest of a block, by which a correction is judged before it is written.

NH of J. Black, S. Halevi, H. Krawczyk, T. Krovetz, P. Rogaway, "UMAC: Fast and Secure Message Authentication",
CRYPTO 1999: the sum, modulo 2^64, of (low half + key) * (high half + key) over the words of the block, halves and
their sums modulo 2^32. Two different blocks have the same digest for at most 2^-32 of all keys. It is not linear
over bits, so no pattern that a linear code takes for a codeword is one for the digest.

The digest of a block is kept twice, so that a struck one is noticed, and known by what the block itself says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import intrinsic, ir, kernel, types
from node.kernels.codes.blocks import (
    BLOCK_WORDS,
    HALVES,
    PIECES,
    RECORD_BYTES,
    ROW_BYTES,
    ROWS,
    WORDS,
    Place,
    add_up,
    splat,
    store_word,
)

STREAMS = 4
"""Sums that are added to in turn, so that none waits for its last multiplication."""


def _keys() -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Give the keys: the first numbers of the generator splitmix64 from state 0."""
    keys = []
    for i in range(1, BLOCK_WORDS + 1):
        z = i * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        keys.append(z ^ z >> 31)
    return np.array(keys, np.uint64)


KEYS = _keys()


@intrinsic
def _sum_of_products(typing_context: Any, block: Any, offset: Any, keys: Any) -> Any:
    """Give the digest of the block of an array of bytes that begins at ``offset``."""
    del typing_context, offset

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = Place(context, builder, (signature.args[0], arguments[0]), arguments[1])
        secret = Place(context, builder, (signature.args[2], arguments[2]), ir.IntType(64)(0))
        low, half = splat(WORDS, 2**32 - 1), splat(WORDS, 32)
        sums = [splat(WORDS, 0) for _ in range(STREAMS)]
        for number in range(ROWS * PIECES):
            place = number * ROW_BYTES // PIECES
            mixed = builder.bitcast(builder.add(words.load(place, HALVES), secret.load(place, HALVES)), WORDS)
            product = builder.mul(builder.and_(mixed, low), builder.lshr(mixed, half))
            sums[number % STREAMS] = builder.add(sums[number % STREAMS], product)
        total = sums[0]
        for other in sums[1:]:
            total = builder.add(total, other)
        return add_up(builder, total, "add")

    return types.uint64(block, types.int64, keys), codegen


@kernel
def digest(block: Any, offset: int) -> Any:
    """Give the digest of the 4 KiB of an array of bytes from ``offset`` on."""
    return _sum_of_products(block, offset, KEYS)


@kernel
def keep(block: Any, offset: int, records: Any, number: int) -> None:
    """Write the record of a block."""
    word = digest(block, offset)
    store_word(records, number * RECORD_BYTES, word)
    store_word(records, number * RECORD_BYTES + 8, word)
