"""Double-error-correcting, triple-error-detecting: two check bytes for each 64-bit word."""

from __future__ import annotations

import numpy as np

from node.ecc.code import Bytes, Words, word_count
from node.ecc.word_code import WordCode
from node.kernels.codes import bch


class Bch(WordCode):
    """The (79,64) code: corrects two bits of 79, detects three.

    Fifteen check bits are kept in two bytes; the bit left over belongs to no codeword. Four struck bits in a word are
    repaired wrongly where they lie at distance two from a codeword, and are detected in the other cases.

    Examples
    --------
    >>> import numpy as np
    >>> words = np.array([7], np.uint64)
    >>> check = Bch().encode(words)
    >>> words[0] ^= np.uint64(5)
    >>> Bch().correct(words, check).corrected, int(words[0])
    (1, 7)
    """

    name = "bch_79_64"
    n, k, d = 79, 64, 6

    @property
    def overhead(self) -> float:
        """Check bytes per data byte: sixteen bits are kept for fifteen."""
        return 16 / self.k

    def check_bytes(self, data_bytes: int) -> int:
        """Give two bytes for each word."""
        return 2 * word_count(data_bytes)

    def _encode_words(self, words: Words, check: Bytes, start: int) -> None:
        bch.encode(words, self._bits(words, check, start))

    def _wrong_words(self, words: Words, check: Bytes, start: int) -> int:
        return int(bch.wrong_words(words, self._bits(words, check, start)))

    def _correct_words(self, words: Words, check: Bytes, start: int) -> tuple[int, int]:
        counts = np.zeros(2, np.int64)
        bch.correct(words, self._bits(words, check, start), counts)
        return int(counts[0]), int(counts[1])

    @staticmethod
    def _bits(words: Words, check: Bytes, start: int) -> Bytes:
        return check[2 * start : 2 * (start + words.size)]
