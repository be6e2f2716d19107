"""The (79,64) double-error-correcting, triple-error-detecting code: a shortened BCH code and an overall parity bit.

The BCH code has length 127 and corrects two errors: its generator is the product of the minimal polynomials of a and
a^3 in GF(128) modulo x^7 + x^3 + 1, a being x. Bit k of the word is the coefficient of x^(14 + k), bits 0 to 13 of the
check are the remainder, bit 14 makes the number of ones even. Bit 15 belongs to no codeword: it is kept at zero, and
set back when it is struck.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from node.jit import kernel

FACTORS = (0b10001001, 0b10001111)
"""Minimal polynomials of a and of a^3, bit i being the coefficient of x^i."""

NONE = 127
"""In place of a position: there is no such error."""

UNCORRECTABLE = 126


def _columns() -> tuple[int, ...]:
    """Give what each data bit adds to the check bits."""
    generator = 0
    for i in range(8):
        generator ^= FACTORS[0] << i if FACTORS[1] >> i & 1 else 0
    found, remainder = [], 1 << 13
    for _ in range(64):
        remainder <<= 1
        remainder ^= generator if remainder >> 14 else 0
        found.append(remainder | (1 ^ remainder.bit_count() & 1) << 14)
    return tuple(found)


COLUMNS = _columns()


def _sums() -> np.ndarray[Any, np.dtype[np.uint16]]:
    """Give what each value of each byte of a word adds to the check bits."""
    table = np.zeros((8, 256), np.uint16)
    for k, column in enumerate(COLUMNS):
        has = np.arange(256) >> k % 8 & 1
        table[k // 8] ^= (has * column).astype(np.uint16)
    return table


def _errors() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Give for each syndrome the one or two struck bits: 0 to 63 in the word, 64 to 78 in the check bits."""
    table = np.full((1 << 15, 2), UNCORRECTABLE, np.uint8)
    table[0] = NONE
    full = [*COLUMNS, *(1 << r for r in range(15))]
    for k, column in enumerate(full):
        table[column] = k, NONE
    for (i, first), (j, second) in combinations(enumerate(full), 2):
        table[first ^ second] = i, j
    return table


SUMS = _sums()
ERRORS = _errors()


@kernel
def check_of(word: Any) -> Any:
    """Give the check bits of a word."""
    found = np.uint16(0)
    for i in range(8):
        found ^= SUMS[i, np.int64(word >> np.uint64(8 * i)) & 255]
    return found


@kernel
def difference(words: Any, check: Any, i: int) -> Any:
    """Give the check bits of word i plus those that are kept."""
    return np.int64(check_of(words[i])) ^ np.int64(check[2 * i]) ^ np.int64(check[2 * i + 1]) << 8


@kernel
def encode(words: Any, check: Any) -> None:
    """Write the check bits of each word into two bytes."""
    for i in range(words.size):
        made = check_of(words[i])
        check[2 * i] = made & 255
        check[2 * i + 1] = made >> 8


@kernel
def wrong_words(words: Any, check: Any) -> int:
    """Give the number of words whose syndrome is not zero."""
    wrong = 0
    for i in range(words.size):
        wrong += difference(words, check, i) != 0
    return wrong


@kernel
def correct(words: Any, check: Any, counts: Any) -> None:
    """Repair words; add to ``counts`` the repaired ones, then those left wrong."""
    for i in range(words.size):
        found = difference(words, check, i)
        if found == 0:
            continue
        places = ERRORS[found & 0x7FFF]
        if places[0] == UNCORRECTABLE:
            counts[1] += 1
            continue
        check[2 * i + 1] &= 0x7F
        for place in places:
            at = np.int64(place)
            if at < 64:
                words[i] ^= np.uint64(1) << np.uint64(at)
            elif at < 79:
                check[2 * i + (at - 64 >> 3)] ^= np.uint8(1 << (at & 7))
        counts[0] += 1


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    words, check, counts = np.zeros(1, np.uint64), np.zeros(2, np.uint8), np.zeros(2, np.int64)
    encode(words, check)
    wrong_words(words, check)
    correct(words, check, counts)
