"""One even-parity bit for each 64-bit word: bit w % 8 of check byte w // 8 belongs to word w."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel, popcount_u64

BLOCK_WORDS = 64
"""Words tested at a time; the constant trip count lets the compiler use vector registers."""

_ONE = np.uint64(1)


@kernel
def parity_bits(words: Any) -> Any:
    """Give the parity bits of the first 64 words as one word."""
    packed = np.uint64(0)
    for j in range(BLOCK_WORDS):
        packed |= (popcount_u64(words[j]) & _ONE) << np.uint64(j)
    return packed


@kernel
def encode(words: Any, check: Any) -> None:
    """Write the parity bit of each word; the bits left over in the last check byte become 0."""
    whole = words.size // BLOCK_WORDS
    for block in range(whole):
        packed = parity_bits(words[block * BLOCK_WORDS : (block + 1) * BLOCK_WORDS])
        for j in range(8):
            check[block * 8 + j] = np.uint8(packed >> np.uint64(8 * j))
    check[whole * 8 :] = 0
    for i in range(whole * BLOCK_WORDS, words.size):
        check[i >> 3] |= np.uint8((popcount_u64(words[i]) & _ONE) << np.uint64(i & 7))


@kernel
def wrong_words(words: Any, check: Any) -> Any:
    """Give the number of words that, with their check bit, hold an odd number of ones."""
    wrong: Any = 0
    whole = words.size // BLOCK_WORDS
    for block in range(whole):
        kept = np.uint64(0)
        for j in range(8):
            kept |= np.uint64(check[block * 8 + j]) << np.uint64(8 * j)
        computed = parity_bits(words[block * BLOCK_WORDS : (block + 1) * BLOCK_WORDS])
        wrong += np.int64(popcount_u64(computed ^ kept))
    for i in range(whole * BLOCK_WORDS, words.size):
        kept = np.uint64(check[i >> 3]) >> np.uint64(i & 7)
        wrong += np.int64((popcount_u64(words[i]) ^ kept) & _ONE)
    return wrong


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    words, check = np.zeros(1, np.uint64), np.zeros(1, np.uint8)
    encode(words, check)
    wrong_words(words, check)
