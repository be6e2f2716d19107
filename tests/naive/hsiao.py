"""Hsiao's code by its definition: matrix algebra over bits, decoding by search."""

import numpy as np

from node.kernels.codes.matrices import FIG6_ROWS

DATA_PART = np.array([[int(cell) for cell in row] for row in FIG6_ROWS])
PARITY_CHECK = np.hstack([DATA_PART, np.eye(8, dtype=int)])
"""H, 8 x 72: a codeword (64 data bits, then 8 check bits) times H is zero."""


def bits(value: int, count: int) -> np.ndarray:
    return np.array([value >> k & 1 for k in range(count)])


def number(row: np.ndarray) -> int:
    return sum(int(bit) << k for k, bit in enumerate(row))


def check_byte(word: int) -> int:
    return number(DATA_PART @ bits(word, 64) % 2)


def encode(words: list[int]) -> list[int]:
    return [check_byte(word) for word in words]


def syndrome(word: int, check: int) -> np.ndarray:
    return PARITY_CHECK @ np.concatenate([bits(word, 64), bits(check, 8)]) % 2


def wrong_words(words: list[int], check: list[int]) -> int:
    return sum(bool(syndrome(word, kept).any()) for word, kept in zip(words, check, strict=True))


def correct(words: list[int], check: list[int]) -> tuple[int, int]:
    """Repair in place; give the number of words repaired and left wrong."""
    repaired = left = 0
    for w in range(len(words)):
        found = syndrome(words[w], check[w])
        if not found.any():
            continue
        hit = [column for column in range(72) if (PARITY_CHECK[:, column] == found).all()]
        if not hit:
            left += 1
            continue
        repaired += 1
        if hit[0] < 64:
            words[w] ^= 1 << hit[0]
        else:
            check[w] ^= 1 << hit[0] - 64
    return repaired, left
