"""The (64,57) single-error-correcting, double-error-detecting code whose check bits lie in the words themselves.

Seven of the eight signed bytes of a word lie between -64 and 63, so that their bits 6 and 7 are equal and bit 6 says
nothing: it takes the check bits (matrix and source: :mod:`node.kernels.codes.matrices`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, popcount_u64
from node.kernels.codes.matrices import IN_PLACE_CHECKS, IN_PLACE_COLUMNS, UNCORRECTABLE, masks

BLOCK_WORDS = 512
"""Words tested at a time (4 KiB) before any of them is decoded."""

CHECKS = np.uint64(sum(1 << bit for bit in IN_PLACE_CHECKS))
"""The check bits of a word."""

POSITIONS = np.full(128, UNCORRECTABLE, np.uint8)
POSITIONS[np.array(IN_PLACE_COLUMNS)] = np.arange(64)
"""The struck bit for each syndrome."""

_M0, _M1, _M2, _M3, _M4, _M5, _M6 = (np.uint64(mask) for mask in masks(IN_PLACE_COLUMNS, 7))
_ONE, _S2, _S3, _S4, _S5, _S6 = (np.uint64(shift) for shift in range(1, 7))
_FIRST_CHECK, _THREE = np.uint64(6), np.uint64(3)


@kernel
def syndrome(word: Any) -> Any:
    """Give the syndrome of a word, 0 for a codeword, as an uint64."""
    return (
        (popcount_u64(word & _M0) & _ONE)
        | ((popcount_u64(word & _M1) & _ONE) << _ONE)
        | ((popcount_u64(word & _M2) & _ONE) << _S2)
        | ((popcount_u64(word & _M3) & _ONE) << _S3)
        | ((popcount_u64(word & _M4) & _ONE) << _S4)
        | ((popcount_u64(word & _M5) & _ONE) << _S5)
        | ((popcount_u64(word & _M6) & _ONE) << _S6)
    )


@kernel
def first_unfit(words: Any) -> int:
    """Give the first word in which one of the first seven bytes lies outside -64 to 63; -1 where there is none."""
    for i in range(words.size):
        if (words[i] ^ words[i] >> _ONE) & CHECKS != np.uint64(0):
            return i
    return -1


@kernel
def encode(words: Any) -> None:
    """Write check bits over bit 6 of the first seven bytes of each word."""
    for i in range(words.size):
        word = words[i] & ~CHECKS
        found = syndrome(word)
        for byte in range(7):
            at = np.uint64(byte)
            word |= (found >> at & _ONE) << (_FIRST_CHECK + (at << _THREE))
        words[i] = word


@kernel
def wrong_words(words: Any) -> int:
    """Give the number of words whose syndrome is not zero."""
    wrong = 0
    for i in range(words.size):
        wrong += syndrome(words[i]) != np.uint64(0)
    return wrong


@kernel
def correct_each(words: Any, counts: Any) -> None:
    """Repair words one by one; add to ``counts`` the repaired ones, then those left wrong."""
    for i in range(words.size):
        found = syndrome(words[i])
        if found != np.uint64(0):
            position = np.uint64(POSITIONS[found])
            if position < np.uint64(64):
                words[i] ^= _ONE << position
                counts[0] += 1
            else:
                counts[1] += 1


@kernel
def correct(words: Any, counts: Any) -> None:
    """Do as `correct_each`, opening only blocks that are not clean."""
    for start in range(0, words.size, BLOCK_WORDS):
        part = slice(start, min(start + BLOCK_WORDS, words.size))
        if wrong_words(words[part]):
            correct_each(words[part], counts)


@kernel
def uncover(words: Any, kept: Any) -> None:
    """Put bit 7 of the first seven bytes of each word over bit 6, and what was there into ``kept``."""
    for i in range(words.size):
        kept[i] = words[i] & CHECKS
        words[i] = (words[i] & ~CHECKS) | (words[i] >> _ONE & CHECKS)


@kernel
def cover(words: Any, kept: Any) -> None:
    """Put back what `uncover` took; whatever else has changed in the words stays."""
    for i in range(words.size):
        words[i] = (words[i] & ~CHECKS) | kept[i]


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    words, kept, counts = np.zeros(1, np.uint64), np.zeros(1, np.uint64), np.zeros(2, np.int64)
    first_unfit(words)
    encode(words)
    wrong_words(words)
    correct(words, counts)
    uncover(words, kept)
    cover(words, kept)
