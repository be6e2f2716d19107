"""The vertical codes by their definitions: bits and field elements one by one, decoding by search."""

from functools import cache

import numpy as np

from node.kernels.codes.matrices import LAID_COLUMNS

ROWS = 64
KINDS = ("parity", "diagonal", "symbols", "chipkill", "hsiao")


@cache
def times(a: int, b: int) -> int:
    """Multiply in GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1, bit by bit."""
    product = 0
    for i in range(8):
        if b >> i & 1:
            product ^= a << i
    for i in range(14, 7, -1):
        if product >> i & 1:
            product ^= 0x11D << i - 8
    return product


@cache
def power(exponent: int) -> int:
    value = 1
    for _ in range(exponent):
        value = times(value, 2)
    return value


def bits(block: np.ndarray) -> np.ndarray:
    """Give rows of bits, least significant first, of rows of bytes."""
    return np.unpackbits(block, axis=1, bitorder="little").astype(int)


def packed(rows: np.ndarray) -> np.ndarray:
    return np.packbits(rows.astype(np.uint8) % 2, axis=1, bitorder="little")


def check_rows(kind: str, block: np.ndarray) -> np.ndarray:
    """Give the check rows, uint8 [checks, width], of a block, uint8 [64, width]."""
    if kind == "parity":
        return packed(bits(block).sum(axis=0, keepdims=True))
    if kind == "hsiao":
        matrix = np.array([[column >> r & 1 for column in LAID_COLUMNS] for r in range(8)])
        return packed(matrix @ bits(block))
    if kind == "diagonal":
        cells = bits(block)
        turned = np.zeros((1, cells.shape[1]), int)
        for i in range(ROWS):
            for word in range(0, cells.shape[1], 64):
                for c in np.flatnonzero(cells[i, word : word + 64]):
                    turned[0, word + (c + i) % 64] += 1
        return packed(np.vstack([cells.sum(axis=0, keepdims=True), turned]))
    weights = [[1] * ROWS, [power(63 - i) for i in range(ROWS)], [power((i - 63) % 255) for i in range(ROWS)]]
    made = np.zeros((2 if kind == "symbols" else 3, block.shape[1]), np.uint8)
    for check in range(len(made)):
        for i in range(ROWS):
            for column in np.flatnonzero(block[i]):
                made[check, column] ^= times(int(block[i, column]), weights[check][i])
    return made


def digest(block: np.ndarray) -> int:
    """Give NH of the words of a block under the numbers of splitmix64."""
    total = 0
    for i, word in enumerate(block.reshape(-1).view("<u8").tolist()):
        z = (i + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
        low = (word % 2**32 + z % 2**32) % 2**32
        high = (word // 2**32 + z // 2**32) % 2**32
        total = (total + low * high) % 2**64
    return total


def record(block: np.ndarray) -> bytes:
    return digest(block).to_bytes(8, "little") * 2


def codewords(kind: str, width: int) -> list[list[tuple[int, int, int]]]:
    """Give the places of each codeword as (row, byte, mask); rows from 64 on are check rows."""
    checks = {"parity": 1, "diagonal": 2, "symbols": 2, "chipkill": 3, "hsiao": 8}[kind]
    rows = range(ROWS + checks)
    if kind in ("symbols", "chipkill"):
        return [[(row, column, 255) for row in rows] for column in range(width)]
    if kind == "diagonal":
        return [
            [(row, byte, 1 << bit) for row in rows for byte in range(word, word + 8) for bit in range(8)]
            for word in range(0, width, 8)
        ]
    return [[(row, byte, 1 << bit) for row in rows] for byte in range(width) for bit in range(8)]


@cache
def single_errors(kind: str) -> list[tuple[int, int, int, np.ndarray]]:
    """Give (row, byte, error, difference of the check rows) for each error that one codeword at byte 0 corrects."""
    found = []
    width = 8 if kind == "diagonal" else 1
    for row, byte, mask in codewords(kind, width)[0]:
        block = np.zeros((ROWS, width), np.uint8)
        if row < ROWS:
            block[row, byte] = 1 if mask == 255 else mask
        checks = check_rows(kind, block)
        if row >= ROWS:
            checks[row - ROWS, byte] = 1 if mask == 255 else mask
        for error in range(1, 256) if mask == 255 else (mask,):
            scaled = [[times(int(value), error) for value in line] for line in checks] if mask == 255 else checks
            found.append((row, byte, error, np.array(scaled, np.uint8)))
    return found
