"""Codes over 256 MiB: too large for a cache, so that the memory's own speed is the yardstick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.code_peers import PEERS, decode_with_errors
from benchmarks.contest import Contest, OpenContest
from benchmarks.lesser_processor import on_lesser_processor
from node.digest import Crc
from node.ecc import CODES, Code
from node.jit import kernel

DATA_BYTES = 256 << 20

BLOCK_BYTES = 4096
PORTABLE_BYTES = 223 * 63
"""Too few codewords for a batch: these are encoded by tables."""

PORTABLE_DIGEST_BYTES = 1 << 20

REPAIR_S = 20e-6
"""The time in which a struck block has to be whole again."""


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
    data = CODES[name].fitted(data.view(np.uint8)).view(np.uint64)
    return CODES[name], data, CODES[name].encode(data)


def check_against_sum(name: str, passes: int = 1) -> Callable[[], Contest]:
    """Give a contest of a code's check against ``passes`` plain sums of its data."""

    def contest() -> Contest:
        code, data, check = protected(name)
        return Contest(ours=lambda: code.check(data, check), reference=lambda: plain_sum(data), work=float(passes))

    return contest


def check_against_copy(name: str) -> Callable[[], Contest]:
    def contest() -> Contest:
        code, data, check = protected(name)
        copy = np.empty_like(data)
        return Contest(ours=lambda: code.check(data, check), reference=lambda: np.copyto(copy, data))

    return contest


def correct_against_check(name: str) -> Callable[[], Contest]:
    def contest() -> Contest:
        code, data, check = protected(name)
        return Contest(ours=lambda: code.correct(data, check), reference=lambda: code.check(data, check))

    return contest


def encode_against_check(name: str) -> Callable[[], Contest]:
    def contest() -> Contest:
        code, data, check = protected(name)
        return Contest(ours=lambda: code.encode(data), reference=lambda: code.check(data, check))

    return contest


def repair(name: str) -> Callable[[], Contest]:
    """Give a contest of the repair of a block with one struck bit against its limit; the strike is timed as well."""

    def contest() -> Contest:
        code = CODES[name]
        data = np.random.default_rng(1).integers(0, 256, BLOCK_BYTES, dtype=np.uint8)
        check = code.encode(data)

        def strike_and_repair() -> None:
            data[1234] ^= 16
            if code.correct(data, check).corrected != 1:
                raise AssertionError(f"{name} did not repair one struck bit")

        return Contest(ours=strike_and_repair, reference=REPAIR_S)

    return contest


def at_a_rate(verb: str, bytes_per_s: float, size: int = 223 * 4096) -> Callable[[], Contest]:
    """Give a contest of a verb of rs_255_223 over data that fit a cache, against a rate in bytes a second."""

    def contest() -> Contest:
        code = CODES["rs_255_223"]
        data = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
        check = code.encode(data)
        ours = {"encode": lambda: code.encode(data), "check": lambda: code.check(data, check)}[verb]
        return Contest(ours=ours, reference=size / bytes_per_s)

    return contest


def digest_against_sum() -> Contest:
    _, data, _ = protected("none")
    digest = Crc()
    return Contest(ours=lambda: digest(data), reference=lambda: plain_sum(data))


def portable_digest() -> Contest:
    """Give a contest of a digest by tables against a rate."""
    digest = Crc()
    data = np.random.default_rng(1).integers(0, 256, PORTABLE_DIGEST_BYTES, dtype=np.uint8)
    return Contest(ours=lambda: digest.by_tables(data), reference=PORTABLE_DIGEST_BYTES / 2e9)


@contextmanager
def _held(make: Callable[[], Contest]) -> Iterator[Contest]:
    yield make()
    protected.cache_clear()


def _opener(make: Callable[[], Contest]) -> OpenContest:
    return lambda: _held(make)


def short(name: str) -> str:
    """Give a code's name as goals write it."""
    return name.replace("_", "-")


VERTICAL = ("vertical_parity", "vertical_pd", "vertical_ssc", "vertical_chipkill", "vertical_hsiao")

CONTESTS: dict[str, OpenContest] = {
    **PEERS,
    "hsiao-check": lambda: _held(check_against_sum("hsiao_72_64")),
    "hsiao-check-against-copy": lambda: _held(check_against_copy("hsiao_72_64")),
    "hsiao-correct": lambda: _held(correct_against_check("hsiao_72_64")),
    "hsiao-encode": lambda: _held(encode_against_check("hsiao_72_64")),
    "parity-check": lambda: _held(check_against_sum("parity")),
    "digest": _opener(digest_against_sum),
    "digest-portable": _opener(portable_digest),
    "in-place-check": _opener(check_against_sum("in_place_64_57")),
    "tmr-check": lambda: _held(check_against_sum("tmr", passes=3)),
    "vertical-hsiao-against-copy": lambda: _held(check_against_copy("vertical_hsiao")),
    "hsiao-39-32-check": _opener(check_against_sum("hsiao_39_32")),
    "bch-79-64-check": _opener(check_against_sum("bch_79_64")),
    "rs-255-223-encode": _opener(at_a_rate("encode", 4e9)),
    "rs-255-223-check": _opener(at_a_rate("check", 4e9)),
    "rs-255-223-encode-portable": _opener(at_a_rate("encode", 500e6, PORTABLE_BYTES)),
    "rs-255-223-decode": _opener(partial(decode_with_errors, 8, 20e6)),
    **{f"{short(name)}-check": _opener(check_against_sum(name)) for name in VERTICAL},
    **{f"{short(name)}-encode": _opener(encode_against_check(name)) for name in VERTICAL},
    **{f"{short(name)}-repair": _opener(repair(name)) for name in VERTICAL[1:]},
    "vertical-hsiao-avx2": partial(on_lesser_processor, __name__, "vertical-hsiao-check", "avx2"),
    "vertical-hsiao-128-bit": partial(on_lesser_processor, __name__, "vertical-hsiao-check", "sse2"),
}


def test_ecc(benchmark, side):
    benchmark(side)
