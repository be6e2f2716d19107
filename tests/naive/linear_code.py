"""A systematic linear code by its definition: matrix algebra over bits, decoding by search over all columns."""

import numpy as np


def parity_check(columns: tuple[int, ...], check_bits: int) -> np.ndarray:
    """H: one column a data bit, then the unit matrix."""
    data = np.array([[column >> row & 1 for column in columns] for row in range(check_bits)])
    return np.hstack([data, np.eye(check_bits, dtype=int)])


def encode(h: np.ndarray, data: np.ndarray) -> np.ndarray:
    k = h.shape[1] - h.shape[0]
    return np.concatenate([data, h[:, :k] @ data % 2])


def decode(h: np.ndarray, received: np.ndarray) -> tuple[np.ndarray, str]:
    """Give the word after correction of at most one bit, and ``clean``, ``corrected`` or ``detected``."""
    syndrome = h @ received % 2
    if not syndrome.any():
        return received, "clean"
    for position in range(h.shape[1]):
        if (h[:, position] == syndrome).all():
            repaired = received.copy()
            repaired[position] ^= 1
            return repaired, "corrected"
    return received, "detected"
