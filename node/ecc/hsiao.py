"""Single-error-correcting, double-error-detecting: one check byte for each 64-bit or 32-bit word."""

from __future__ import annotations

import numpy as np

from node.ecc.code import Bytes, Words, word_count
from node.ecc.word_code import WordCode
from node.kernels.codes import hsiao, hsiao_39


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


class Hsiao39(WordCode):
    """The (39,32) code of the OpenTitan project: corrects one bit of 39, detects two.

    Each 32-bit word has a check byte, bit 7 of which belongs to no codeword. Three struck bits in a word are
    repaired wrongly in 5464 of 9139 cases and are detected in the others.

    Examples
    --------
    >>> import numpy as np
    >>> Hsiao39().encode(np.array([0xDEADBEEF, 0x12345678], np.uint32)).tobytes().hex()
    '0f6d'
    """

    name = "hsiao_39_32"
    n, k, d = 39, 32, 4
    codeword_bytes = 4

    @property
    def overhead(self) -> float:
        """Check bytes per data byte: eight bits are kept for seven."""
        return 8 / self.k

    def check_bytes(self, data_bytes: int) -> int:
        """Give two bytes for each 64-bit word."""
        return 2 * word_count(data_bytes)

    def codewords(self, data_bytes: int) -> int:
        """Give two for each 64-bit word."""
        return 2 * word_count(data_bytes)

    def _encode_words(self, words: Words, check: Bytes, start: int) -> None:
        hsiao_39.encode(words.view(np.uint32), check[2 * start : 2 * (start + words.size)])

    def _wrong_words(self, words: Words, check: Bytes, start: int) -> int:
        return int(hsiao_39.wrong_words(words.view(np.uint32), check[2 * start : 2 * (start + words.size)]))

    def _correct_words(self, words: Words, check: Bytes, start: int) -> tuple[int, int]:
        counts = np.zeros(2, np.int64)
        hsiao_39.correct(words.view(np.uint32), check[2 * start : 2 * (start + words.size)], counts)
        return int(counts[0]), int(counts[1])
