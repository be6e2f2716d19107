"""Counter-based random numbers: the same draws for the same key and path, in any process and any order."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from hashlib import blake2b
from struct import Struct

from firmware_bridge.errors import DataError

_BLOCK = Struct("<8Q")
_TWO_64 = 1 << 64
_LARGEST_MEAN = 30.0  # exp(-30) keeps all its digits; larger means are sums of such draws


class Stream:
    """One endless sequence of random numbers, named by a key and a path.

    Number ``8*i + j`` of the sequence is little-endian word ``j`` of ``blake2b(prefix + i)``, where ``i`` is
    eight little-endian bytes and ``prefix`` is the 32-byte blake2b digest of the parts. A part enters that
    digest as one type letter, its length in four little-endian bytes and its bytes, so different paths never
    run into each other. Nothing else is kept: a stream can be made anywhere and draws the same numbers there.

    Parameters
    ----------
    key : str or bytes
        What all streams of one campaign have in common.
    *path : str or int
        What tells the streams of one key apart, such as a trial number and a name.

    Examples
    --------
    >>> Stream("key", 7, "shared").below(100) == Stream("key", 7, "shared").below(100)
    True
    """

    __slots__ = ("_block", "_prefix", "_words")

    def __init__(self, key: str | bytes, *path: str | int) -> None:
        digest = blake2b(digest_size=32)
        for part in (key, *path):
            digest.update(_tagged(part))
        self._prefix = digest.digest()
        self._block = 0
        self._words: list[int] = []

    def word(self) -> int:
        """Give the next 64 random bits as an integer."""
        if not self._words:
            block = self._prefix + self._block.to_bytes(8, "little")
            self._words = list(_BLOCK.unpack(blake2b(block).digest()))
            self._words.reverse()
            self._block += 1
        return self._words.pop()

    def below(self, n: int) -> int:
        """Give an integer of 0 .. n-1, each equally likely.

        The high half of a 128-bit product, with the few words rejected that would favour some results
        (Lemire, "Fast random integer generation in an interval", 2019).
        """
        if not 0 < n <= _TWO_64:
            raise DataError(f"cannot draw an integer below {n}: give 1 to 2**64")
        product = self.word() * n
        if product % _TWO_64 < n:
            unfair = (_TWO_64 - n) % n
            while product % _TWO_64 < unfair:
                product = self.word() * n
        return product >> 64

    def uniform(self) -> float:
        """Give a float of [0, 1) with 53 random bits."""
        return (self.word() >> 11) * 2.0**-53

    def poisson(self, mean: float) -> int:
        """Give a Poisson number, by inversion: for one draw, a larger mean never gives a smaller number.

        A mean above 30 is split into equal parts of at most 30, whose numbers are added (exact, since Poisson
        numbers add).
        """
        if not 0.0 <= mean < math.inf:
            raise DataError(f"cannot draw a Poisson number of mean {mean}: give a finite mean of 0 or more")
        parts = max(1, math.ceil(mean / _LARGEST_MEAN))
        return sum(_inverse_poisson(self.uniform(), mean / parts) for _ in range(parts))

    def choice(self, cumulative: Sequence[float]) -> int:
        """Give an index, drawn by weight; ``cumulative`` holds the running sums of the weights."""
        drawn = bisect_right(cumulative, self.uniform() * cumulative[-1])
        return min(drawn, len(cumulative) - 1)  # rounding of the product can reach the last sum


def _tagged(part: str | bytes | int) -> bytes:
    if isinstance(part, str):
        tag, body = b"s", part.encode()
    elif isinstance(part, int):
        tag, body = b"i", str(part).encode()
    else:
        tag, body = b"b", part
    return tag + len(body).to_bytes(4, "little") + body


def _inverse_poisson(u: float, mean: float) -> int:
    term = total = math.exp(-mean)
    count = 0
    while u >= total:
        count += 1
        term *= mean / count
        if count > mean and total + term == total:
            break  # the rounded sum of all terms can stop just short of the largest u
        total += term
    return count
