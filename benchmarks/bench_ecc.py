"""Codes over 64 MiB: too large for a cache, so that the memory's own speed is the yardstick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import Contest
from node.ecc import CODES, Code
from node.jit import kernel

DATA_BYTES = 64 << 20


@kernel
def plain_sum(words: NDArray[np.uint64]) -> np.uint64:
    """Give the sum of all words: the least that can be done with a buffer that is read."""
    total = np.uint64(0)
    for i in range(words.size):
        total += words[i]
    return total


@cache
def protected(name: str) -> tuple[Code, NDArray[np.uint64], NDArray[np.uint8]]:
    """Give a code, random data and its check bits."""
    data = np.random.default_rng(1).integers(0, 2**64, DATA_BYTES // 8, dtype=np.uint64)
    return CODES[name], data, CODES[name].encode(data)


def check_against_sum(name: str, passes: int = 1) -> Callable[[], Contest]:
    """Give a contest of a code's check against ``passes`` plain sums of its data."""

    def contest() -> Contest:
        code, data, check = protected(name)
        return Contest(ours=lambda: code.check(data, check), reference=lambda: plain_sum(data), work=float(passes))

    return contest


def check_against_copy() -> Contest:
    code, data, check = protected("hsiao_72_64")
    copy = np.empty_like(data)
    return Contest(ours=lambda: code.check(data, check), reference=lambda: np.copyto(copy, data))


def correct_against_check() -> Contest:
    code, data, check = protected("hsiao_72_64")
    return Contest(ours=lambda: code.correct(data, check), reference=lambda: code.check(data, check))


def encode_against_check() -> Contest:
    code, data, check = protected("hsiao_72_64")
    return Contest(ours=lambda: code.encode(data), reference=lambda: code.check(data, check))


@contextmanager
def _held(make: Callable[[], Contest]) -> Iterator[Contest]:
    yield make()
    protected.cache_clear()


CONTESTS = {
    "hsiao-check": lambda: _held(check_against_sum("hsiao_72_64")),
    "hsiao-check-against-copy": lambda: _held(check_against_copy),
    "hsiao-correct": lambda: _held(correct_against_check),
    "hsiao-encode": lambda: _held(encode_against_check),
    "parity-check": lambda: _held(check_against_sum("parity")),
    "tmr-check": lambda: _held(check_against_sum("tmr", passes=3)),
}


def test_ecc(benchmark, side):
    benchmark(side)
