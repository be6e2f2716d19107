"""Single-error-correcting, double-error-detecting: one check byte for each 64-bit word."""

from __future__ import annotations

import numpy as np

from node.ecc.code import Bytes, Words, word_count
from node.ecc.word_code import WordCode
from node.kernels.codes import hsiao


class Hsiao(WordCode):
    """The (72,64) code of Hsiao 1970, figure 6: corrects one bit of 72, detects two.

    Bit k of the word is printed column k of the figure, row r makes bit r of the check byte. Three struck
    bits in a word are repaired wrongly in 33 632 of 59 640 cases and are detected in the others.

    Examples
    --------
    >>> import numpy as np
    >>> hex(Hsiao().encode(np.array([0x0123456789ABCDEF], np.uint64))[0])
    '0xa'
    """

    name = "hsiao_72_64"
    n, k, d = 72, 64, 4

    def check_bytes(self, data_bytes: int) -> int:
        """Give one byte for each word."""
        return word_count(data_bytes)

    def _encode_words(self, words: Words, check: Bytes, start: int) -> None:
        hsiao.encode(words, check[start : start + words.size])

    def _wrong_words(self, words: Words, check: Bytes, start: int) -> int:
        return int(hsiao.wrong_words(words, check[start : start + words.size]))

    def _correct_words(self, words: Words, check: Bytes, start: int) -> tuple[int, int]:
        counts = np.zeros(2, np.int64)
        hsiao.correct(words, check[start : start + words.size], counts)
        return int(counts[0]), int(counts[1])
