"""Single-error-correcting, double-error-detecting without any memory of its own: check bits inside int8 weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from firmware_bridge.errors import DataError
from node.ecc.code import WORD_BYTES, Bytes, Words, word_count
from node.ecc.word_code import WordCode
from node.kernels.codes import in_place


class InPlace(WordCode):
    """The (64,57) code of Guan et al. 2019: corrects one bit of 64, detects two, and needs no memory.

    The first seven of each eight signed bytes have to lie between -64 and 63, the eighth may be anything. Bit 6 of
    the seven, which then equals their bit 7, is overwritten with check bits; check data are empty. Whoever computes
    with the data reads them through ``opened``, which shows bit 6 as it was; a bit 7 that is struck and not corrected
    before is then read as two wrong bits. All 64 columns of odd weight are in use: three struck bits in a word always
    look like one other and are repaired wrongly. A word of zeros is a codeword, so that memory which reads as zero is
    not noticed.

    Data that do not allow it, or whose size is no multiple of eight bytes, are a :class:`DataError` and stay as they
    are. A compiler could scale weights so that they fit, but that changes what the model answers: nothing here does so.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([1, -2, 3, -4, 5, -6, 63, -128], np.int8)
    >>> check = InPlace().encode(weights)
    >>> check.size, weights.tolist()
    (0, [65, -66, 3, -68, 69, -70, 63, -128])
    >>> with InPlace().opened(weights):
    ...     weights.tolist()
    [1, -2, 3, -4, 5, -6, 63, -128]
    """

    name = "in_place_64_57"
    n, k, d = 64, 57, 4
    in_place = True

    @property
    def overhead(self) -> float:
        """Check bytes per data byte: none."""
        return 0.0

    def check_bytes(self, data_bytes: int) -> int:  # noqa: ARG002 - the answer is the same for all
        """Give 0."""
        return 0

    def require_fit(self, data: Bytes) -> None:
        """Refuse data that cannot be encoded, and say where."""
        self._require_whole_words(data)
        unfit = in_place.first_unfit(data.view(np.uint64))
        if unfit >= 0:
            values = data[unfit * WORD_BYTES : (unfit + 1) * WORD_BYTES].view(np.int8)
            place = next(i for i, value in enumerate(values) if not -64 <= value <= 63)
            raise DataError(
                f"{self.name}: byte {unfit * WORD_BYTES + place} is {values[place]}: of each eight bytes the first "
                "seven have to lie between -64 and 63, and data that hold check bits are not encoded again; take "
                "another code for such data"
            )

    def fitted(self, data: Bytes) -> Bytes:
        """Give a copy filled up to whole words, with bit 6 of the first seven bytes of each set to their bit 7."""
        words = np.zeros(word_count(data.size), np.uint64)
        words.view(np.uint8)[: data.size] = data
        in_place.uncover(words, np.empty_like(words))
        return words.view(np.uint8)

    @contextmanager
    def opened(self, data: Bytes) -> Iterator[None]:
        """Show the data as they were before encoding, as long as this is open; then put the check bits back."""
        words = data.view(np.uint8).reshape(-1).view(np.uint64)
        kept = np.empty_like(words)
        in_place.uncover(words, kept)
        try:
            yield
        finally:
            in_place.cover(words, kept)

    def _require_whole_words(self, data: Bytes) -> None:
        if data.size % WORD_BYTES:
            raise DataError(
                f"{self.name}: {data.size} bytes are no whole number of words of {WORD_BYTES} bytes, and the last one "
                "has no room for its check bits: fill the data up, or take another code"
            )

    def _require_check(self, data: Bytes, check: Bytes) -> None:
        super()._require_check(data, check)
        self._require_whole_words(data)

    def _encode(self, data: Bytes, check: Bytes) -> None:
        if not data.flags.writeable:
            raise DataError(f"{self.name}: read-only data cannot take check bits; give a writable array")
        self.require_fit(data)
        super()._encode(data, check)

    def _encode_words(self, words: Words, check: Bytes, start: int) -> None:  # noqa: ARG002 - no check bits elsewhere
        in_place.encode(words)

    def _wrong_words(self, words: Words, check: Bytes, start: int) -> int:  # noqa: ARG002
        return int(in_place.wrong_words(words))

    def _correct_words(self, words: Words, check: Bytes, start: int) -> tuple[int, int]:  # noqa: ARG002
        counts = np.zeros(2, np.int64)
        in_place.correct(words, counts)
        return int(counts[0]), int(counts[1])
