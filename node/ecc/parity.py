"""Detection only: one even-parity bit for each 64-bit word."""

from __future__ import annotations

from node.ecc.code import Bytes, Words, word_count
from node.ecc.word_code import WordCode
from node.kernels.codes import parity


class Parity(WordCode):
    """One even-parity bit a word, eight words to a check byte: detects every odd number of struck bits.

    Bit w % 8 of check byte w // 8 belongs to word w. Bits left over in the last check byte belong to no
    codeword and are ignored.
    """

    name = "parity"
    n, k, d = 65, 64, 2

    def check_bytes(self, data_bytes: int) -> int:
        """Give one byte for each eight words."""
        return -(-word_count(data_bytes) // 8)

    def _encode_words(self, words: Words, check: Bytes, start: int) -> None:
        parity.encode(words, self._bits(words, check, start))

    def _wrong_words(self, words: Words, check: Bytes, start: int) -> int:
        return int(parity.wrong_words(words, self._bits(words, check, start)))

    def _correct_words(self, words: Words, check: Bytes, start: int) -> tuple[int, int]:
        return 0, self._wrong_words(words, check, start)

    @staticmethod
    def _bits(words: Words, check: Bytes, start: int) -> Bytes:
        return check[start // 8 : -(-(start + words.size) // 8)]
