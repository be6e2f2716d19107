"""Triple modular redundancy: a bitwise majority of a word and its two copies."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel

BLOCK_WORDS = 512
"""Words compared at a time (4 KiB) before any of them is repaired."""


@kernel
def wrong_words(words: Any, first_copy: Any, second_copy: Any) -> int:
    """Give the number of words that do not equal both copies."""
    wrong = 0
    for i in range(words.size):
        wrong += (words[i] ^ first_copy[i]) | (words[i] ^ second_copy[i]) != np.uint64(0)
    return wrong


@kernel
def vote_each(words: Any, first_copy: Any, second_copy: Any) -> int:
    """Write the majority over each word and its copies; give the number of words where they differed."""
    repaired = 0
    for i in range(words.size):
        a, b, c = words[i], first_copy[i], second_copy[i]
        if a != b or a != c:
            majority = (a & b) | (a & c) | (b & c)
            words[i] = majority
            first_copy[i] = majority
            second_copy[i] = majority
            repaired += 1
    return repaired


@kernel
def vote(words: Any, first_copy: Any, second_copy: Any) -> int:
    """Do as `vote_each`, opening only blocks that are not clean."""
    repaired = 0
    for start in range(0, words.size, BLOCK_WORDS):
        part = slice(start, min(start + BLOCK_WORDS, words.size))
        if wrong_words(words[part], first_copy[part], second_copy[part]):
            repaired += vote_each(words[part], first_copy[part], second_copy[part])
    return repaired


def warm() -> None:
    """Compile or load the kernels for the types that :mod:`node.ecc` passes."""
    words = [np.zeros(1, np.uint64) for _ in range(3)]
    wrong_words(words[0], words[1], words[2])
    vote(words[0], words[1], words[2])
