"""The (39,32) single-error-correcting, double-error-detecting code, seven check bits in a byte for each 32-bit word.

Bit k of the word is bit k of the published masks, row r makes bit r of the check byte. Bit 7 of the check byte
belongs to no codeword: it is kept at zero, and set back when it is struck.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, popcount_u64
from node.kernels.codes.matrices import PUBLISHED_39_32, UNCORRECTABLE, positions

BLOCK_WORDS = 1024
"""Words tested at a time (4 KiB) before any of them is decoded."""

SPARE = 0x80
"""The bit of a check byte that belongs to no codeword."""

_M0, _M1, _M2, _M3, _M4, _M5, _M6 = (np.uint64(mask & 0xFFFFFFFF) for mask in PUBLISHED_39_32)
_ONE, _S2, _S3, _S4, _S5, _S6 = (np.uint64(shift) for shift in range(1, 7))
_COLUMNS = tuple(sum((mask >> k & 1) << r for r, mask in enumerate(PUBLISHED_39_32)) for k in range(32))
POSITIONS = positions(_COLUMNS, 7)
"""The struck bit for each syndrome: 0 to 31 in the word, 32 to 38 in the check byte."""


@kernel
def check_byte(word: Any) -> Any:
    """Give the check byte of one word, as an uint64."""
    wide = np.uint64(word)
    return (
        (popcount_u64(wide & _M0) & _ONE)
        | ((popcount_u64(wide & _M1) & _ONE) << _ONE)
        | ((popcount_u64(wide & _M2) & _ONE) << _S2)
        | ((popcount_u64(wide & _M3) & _ONE) << _S3)
        | ((popcount_u64(wide & _M4) & _ONE) << _S4)
        | ((popcount_u64(wide & _M5) & _ONE) << _S5)
        | ((popcount_u64(wide & _M6) & _ONE) << _S6)
    )


@kernel
def encode(words: Any, check: Any) -> None:
    """Write the check byte of each word."""
    for i in range(words.size):
        check[i] = np.uint8(check_byte(words[i]))


@kernel
def wrong_words(words: Any, check: Any) -> int:
    """Give the number of words whose syndrome is not zero."""
    wrong = 0
    for i in range(words.size):
        wrong += check_byte(words[i]) != np.uint64(check[i])
    return wrong


@kernel
def correct_each(words: Any, check: Any, counts: Any) -> None:
    """Repair words one by one; add to ``counts`` the repaired ones, then those left wrong."""
    for i in range(words.size):
        difference = np.int64(check_byte(words[i]) ^ np.uint64(check[i]))
        if difference == 0:
            continue
        syndrome = difference & 0x7F
        position = np.int64(POSITIONS[syndrome]) if syndrome else -1
        if position == UNCORRECTABLE:
            counts[1] += 1
            continue
        check[i] &= np.uint8(0x7F)
        if position >= 32:
            check[i] ^= np.uint8(1 << (position - 32))
        elif position >= 0:
            words[i] ^= np.uint32(1 << position)
        counts[0] += 1


@kernel
def correct(words: Any, check: Any, counts: Any) -> None:
    """Do as `correct_each`, opening only blocks that are not clean."""
    for start in range(0, words.size, BLOCK_WORDS):
        part = slice(start, min(start + BLOCK_WORDS, words.size))
        if wrong_words(words[part], check[part]):
            correct_each(words[part], check[part], counts)


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    words, check, counts = np.zeros(1, np.uint32), np.zeros(1, np.uint8), np.zeros(2, np.int64)
    encode(words, check)
    wrong_words(words, check)
    correct(words, check, counts)
