"""Codes whose codewords are 64-bit words: cuts data into runs of words for the kernels, tail included."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import numpy as np

from node.ecc.code import GRAIN_WORDS, WORD_BYTES, Bytes, Code, DecodeReport, Words, word_count


def as_words(data: Bytes, start: int, stop: int) -> Words:
    """Give words ``start`` to ``stop`` - 1: a view, or a zero-filled copy where the last one is incomplete."""
    part = data[start * WORD_BYTES : stop * WORD_BYTES]
    if part.size == (stop - start) * WORD_BYTES:
        return part.view(np.uint64)
    words = np.zeros(stop - start, np.uint64)
    words.view(np.uint8)[: part.size] = part
    return words


def put_back(words: Words, data: Bytes, start: int, codeword_bytes: int = WORD_BYTES) -> int:
    """Write the copy that :func:`as_words` made; give the number of codewords whose filling is no longer zero."""
    part = data[start * WORD_BYTES : (start + words.size) * WORD_BYTES]
    copy = words.view(np.uint8)
    part[:] = copy[: part.size]
    struck = part.size + np.flatnonzero(copy[part.size :])
    return int(np.unique(struck // codeword_bytes).size)


def runs(data: Bytes, start: int, stop: int) -> Iterator[tuple[int, int, bool]]:
    """Cut a span where a copy is needed: (first word, one past the last, is a copy), whole words first."""
    copied_from = data.size // WORD_BYTES // GRAIN_WORDS * GRAIN_WORDS
    if stop * WORD_BYTES <= data.size:
        copied_from = stop
    if start < copied_from:
        yield start, copied_from, False
    if copied_from < stop:
        yield copied_from, stop, True


class WordCode(Code):
    """A code that treats each word alike; subclasses say how, on runs that begin at a multiple of 64 words."""

    codeword_bytes = WORD_BYTES
    """Data bytes of a codeword: 8, or 4 for two of them in a word."""

    def _encode(self, data: Bytes, check: Bytes) -> None:
        for start, stop, _ in runs(data, 0, word_count(data.size)):
            self._encode_words(as_words(data, start, stop), check, start)

    def _check(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        wrong = sum(
            self._wrong_words(as_words(data, first, last), check, first) for first, last, _ in runs(data, start, stop)
        )
        return DecodeReport(words=self._codewords_between(start, stop), detected=wrong)

    def _correct(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        corrected = detected = 0
        for first, last, is_copy in runs(data, start, stop):
            words = as_words(data, first, last)
            tail = slice(self.check_bytes((last - 1) * WORD_BYTES), self.check_bytes(last * WORD_BYTES))
            before = words[-1:].copy(), check[tail].copy()
            repaired, left = self._correct_words(words, check, first)
            if is_copy:
                # Where the decoder pointed at a bit that does not exist, more bits are wrong than it can correct.
                invented = put_back(words, data, first, self.codeword_bytes)
                repaired, left = repaired - invented, left + invented
                if invented and self.codeword_bytes == WORD_BYTES:
                    put_back(before[0], data, last - 1)
                    check[tail] = before[1]
            corrected, detected = corrected + repaired, detected + left
        return DecodeReport(words=self._codewords_between(start, stop), corrected=corrected, detected=detected)

    def _codewords_between(self, start: int, stop: int) -> int:
        return (stop - start) * WORD_BYTES // self.codeword_bytes

    @abstractmethod
    def _encode_words(self, words: Words, check: Bytes, start: int) -> None:
        """Write the check bits of the words, the first of which is word ``start`` of the data."""

    @abstractmethod
    def _wrong_words(self, words: Words, check: Bytes, start: int) -> int:
        """Give the number of wrong words."""

    @abstractmethod
    def _correct_words(self, words: Words, check: Bytes, start: int) -> tuple[int, int]:
        """Repair in place; give the number of words repaired and of words left wrong."""
