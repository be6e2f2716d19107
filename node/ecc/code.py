"""What a code is: [n, k, d], three verbs, and the report that two of them return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError

WORD_BYTES = 8

GRAIN_WORDS = 64
"""The least grain of a span, so that check bits can be cut there; a code of larger blocks has a larger one."""

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]
Span = tuple[int, int]


@dataclass(frozen=True)
class DecodeReport:
    """What a pass over codewords found; reports add.

    Parameters
    ----------
    words : int
        Codewords looked at.
    corrected : int
        Codewords repaired, be the error in the data or in the check bits.
    detected : int
        Codewords found wrong and left as they were.

    Examples
    --------
    >>> DecodeReport(words=64, corrected=1) + DecodeReport(words=64, detected=2)
    DecodeReport(words=128, corrected=1, detected=2)
    """

    words: int = 0
    corrected: int = 0
    detected: int = 0

    def __add__(self, other: DecodeReport) -> DecodeReport:
        return DecodeReport(
            words=self.words + other.words,
            corrected=self.corrected + other.corrected,
            detected=self.detected + other.detected,
        )

    @property
    def clean(self) -> bool:
        """True when nothing was wrong."""
        return not self.corrected and not self.detected


class Code(ABC):
    """A code over 64-bit words, its check bits apart from the data.

    Data is any C-contiguous array of plain numbers, taken as little-endian uint64 words; a last word of fewer
    than eight bytes is taken as filled up with zeros, which cannot be struck. Check bits are a one-dimensional
    uint8 array of :meth:`check_bytes` elements. Anything else is a :class:`DataError`, and nothing is overwritten.

    Attributes
    ----------
    name : str
        Key in ``CODES``.
    n, k, d : int
        Bits of a codeword, data bits among them, smallest distance between two codewords.
    symbol_bits : int
        Bits of what the distance counts.
    grain_words : int
        A span begins and ends at a multiple of this many words.
    in_place : bool
        Encoding writes into the data, which are computed with only while they are ``opened``.
    """

    name: str
    n: int
    k: int
    d: int
    symbol_bits: int = 1
    grain_words: int = GRAIN_WORDS
    in_place: bool = False

    @property
    def overhead(self) -> float:
        """Check bytes per data byte."""
        return self.n / self.k - 1

    @abstractmethod
    def check_bytes(self, data_bytes: int) -> int:
        """Give the size of the check bits for that much data."""

    def codewords(self, data_bytes: int) -> int:
        """Give the number of codewords that a check of that much data looks at."""
        return word_count(data_bytes)

    def require_fit(self, data: Bytes) -> None:  # noqa: B027 - most codes take any data
        """Refuse data that this code cannot encode with a :class:`DataError`; nothing is written."""

    def fitted(self, data: Bytes) -> Bytes:
        """Give data for a trial of this code: those given, or others like them that it can take."""
        return data

    def opened(self, data: Bytes) -> AbstractContextManager[None]:  # noqa: ARG002 - most leave the data as they are
        """Give a context in which the data are those that were encoded: for most codes they always are."""
        return nullcontext()

    @final
    def encode(self, data: NDArray[Any]) -> Bytes:
        """Give the check bits of data.

        Parameters
        ----------
        data : ndarray
            C-contiguous, any shape.

        Returns
        -------
        ndarray of uint8
            ``check_bytes(data.nbytes)`` elements.
        """
        flat = as_bytes(data)
        check = np.zeros(self.check_bytes(flat.size), np.uint8)
        self._encode(flat, check)
        return check

    @final
    def check(self, data: NDArray[Any], check: Bytes, span: Span | None = None) -> DecodeReport:
        """Count wrong codewords under ``detected`` and change nothing.

        Parameters
        ----------
        data, check : ndarray
            Data and what :meth:`encode` gave for it.
        span : (int, int), optional
            First word and one past the last word to look at; multiples of ``grain_words``, or the
            end of the data.
        """
        flat = as_bytes(data)
        self._require_check(flat, check)
        start, stop = self._bounds(flat, span)
        return self._check(flat, check, start, stop)

    @final
    def correct(self, data: NDArray[Any], check: Bytes, span: Span | None = None) -> DecodeReport:
        """Repair data and check bits in place, as far as the code can; parameters as for :meth:`check`."""
        flat = as_bytes(data)
        self._require_check(flat, check)
        if not (data.flags.writeable and check.flags.writeable):
            raise DataError(f"{self.name}: read-only arrays cannot be corrected in place; give writable ones")
        start, stop = self._bounds(flat, span)
        return self._correct(flat, check, start, stop)

    @abstractmethod
    def _encode(self, data: Bytes, check: Bytes) -> None:
        """Fill the check bits, which are zero."""

    @abstractmethod
    def _check(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        """Look at words ``start`` to ``stop`` - 1."""

    @abstractmethod
    def _correct(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        """Repair words ``start`` to ``stop`` - 1."""

    def _require_check(self, data: Bytes, check: Bytes) -> None:
        expected = self.check_bytes(data.size)
        if not isinstance(check, np.ndarray) or check.dtype != np.uint8 or check.shape != (expected,):
            what = f"{check.dtype} of shape {check.shape}" if isinstance(check, np.ndarray) else type(check).__name__
            raise DataError(
                f"{self.name}: check bits of {data.size} data bytes are {expected} uint8 in one dimension, not {what}"
            )
        if not check.flags.c_contiguous:
            raise DataError(f"{self.name}: check bits are not contiguous; give a contiguous array")
        if np.may_share_memory(data, check):
            raise DataError(f"{self.name}: the check bits lie in the data; give them memory of their own")

    def _bounds(self, data: Bytes, span: Span | None) -> Span:
        words = word_count(data.size)
        if span is None:
            return 0, words
        start, stop = span
        grain = self.grain_words
        if not 0 <= start <= stop <= words or start % grain or (stop % grain and stop != words):
            raise DataError(
                f"{self.name}: span {span} of {words} words: give multiples of {grain} from 0 on, or the end, "
                "in rising order"
            )
        return start, stop


def as_bytes(data: NDArray[Any]) -> Bytes:
    """Give the bytes of a contiguous array without a copy."""
    if not isinstance(data, np.ndarray) or data.dtype.hasobject:
        raise DataError(
            f"data to protect is an array of plain numbers, not {getattr(data, 'dtype', type(data).__name__)}"
        )
    if not data.flags.c_contiguous:
        raise DataError(
            "data to protect is not contiguous: a copy would be protected in its place; give a contiguous array"
        )
    return data.reshape(-1).view(np.uint8)


def word_count(data_bytes: int) -> int:
    """Give the number of words, the last one filled up."""
    return -(-data_bytes // WORD_BYTES)
