"""Triple modular redundancy: two further copies and a bitwise vote."""

from __future__ import annotations

from node.ecc.code import Bytes, Words
from node.ecc.word_code import WordCode, as_words, put_back
from node.kernels.codes import vote


class Tmr(WordCode):
    """The [3, 1, 3] repetition of each bit: data, then two whole copies in the check bits.

    Words are reported, not bits: a word where the three differ anywhere counts once, as corrected. Two
    struck copies of the same bit win the vote and are not noticed.
    """

    name = "tmr"
    n, k, d = 3, 1, 3

    def check_bytes(self, data_bytes: int) -> int:
        """Give the size of two copies."""
        return 2 * data_bytes

    def _encode_words(self, words: Words, check: Bytes, start: int) -> None:
        for copy in self._copies(check):
            put_back(words, copy, start)

    def _wrong_words(self, words: Words, check: Bytes, start: int) -> int:
        first, second = (as_words(copy, start, start + words.size) for copy in self._copies(check))
        return int(vote.wrong_words(words, first, second))

    def _correct_words(self, words: Words, check: Bytes, start: int) -> tuple[int, int]:
        copies = self._copies(check)
        first, second = (as_words(copy, start, start + words.size) for copy in copies)
        repaired = int(vote.vote(words, first, second))
        for copy, voted in zip(copies, (first, second), strict=True):
            if repaired and voted.base is None:
                put_back(voted, copy, start)
        return repaired, 0

    @staticmethod
    def _copies(check: Bytes) -> tuple[Bytes, Bytes]:
        return check[: check.size // 2], check[check.size // 2 :]
