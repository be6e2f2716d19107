"""The (72,64) single-error-correcting, double-error-detecting code of Hsiao, one check byte a word.

Source of the matrix: M. Y. Hsiao, "A class of optimal minimum odd-weight-column SEC-DED codes", IBM Journal of
Research and Development 14 (1970), figure 6. Convention: bit k of the word is printed column k of the figure
(0 to 63, from the left), and row r of the figure makes bit r of the check byte.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, popcount_u64
from node.kernels.codes.matrices import FIG6_COLUMNS, masks, positions

MASKS = masks(FIG6_COLUMNS, 8)
"""Bits of the word that row r adds up."""

BLOCK_WORDS = 512
"""Words tested at a time (4 KiB) before any of them is decoded."""

POSITIONS = positions(FIG6_COLUMNS, 8)
"""The struck bit for each syndrome: 0 to 63 in the word, 64 to 71 in the check byte."""

_M0, _M1, _M2, _M3, _M4, _M5, _M6, _M7 = (np.uint64(mask) for mask in MASKS)
_ONE, _S2, _S3, _S4, _S5, _S6, _S7 = (np.uint64(shift) for shift in range(1, 8))


@kernel
def check_byte(word: Any) -> Any:
    """Give the check byte of one word, as an uint64."""
    return (
        (popcount_u64(word & _M0) & _ONE)
        | ((popcount_u64(word & _M1) & _ONE) << _ONE)
        | ((popcount_u64(word & _M2) & _ONE) << _S2)
        | ((popcount_u64(word & _M3) & _ONE) << _S3)
        | ((popcount_u64(word & _M4) & _ONE) << _S4)
        | ((popcount_u64(word & _M5) & _ONE) << _S5)
        | ((popcount_u64(word & _M6) & _ONE) << _S6)
        | ((popcount_u64(word & _M7) & _ONE) << _S7)
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
        syndrome = check_byte(words[i]) ^ np.uint64(check[i])
        if syndrome != np.uint64(0):
            position = np.uint64(POSITIONS[syndrome])
            if position < np.uint64(64):
                words[i] ^= _ONE << position
                counts[0] += 1
            elif position < np.uint64(72):
                check[i] ^= np.uint8(_ONE << (position - np.uint64(64)))
                counts[0] += 1
            else:
                counts[1] += 1


@kernel
def correct(words: Any, check: Any, counts: Any) -> None:
    """Do as `correct_each`, opening only blocks that are not clean."""
    for start in range(0, words.size, BLOCK_WORDS):
        part = slice(start, min(start + BLOCK_WORDS, words.size))
        if wrong_words(words[part], check[part]):
            correct_each(words[part], check[part], counts)


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    words, check, counts = np.zeros(1, np.uint64), np.zeros(1, np.uint8), np.zeros(2, np.int64)
    encode(words, check)
    wrong_words(words, check)
    correct(words, check, counts)
