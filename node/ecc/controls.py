"""The two controls of every comparison: no protection, and a perfect one."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from firmware_bridge.errors import DataError
from node.ecc.code import WORD_BYTES, Bytes, Code, DecodeReport
from node.ecc.word_code import as_words


class Unprotected(Code):
    """No code at all: no check bits, nothing looked at, nothing found."""

    name = "none"
    n, k, d = 64, 64, 1

    def check_bytes(self, data_bytes: int) -> int:  # noqa: ARG002 - the answer is the same for all
        """Give 0."""
        return 0

    def codewords(self, data_bytes: int) -> int:  # noqa: ARG002 - the answer is the same for all
        """Give 0: none is looked at."""
        return 0

    def _encode(self, data: Bytes, check: Bytes) -> None:
        """Do nothing."""

    def _check(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:  # noqa: ARG002
        return DecodeReport()

    def _correct(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:  # noqa: ARG002
        return DecodeReport()


class Oracle(Code):
    """A perfect code: it keeps a copy where nothing strikes, and puts every differing word back.

    The copy belongs to the memory that was encoded (its address and size), and lives as long as the array that
    owns it; encoding the same memory again replaces the copy. Checking memory that was never encoded is a
    :class:`DataError`. Its check bits are empty, and its distance is what repairs all 64 bits of a word.
    """

    name = "oracle"
    n, k, d = 64, 64, 129

    def __init__(self) -> None:
        self._copies: dict[tuple[int, int], Bytes] = {}

    def check_bytes(self, data_bytes: int) -> int:  # noqa: ARG002 - the answer is the same for all
        """Give 0: the copy is outside the memory that can be struck."""
        return 0

    def _encode(self, data: Bytes, check: Bytes) -> None:  # noqa: ARG002 - there are no check bits
        key = _place(data)
        if key not in self._copies:
            weakref.finalize(_owner(data), self._copies.pop, key, None)
        self._copies[key] = data.copy()

    def _check(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:  # noqa: ARG002
        return DecodeReport(words=stop - start, detected=int(self._differing(data, start, stop).sum()))

    def _correct(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:  # noqa: ARG002
        differing = int(self._differing(data, start, stop).sum())
        if differing:
            part = slice(start * WORD_BYTES, stop * WORD_BYTES)
            data[part] = self._copies[_place(data)][part]
        return DecodeReport(words=stop - start, corrected=differing)

    def _differing(self, data: Bytes, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
        copy = self._copies.get(_place(data))
        if copy is None:
            raise DataError("oracle: this memory was never encoded here; encode it first, it keeps the copy itself")
        return np.not_equal(as_words(data, start, stop), as_words(copy, start, stop))


def _place(data: Bytes) -> tuple[int, int]:
    return data.ctypes.data, data.size


def _owner(data: Bytes) -> Bytes:
    while isinstance(data.base, np.ndarray):
        data = data.base
    return data
