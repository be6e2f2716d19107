"""The byte code of space links: corrects 16 bytes of 255."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import xor

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import ConfigError
from node.ecc.code import WORD_BYTES, Bytes, Code, DecodeReport, word_count
from node.kernels.codes import reed_solomon
from node.kernels.codes.reed_solomon import CHECKS, MESSAGE

CHUNK_GROUPS = 1024
"""Groups looked at together: enough for the fast encoder, little enough for a second-level cache."""

Places = Callable[[int], Bytes]

_DUAL_IMAGES = (0x7B, 0xAF, 0x99, 0xFA, 0x86, 0xEC, 0xEF, 0x8D)
"""What each bit of a byte in the conventional basis is in the dual one: CCSDS 131.0-B, annex on the transformation."""

TO_DUAL = np.array(
    [reduce(xor, (image for bit, image in enumerate(_DUAL_IMAGES) if byte >> bit & 1), 0) for byte in range(256)],
    np.uint8,
)
FROM_DUAL = np.argsort(TO_DUAL).astype(np.uint8)


class ReedSolomon(Code):
    """RS(255,223) of CCSDS 131.0-B: corrects 16 wrong bytes of a codeword, however many bits of them are wrong.

    Data are cut into groups of 223 x ``depth`` bytes; codeword j of a group is made of its bytes j, j + ``depth``, ...
    and its 32 check bytes follow those of codeword j - 1. The last group may be shorter: its codewords are then taken
    as filled up with zeros in front (virtual fill). More than 16 wrong bytes are repaired wrongly in fewer than 1 of
    16! = 2e13 cases and are detected in the others.

    Parameters
    ----------
    depth : int
        Codewords that are interleaved: 1 to 8. A burst of 16 x ``depth`` bytes is corrected.
    dual_basis : bool
        Bytes are written in the dual basis of the standard, or in the conventional one.

    Examples
    --------
    >>> import numpy as np
    >>> ReedSolomon().encode(np.arange(223, dtype=np.uint8))[:4].tobytes().hex()
    '2fbd4fb4'
    """

    name = "rs_255_223"
    n, k, d = 2040, 1784, 33
    symbol_bits = 8

    def __init__(self, depth: int = 1, *, dual_basis: bool = False) -> None:
        if not 1 <= depth <= 8:
            raise ConfigError(f"rs_255_223: interleaving depth {depth}: choose 1 to 8")
        self.depth = depth
        self.dual_basis = dual_basis
        self._group_bytes = MESSAGE * depth
        # Eight groups are the fewest that are whole words.
        self.grain_words = self._group_bytes

    def check_bytes(self, data_bytes: int) -> int:
        """Give 32 for each codeword."""
        return CHECKS * self.codewords(data_bytes)

    def codewords(self, data_bytes: int) -> int:
        """Give ``depth`` for each whole group, and those of the shorter one."""
        groups, rest = divmod(data_bytes, self._group_bytes)
        return groups * self.depth + min(self.depth, rest)

    def _encode(self, data: Bytes, check: Bytes) -> None:
        for messages, rows, _ in self._pieces(data, check, 0, word_count(data.size)):
            rows[:] = _translated(_made(messages), TO_DUAL, self.dual_basis)

    def _check(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        looked_at = wrong = 0
        for messages, rows, _ in self._pieces(data, check, start, stop):
            kept = _translated(rows, FROM_DUAL, self.dual_basis)
            wrong += _wrong_rows(_made(messages), kept).size
            looked_at += len(messages)
        return DecodeReport(words=looked_at, detected=wrong)

    def _correct(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        looked_at = repaired = left = 0
        for messages, rows, places in self._pieces(data, check, start, stop):
            made = _made(messages)
            kept = _translated(rows, FROM_DUAL, self.dual_basis)
            wrong = _wrong_rows(made, kept)
            looked_at += len(messages)
            if not wrong.size:
                continue
            struck, checks, done = messages[wrong], kept[wrong], np.zeros(wrong.size, np.bool_)
            reed_solomon.correct(struck, checks, made[wrong], done)
            for i in np.flatnonzero(done):
                place = places(int(wrong[i]))
                fill = MESSAGE - place.size
                # A byte of the virtual fill cannot have been struck.
                done[i] = not struck[i, :fill].any()
                if done[i]:
                    place[:] = _translated(struck[i, fill:], TO_DUAL, self.dual_basis)
                    rows[wrong[i]] = _translated(checks[i], TO_DUAL, self.dual_basis)
            repaired, left = repaired + int(done.sum()), left + int((~done).sum())
        return DecodeReport(words=looked_at, corrected=repaired, detected=left)

    def _pieces(self, data: Bytes, check: Bytes, start: int, stop: int) -> Iterator[tuple[Bytes, Bytes, Places]]:
        """Cut a span into tables: messages in the conventional basis, their check bytes, the place of a row's data."""
        size, depth = self._group_bytes, self.depth
        end = min(stop * WORD_BYTES, data.size)
        all_rows = check.reshape(-1, CHECKS)

        def piece(first: int, messages: Bytes) -> tuple[Bytes, Bytes, Places]:
            def place(row: int) -> Bytes:
                group, turn = divmod(first + row, depth)
                return data[group * size + turn : (group + 1) * size : depth]

            rows = all_rows[first : first + len(messages)]
            return _translated(messages, FROM_DUAL, self.dual_basis), rows, place

        for group in range(start * WORD_BYTES // size, end // size, CHUNK_GROUPS):
            last = min(end // size, group + CHUNK_GROUPS)
            groups = data[group * size : last * size].reshape(-1, MESSAGE, depth)
            yield piece(group * depth, groups.transpose(0, 2, 1).reshape(-1, MESSAGE))
        if end % size:
            rest = data[end // size * size :]
            messages = np.zeros((min(depth, rest.size), MESSAGE), np.uint8)
            for turn, message in enumerate(messages):
                message[MESSAGE - rest[turn::depth].size :] = rest[turn::depth]
            yield piece(end // size * depth, messages)


def _made(messages: Bytes) -> Bytes:
    """Give the check bytes of each message."""
    made = np.empty((len(messages), CHECKS), np.uint8)
    reed_solomon.encode(messages if messages.flags.writeable else messages.copy(), made)
    return made


def _wrong_rows(made: Bytes, kept: Bytes) -> NDArray[np.int64]:
    """Give the numbers of the rows that differ."""
    wide = np.ascontiguousarray(made).view(np.uint64), np.ascontiguousarray(kept).view(np.uint64)
    different = wide[0] != wide[1]
    return np.flatnonzero(different.any(axis=1)) if different.any() else np.empty(0, np.int64)


def _translated(symbols: Bytes, table: Bytes, dual_basis: bool) -> Bytes:
    """Give bytes in the other basis, if there is another."""
    return table[symbols] if dual_basis else symbols
