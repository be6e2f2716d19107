"""Counter-based streams: known answers that never change, fairness, and independence of order."""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from firmware_bridge.errors import DataError
from hil.strikes.streams import Stream


def naive_words(parts: tuple[str | bytes | int, ...], count: int) -> list[int]:
    """The sequence as its documentation defines it, one number at a time."""
    described = b""
    for part in parts:
        letter = {str: b"s", int: b"i", bytes: b"b"}[type(part)]
        body = part if isinstance(part, bytes) else str(part).encode()
        described += letter + len(body).to_bytes(4, "little") + body
    prefix = blake2b(described, digest_size=32).digest()
    words = []
    for index in range(count):
        block = blake2b(prefix + (index // 8).to_bytes(8, "little"), digest_size=64).digest()
        words.append(int.from_bytes(block[8 * (index % 8) : 8 * (index % 8) + 8], "little"))
    return words


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("key",), [0x6F25C24F096A2AEA, 0x3EB132FA94DE122F, 0xE3C4C4677B5BE5A0]),
        (("key", 0, "shared"), [0x48DE9E226C6B2197, 0x80129073A656959A, 0x5B33AEEFB7E953B2]),
        ((b"key", 0, "shared"), [0xA7351341C3CC47BF, 0x901D2D0F8ACCC4D6, 0x850C1B66B3A4445E]),
        (("key", "0", "shared"), [0x5AA90A5BF3033586, 0x1C5E7FC3E79B22DF, 0xB1682A84528CB63E]),
    ],
)
def test_known_answers_never_change(parts, words):
    stream = Stream(*parts)
    assert [stream.word() for _ in words] == words
    assert naive_words(parts, len(words)) == words


def test_known_draws_never_change():
    integers, floats, counts, picks = (Stream("known answers", n) for n in (1, 2, 3, 4))
    assert [integers.below(1000) for _ in range(12)] == [713, 413, 559, 500, 869, 139, 653, 1, 582, 890, 378, 656]
    assert [floats.uniform() for _ in range(3)] == [0.7962955409498197, 0.6638891042318102, 0.8155187842396561]
    means = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 31, 50, 1000)
    assert [counts.poisson(mean) for mean in means] == [0, 0, 3, 2, 3, 7, 12, 26, 31, 51, 981]
    assert [picks.choice((0.5, 0.7, 1.0)) for _ in range(12)] == [2, 0, 0, 0, 1, 0, 0, 0, 1, 2, 2, 2]


@given(st.lists(st.one_of(st.text(max_size=4), st.integers(), st.binary(max_size=4)), max_size=4))
def test_many_blocks_agree_with_the_definition(path):
    parts = ("key", *path)
    stream = Stream(*parts)
    assert [stream.word() for _ in range(20)] == naive_words(parts, 20)


def test_paths_that_spell_alike_are_different_streams():
    paths = [("a", "b"), ("ab",), ("a", "", "b"), (b"ab",), ("a", "b", ""), (1, 2), (12,), ("1", "2"), ("12",)]
    assert len({Stream("key", *path).word() if path[0] != b"ab" else Stream(*path).word() for path in paths}) == 9


@pytest.mark.parametrize("n", [2, 3, 7, 100, 1000])
def test_below_is_uniform(n):
    stream = Stream("uniform", n)
    counts = np.bincount([stream.below(n) for _ in range(20_000)], minlength=n)
    assert counts.size == n
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("fold", [lambda value: value % 3, lambda value: value >> 62])
def test_below_is_unbiased_where_short_cuts_are_not(fold):
    # 2**64 words onto 3 * 2**62 values: the high half of the product alone gives every third value twice as often,
    # a remainder gives the lowest third of the values twice as often.
    stream = Stream("bias")
    thirds = np.bincount([fold(stream.below(3 << 62)) for _ in range(6000)], minlength=3)
    assert stats.chisquare(thirds).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2**64])
def test_below_takes_the_whole_range_of_limits(n):
    stream = Stream("limits")
    assert all(0 <= stream.below(n) < n for _ in range(50))


@pytest.mark.parametrize("n", [0, -1, 2**64 + 1])
def test_below_refuses_other_limits(n):
    with pytest.raises(DataError, match="below"):
        Stream("limits").below(n)


def test_uniform_is_uniform_and_below_one():
    stream = Stream("floats")
    drawn = np.array([stream.uniform() for _ in range(20_000)])
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert stats.kstest(drawn, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("mean", [0.001, 0.125, 1.0, 4.2, 29.0, 50.0, 200.0])
def test_poisson_has_its_distribution(mean):
    stream, draws = Stream("poisson", repr(mean)), 8000
    counts = np.array([stream.poisson(mean) for _ in range(draws)])
    edges = np.unique(stats.poisson.ppf(np.linspace(0.1, 0.9, 9), mean))
    cdf = np.concatenate(([0.0], stats.poisson.cdf(edges, mean), [1.0]))
    expected = np.diff(cdf) * draws
    seen = np.bincount(np.searchsorted(edges, counts), minlength=expected.size)
    kept = expected > 0
    assert seen[~kept].sum() == 0
    assert stats.chisquare(seen[kept], expected[kept]).pvalue > 1e-3


def test_poisson_of_mean_zero_is_zero():
    assert {Stream("zero", n).poisson(0.0) for n in range(100)} == {0}


@pytest.mark.parametrize("mean", [-0.1, math.inf, math.nan])
def test_poisson_refuses_other_means(mean):
    with pytest.raises(DataError, match="Poisson"):
        Stream("x").poisson(mean)


@given(st.integers(0, 10_000), st.floats(0, 30), st.floats(0, 30))
def test_a_larger_mean_never_gives_a_smaller_number(number, one, other):
    small, large = sorted((one, other))
    assert Stream("couple", number).poisson(small) <= Stream("couple", number).poisson(large)


def test_the_largest_uniform_ends_the_poisson_search(monkeypatch):
    monkeypatch.setattr(Stream, "uniform", lambda self: 1.0 - 2.0**-53)
    tail = stats.poisson.sf(Stream("x").poisson(30.0) - 1, 30.0)
    assert 1e-18 < tail < 1e-14  # near the true tail of 2**-53
    assert Stream("x").poisson(1e-30) <= 1


def test_choice_follows_the_weights():
    stream, weights = Stream("choice"), np.array([0.7, 0.0, 0.2, 0.1])
    counts = np.bincount([stream.choice(tuple(np.cumsum(weights))) for _ in range(20_000)], minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 20_000 * weights[[0, 2, 3]]).pvalue > 1e-3


def test_choice_stays_within_the_table(monkeypatch):
    monkeypatch.setattr(Stream, "uniform", lambda self: 1.0)
    assert Stream("x").choice((0.5, 1.0)) == 1


def test_streams_are_independent_of_each_other():
    trials = 4000
    first = np.array([Stream("key", trial, "shared").uniform() for trial in range(trials)])
    second = np.array([Stream("key", trial, "padding").uniform() for trial in range(trials)])
    table, *_ = np.histogram2d(first, second, bins=4)
    assert stats.chisquare(table.ravel()).pvalue > 1e-3
    assert stats.kstest(first, "uniform").pvalue > 1e-3
