"""Codes whose codewords are columns through 64 rows of memory: checked at nearly the speed of reading it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from node.ecc.code import WORD_BYTES, Bytes, Code, DecodeReport, word_count
from node.kernels.codes import vertical
from node.kernels.codes.blocks import BLOCK_BYTES, BLOCK_WORDS, RECORD_BYTES, ROW_BYTES, ROW_WORDS, ROWS


@dataclass(frozen=True)
class Parts:
    """The check bits of some data, cut.

    Parameters
    ----------
    blocks : int
        Whole blocks of the data.
    rows, rest, records : ndarray of uint8
        Check rows of the whole blocks; those of the smaller block after them, [checks][bytes of a row]; and a record
        of each block, of the smaller one last.
    """

    blocks: int
    rows: Bytes
    rest: Bytes
    records: Bytes


class VerticalCode(Code):
    """A code over columns of blocks of 4 KiB: 64 rows of 64 bytes, row after row in memory.

    What is left after the last whole block makes a smaller one with as many rows, or fewer, that are only as many
    words wide as it needs, so that the overhead stays what it is. Check bits are the check rows of all blocks in
    order, then a record of 16 bytes for each block: its digest, twice. A check looks at the check rows and compares
    the two digests; the outcome of a correction has to have one of them. An
    uncorrectable codeword, or a digest that the corrected block does not have, vetoes all corrections of that
    block: its wrong codewords are then all reported as detected.
    """

    grain_words = BLOCK_WORDS
    kind: int
    lane_codewords: int
    """Codewords in a column of 64 bits: 64 of bits, 8 of bytes or one square."""

    @property
    def overhead(self) -> float:
        """Check bytes per data byte, the digest among them."""
        return self.n / self.k - 1 + self.record_bytes / BLOCK_BYTES

    @property
    def record_bytes(self) -> int:
        """Bytes of a block's record."""
        return 0 if self.kind == vertical.PARITY else RECORD_BYTES

    def check_bytes(self, data_bytes: int) -> int:
        """Give the check rows of all blocks and a record for each."""
        blocks, width = _split(data_bytes)
        rows = blocks * ROW_BYTES + width
        return rows * vertical.CHECKS[self.kind] + (blocks + (width > 0)) * self.record_bytes

    def parts(self, data: Bytes, check: Bytes) -> Parts:
        """Give the blocks of some data as the kernels take them, for whoever checks some of them in one of its own."""
        checks = vertical.CHECKS[self.kind]
        blocks, width = _split(data.size)
        whole = blocks * checks * ROW_BYTES
        rest = whole + width * checks
        return Parts(blocks, check[:whole], check[whole:rest].reshape(checks, -1), check[rest:])

    def codewords(self, data_bytes: int) -> int:
        """Give the number of columns, and one more a block for its record."""
        blocks, width = _split(data_bytes)
        lanes = blocks * ROW_WORDS + width // WORD_BYTES
        return lanes * self.lane_codewords + (blocks + (width > 0)) * (self.record_bytes > 0)

    def _encode(self, data: Bytes, check: Bytes) -> None:
        parts = self.parts(data, check)
        whole = data[: parts.blocks * BLOCK_BYTES]
        if whole.size:
            vertical.encode(self.kind, whole, parts.rows, parts.records)
        if parts.rest.size:
            block, rows, record = self._rest(data, parts)
            vertical.encode(self.kind, block, rows, record)
            self._keep(parts, rows, record)

    def _check(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        parts = self.parts(data, check)
        first, last = start // BLOCK_WORDS, min(stop // BLOCK_WORDS, parts.blocks)
        wrong = vertical.wrong(self.kind, data, parts.rows, parts.records, first, last) if first < last else 0
        if parts.rest.size and stop == word_count(data.size):
            wrong += vertical.wrong(self.kind, *self._rest(data, parts), 0, 1)
        return DecodeReport(words=self._codewords_between(start, stop), detected=int(wrong))

    def _correct(self, data: Bytes, check: Bytes, start: int, stop: int) -> DecodeReport:
        parts = self.parts(data, check)
        first, last = start // BLOCK_WORDS, min(stop // BLOCK_WORDS, parts.blocks)
        repaired = left = 0
        if first < last:
            repaired, left = vertical.correct(self.kind, data, parts.rows, parts.records, first, last)
        if parts.rest.size and stop == word_count(data.size):
            block, rows, record = self._rest(data, parts)
            done, undone = vertical.correct(self.kind, block, rows, record, 0, 1)
            if done and not self._put_back(data, parts, block):
                done, undone = 0, done + undone
            elif done:
                self._keep(parts, rows, record)
            repaired, left = repaired + done, left + undone
        return DecodeReport(words=self._codewords_between(start, stop), corrected=int(repaired), detected=int(left))

    def _codewords_between(self, start: int, stop: int) -> int:
        return self.codewords(stop * WORD_BYTES) - self.codewords(start * WORD_BYTES)

    def _rest(self, data: Bytes, parts: Parts) -> tuple[Bytes, Bytes, Bytes]:
        """Give copies of the smaller block, its check rows and its record, filled up with zeros to a whole one."""
        checks, width = parts.rest.shape
        narrow = np.zeros(ROWS * width, np.uint8)
        left = data[parts.blocks * BLOCK_BYTES :]
        narrow[: left.size] = left
        block = np.zeros((ROWS, ROW_BYTES), np.uint8)
        block[:, :width] = narrow.reshape(ROWS, width)
        rows = np.zeros((checks, ROW_BYTES), np.uint8)
        rows[:, :width] = parts.rest
        return block.reshape(-1), rows.reshape(-1), self._last_record(parts).copy()

    def _put_back(self, data: Bytes, parts: Parts, block: Bytes) -> bool:
        """Write the block that :meth:`_rest` gave, or nothing where its filling is struck: then no repair is right."""
        width = parts.rest.shape[1]
        wide = block.reshape(ROWS, ROW_BYTES)
        narrow = wide[:, :width].reshape(-1)
        left = data[parts.blocks * BLOCK_BYTES :]
        if wide[:, width:].any() or narrow[left.size :].any():
            return False
        left[:] = narrow[: left.size]
        return True

    def _keep(self, parts: Parts, rows: Bytes, record: Bytes) -> None:
        """Write the check rows and the record that belong to the smaller block."""
        parts.rest[:] = rows.reshape(-1, ROW_BYTES)[:, : parts.rest.shape[1]]
        self._last_record(parts)[:] = record

    def _last_record(self, parts: Parts) -> Bytes:
        return parts.records[parts.records.size - self.record_bytes :]


def _split(data_bytes: int) -> tuple[int, int]:
    """Give the number of whole blocks, and the bytes in a row of the smaller block after them."""
    blocks, rest = divmod(data_bytes, BLOCK_BYTES)
    return blocks, -(-word_count(rest) // ROWS) * WORD_BYTES


class VerticalParity(VerticalCode):
    """One even-parity bit for each column of 64: detects every odd number of struck bits in a column.

    A burst of up to 512 neighbouring bits strikes no column twice and is always detected.
    """

    name = "vertical_parity"
    n, k, d = 65, 64, 2
    kind = vertical.PARITY
    lane_codewords = 64


class VerticalDiagonal(VerticalCode):
    """Column and diagonal parity of each square of 64 x 64 bits: corrects one bit of 4224.

    Row i of a square is a word of row i of the block, bit c of it lies on diagonal (c + i) % 64. A struck data bit
    together with one of its own two parity bits looks like the other parity bit alone: 8192 pairs of a square. The
    digest of the block tells these apart. A column struck together with others 16 or 32 bits from it, and so on across
    the block, leaves all parities as they were: strides of two and four bytes are not noticed.
    """

    name = "vertical_pd"
    n, k, d = 4224, 4096, 3
    kind = vertical.DIAGONAL
    lane_codewords = 1


class VerticalHsiao(VerticalCode):
    """The (72,64) code of Hsiao 1970 laid down columns of 64 bits: corrects one bit of 72, detects two.

    One column of figure 6 is exchanged and the rows are put in an order (``node.kernels.codes.matrices``) that leaves
    no run of rows, of every row or of every 2nd, 4th, ... 32nd, without a syndrome. A burst of up to 512 neighbouring
    bits strikes no codeword twice and is corrected. Three struck bits of a codeword point at a fourth in 33 632 of
    59 640 cases, as in figure 6; what this would do is held against the digest of the block and not done.
    """

    name = "vertical_hsiao"
    n, k, d = 72, 64, 4
    kind = vertical.HSIAO
    lane_codewords = 64


class VerticalSymbols(VerticalCode):
    """RS(66,64) over GF(256) down columns of 64 bytes: corrects one byte of 66, whatever is wrong in it."""

    name = "vertical_ssc"
    n, k, d = 528, 512, 3
    symbol_bits = 8
    kind = vertical.SYMBOLS
    lane_codewords = 8


class VerticalChipkill(VerticalCode):
    """RS(67,64) over GF(256) down columns of 64 bytes: corrects one byte of 67, detects two."""

    name = "vertical_chipkill"
    n, k, d = 536, 512, 4
    symbol_bits = 8
    kind = vertical.CHIPKILL
    lane_codewords = 8
