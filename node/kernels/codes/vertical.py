"""Checks and repairs blocks of 4 KiB under the five vertical codes; ``kind`` says which.

Only a block that is not clean is opened. Its repair is made on a copy, which is written back when every wrong
codeword of the block could be corrected and the digest of the outcome is the one that was kept: one codeword that
cannot be corrected vetoes all corrections of its block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import allocating_kernel, kernel, popcount_u64
from node.kernels.codes import digest, sweeps
from node.kernels.codes.blocks import BLOCK_BYTES, PIECE_BYTES, PIECES, RECORD_BYTES, ROW_BYTES, ROW_WORDS, load_word
from node.kernels.codes.matrices import LAID_COLUMNS, UNCORRECTABLE, positions

PARITY, DIAGONAL, SYMBOLS, CHIPKILL, HSIAO = 0, 1, 2, 3, 4

CHECKS = sweeps.CHECKS
_CHECKS = np.array(CHECKS)
_POSITIONS = positions(LAID_COLUMNS, 8)
_ZERO, _ONE, _BYTE = np.uint64(0), np.uint64(1), np.uint64(0xFF)


def _logarithms() -> np.ndarray[Any, np.dtype[np.int64]]:
    """Give the exponent of each power of a; that of 0 is never asked for."""
    table = np.zeros(256, np.int64)
    power = 1
    for exponent in range(255):
        table[power] = exponent
        power = power << 1 ^ (sweeps.FIELD if power & 0x80 else 0)
    return table


LOGARITHMS = _logarithms()


@kernel
def first_wrong(kind: int, data: Any, check: Any, records: Any, first: int, last: int) -> Any:
    """Give the first block from ``first`` on with other check rows than are kept, or a wrong record; else ``last``."""
    if kind == HSIAO:
        return sweeps.hsiao_scan(data, check, records, first, last)
    if kind == PARITY:
        return sweeps.parity_scan(data, check, records, first, last)
    if kind == DIAGONAL:
        return sweeps.diagonal_scan(data, check, records, first, last)
    if kind == SYMBOLS:
        return sweeps.symbols_scan(data, check, records, first, last)
    return sweeps.chipkill_scan(data, check, records, first, last)


@kernel
def store(kind: int, data: Any, data_offset: int, check: Any, check_offset: int) -> None:
    """Write the check rows of a block."""
    for piece in range(PIECES):
        d, c = data_offset + piece * PIECE_BYTES, check_offset + piece * PIECE_BYTES
        if kind == HSIAO:
            sweeps.hsiao_store(data, d, check, c)
        elif kind == PARITY:
            sweeps.parity_store(data, d, check, c)
        elif kind == DIAGONAL:
            sweeps.diagonal_store(data, d, check, c)
        elif kind == SYMBOLS:
            sweeps.symbols_store(data, d, check, c)
        else:
            sweeps.chipkill_store(data, d, check, c)


@allocating_kernel
def syndromes(kind: int, data: Any, data_offset: int, check: Any, check_offset: int) -> Any:
    """Give the check rows of a block plus those that are kept, as words [check][lane]."""
    size = _CHECKS[kind] * ROW_BYTES
    made = np.empty(size, np.uint8)
    store(kind, data, data_offset, made, 0)
    found = np.empty(size // 8, np.uint64)
    for i in range(found.size):
        found[i] = load_word(made, 8 * i) ^ load_word(check, check_offset + 8 * i)
    return found


@kernel
def dirty_lane(found: Any, lane: int) -> Any:
    """Give the bits of a lane that are wrong under any check."""
    total = _ZERO
    for i in range(lane, found.size, ROW_WORDS):
        total |= found[i]
    return total


@kernel
def wrong_codewords(kind: int, found: Any) -> Any:
    """Give the number of codewords of a block whose syndrome is not zero."""
    wrong: Any = 0
    for lane in range(ROW_WORDS):
        dirty = dirty_lane(found, lane)
        if kind in (PARITY, HSIAO):
            wrong += np.int64(popcount_u64(dirty))
        elif kind == DIAGONAL:
            wrong += dirty != _ZERO
        else:
            for shift in range(0, 64, 8):
                wrong += (dirty >> np.uint64(shift)) & _BYTE != _ZERO
    return wrong


@kernel
def locate_symbol(kind: int, syndrome: int) -> Any:
    """Give the row of a single wrong byte, 64 + r for check r, or ``UNCORRECTABLE``; the first sum is the low byte."""
    plain, doubled, halved = syndrome & 255, syndrome >> 8 & 255, syndrome >> 16 & 255
    nonzero = (plain != 0) + (doubled != 0) + (halved != 0)
    if nonzero == 1:
        return 64 if plain else 65 if doubled else 66
    if plain == 0 or doubled == 0 or (kind == CHIPKILL and halved == 0):
        return UNCORRECTABLE
    power = (LOGARITHMS[doubled] - LOGARITHMS[plain]) % 255
    if power > 63:
        return UNCORRECTABLE
    if kind == CHIPKILL and (LOGARITHMS[plain] - LOGARITHMS[halved]) % 255 != power:
        return UNCORRECTABLE
    return 63 - power


@kernel
def locate(kind: int, syndrome: int) -> Any:
    """Give the wrong row of a codeword, 64 + r for check r, or ``UNCORRECTABLE``."""
    if kind == HSIAO:
        return np.int64(_POSITIONS[syndrome])
    if kind == PARITY:
        return UNCORRECTABLE
    return locate_symbol(kind, syndrome)


@kernel
def lowest_bit(word: Any) -> Any:
    """Give the number of the lowest one of a word that is not zero."""
    return np.int64(popcount_u64((word & (~word + _ONE)) - _ONE))


@kernel
def repair_square(found: Any, lane: int, block: Any, rows: Any) -> bool:
    """Correct a 64 x 64 square of bits under the diagonal code; give False where that cannot be done."""
    column, turned = found[lane], found[ROW_WORDS + lane]
    if popcount_u64(column) > _ONE or popcount_u64(turned) > _ONE:
        return False
    if _ZERO not in (column, turned):
        row = (lowest_bit(turned) - lowest_bit(column)) & 63
        block[row * ROW_WORDS + lane] ^= column
    else:
        rows[lane] ^= column
        rows[ROW_WORDS + lane] ^= turned
    return True


@kernel
def repair_lane(kind: int, found: Any, lane: int, block: Any, rows: Any) -> tuple[int, int]:
    """Correct the codewords of a lane; give the numbers of those repaired and of those that cannot be."""
    if kind == DIAGONAL:
        return (1, 0) if repair_square(found, lane, block, rows) else (0, 1)
    width = 1 if kind in (HSIAO, PARITY) else 8
    mask = _ONE if width == 1 else _BYTE
    repaired = left = 0
    for shift in range(0, 64, width):
        at = np.uint64(shift)
        syndrome: Any = 0
        for check in range(_CHECKS[kind]):
            syndrome |= np.int64((found[check * ROW_WORDS + lane] >> at) & mask) << (check * width)
        if syndrome == 0:
            continue
        position = locate(kind, syndrome)
        if position < 64:
            error = _ONE if width == 1 else np.uint64(syndrome & 255)
            block[position * ROW_WORDS + lane] ^= error << at
            repaired += 1
        elif position < 64 + _CHECKS[kind]:
            place = (position - 64) * ROW_WORDS + lane
            rows[place] ^= found[place] & (mask << at)
            repaired += 1
        else:
            left += 1
    return repaired, left


@allocating_kernel
def repair_block(kind: int, data: Any, check: Any, records: Any, number: int) -> tuple[int, int]:
    """Correct a block that is not clean, or leave it alone; give the numbers of codewords repaired and left wrong."""
    size = _CHECKS[kind] * ROW_BYTES
    found = syndromes(kind, data, number * BLOCK_BYTES, check, number * size)
    if kind == PARITY:
        return 0, wrong_codewords(kind, found)
    data_part = data[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
    check_part = check[number * size : (number + 1) * size]
    record_part = records[number * RECORD_BYTES : (number + 1) * RECORD_BYTES]
    first, second = load_word(record_part, 0), load_word(record_part, 8)
    block, rows = data_part.copy(), check_part.copy()
    repaired, left = int(first != second), 0
    words, row_words = block.view(np.uint64), rows.view(np.uint64)
    for lane in range(ROW_WORDS):
        if dirty_lane(found, lane) != _ZERO:
            done, undone = repair_lane(kind, found, lane, words, row_words)
            repaired, left = repaired + done, left + undone
    if left or digest.digest(block, 0) not in (first, second):
        return 0, repaired + left
    data_part[:] = block
    check_part[:] = rows
    digest.keep(block, 0, record_part, 0)
    return repaired, 0


@kernel
def encode(kind: int, data: Any, check: Any, records: Any) -> None:
    """Write check rows and record of each block."""
    size = _CHECKS[kind] * ROW_BYTES
    for number in range(data.size // BLOCK_BYTES):
        store(kind, data, number * BLOCK_BYTES, check, number * size)
        if kind != PARITY:
            digest.keep(data, number * BLOCK_BYTES, records, number)


@allocating_kernel
def wrong(kind: int, data: Any, check: Any, records: Any, first: int, last: int) -> int:
    """Give the number of wrong codewords of blocks ``first`` to ``last`` - 1."""
    found = 0
    size = _CHECKS[kind] * ROW_BYTES
    number = first_wrong(kind, data, check, records, first, last)
    while number < last:
        found += wrong_codewords(kind, syndromes(kind, data, number * BLOCK_BYTES, check, number * size))
        if kind != PARITY:
            record = number * RECORD_BYTES
            found += load_word(records, record) != load_word(records, record + 8)
        number = first_wrong(kind, data, check, records, number + 1, last)
    return found


@kernel
def correct(kind: int, data: Any, check: Any, records: Any, first: int, last: int) -> tuple[int, int]:
    """Correct blocks ``first`` to ``last`` - 1; give the numbers of codewords repaired and left wrong."""
    repaired = left = 0
    number = first_wrong(kind, data, check, records, first, last)
    while number < last:
        done, undone = repair_block(kind, data, check, records, number)
        repaired, left = repaired + done, left + undone
        number = first_wrong(kind, data, check, records, number + 1, last)
    return repaired, left


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    data, check, records = np.zeros(BLOCK_BYTES, np.uint8), np.zeros(ROW_BYTES, np.uint8), np.zeros(0, np.uint8)
    encode(PARITY, data, check, records)
    wrong(PARITY, data, check, records, 0, 1)
    correct(PARITY, data, check, records, 0, 1)
