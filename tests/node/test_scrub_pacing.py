"""The pace of scrubbing in virtual time: periods, shares, slices that stay short, and a period that follows upsets."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest

from node.ecc import CODES, DecodeReport, ProtectedRegion, Scrubber
from node.ecc.pacing import (
    DAY_S,
    LONGEST_DELAY_S,
    Accumulation,
    AdaptivePeriod,
    FixedPeriod,
    FixedShare,
    Pace,
    Pacer,
)

WORDS = 64 * 4096


class Board:
    """A scrubber that takes virtual time, so much a word."""

    def __init__(self, pace: Pace, word_s: float = 1e-7) -> None:
        code = CODES["none"]
        data = np.zeros(8 * WORDS, np.uint8)
        self.scrubber = Scrubber([ProtectedRegion("weights", data, code.encode(data), code)])
        self.now_s = 0.0
        self.word_s = word_s
        self.slices: list[tuple[float, float, int]] = []  # begin, time taken, words
        self.pacer = Pacer(self._slice, self.scrubber, pace, lambda: self.now_s)

    def _slice(self, words: int) -> DecodeReport:
        self.slices.append((self.now_s, words * self.word_s, words))
        self.now_s += words * self.word_s
        return DecodeReport(words=words)

    def run(self, until_s: float) -> None:
        while self.now_s < until_s:
            if self.pacer.work() is None:
                assert self.pacer.wait_s > 0.0
                self.now_s += self.pacer.wait_s + 1e-9
            assert self.pacer.slices == len(self.slices)


@pytest.mark.parametrize("period_s", [0.1, 2.0, 40.0])
def test_a_pass_takes_its_period(period_s: float) -> None:
    board = Board(FixedPeriod(words=WORDS, period_s=period_s))
    board.run(10 * period_s)
    assert sum(words for _, _, words in board.slices) == pytest.approx(10 * WORDS, rel=0.02)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
def test_a_share_of_the_time_is_kept(share: float) -> None:
    board = Board(FixedShare(share=share))
    board.run(5.0)
    assert sum(busy_s for _, busy_s, _ in board.slices) / board.now_s == pytest.approx(share, rel=0.02)


def test_slices_stay_short_also_after_the_memory_became_slow() -> None:
    board = Board(FixedShare(share=0.5))
    board.run(1.0)
    assert max(busy_s for _, busy_s, _ in board.slices) < LONGEST_DELAY_S
    assert board.pacer.slice_words > 1000  # and are not shorter than they need to be
    board.word_s *= 4  # a throttled clock, a burst of repairs
    count = len(board.slices)
    board.run(2.0)
    assert max(busy_s for _, busy_s, _ in board.slices[count:]) < LONGEST_DELAY_S
    assert all(busy_s < 0.0012 for _, busy_s, _ in board.slices[count + 1 :])


def test_what_was_missed_during_a_long_command_is_not_made_up_for_in_a_burst() -> None:
    board = Board(FixedPeriod(words=WORDS, period_s=1.0))
    board.run(1.0)
    count = len(board.slices)
    board.now_s += 10.0
    board.run(11.5)
    begins = [begin for begin, _, _ in board.slices[count:]]
    assert min(second - first for first, second in pairwise(begins)) > 0.001


def test_the_period_of_the_formula_holds_the_target_in_a_simulation() -> None:
    """Words of 72 bits under random upsets: the share of days with two in one word between passes is the target."""
    rng = np.random.default_rng(5)
    memory = Accumulation(codewords=2000.0, symbols=72)
    rate, target, days = 4e-7, 0.2, 4000
    period_s = memory.period_s(rate, target)
    passes = DAY_S / period_s
    mean = rate * period_s * 72
    two = 1.0 - math.exp(-mean) * (1.0 + mean) - mean**2 / 2 / 72  # of which one in 72 hits the same bit twice
    failed = rng.random((days,)) < 1.0 - (1.0 - two) ** (passes * 2000)
    sigma = math.sqrt(target * (1 - target) / days)
    assert abs(failed.mean() - (1.0 - math.exp(-target))) < 4 * sigma + 0.01


def test_codes_that_correct_more_may_be_scrubbed_less_often() -> None:
    single, double = (Accumulation(codewords=1e6, symbols=79, corrects=t) for t in (1, 2))
    assert double.period_s(1e-12, 1e-6) > 100 * single.period_s(1e-12, 1e-6)
    strong = Accumulation(codewords=1e4, symbols=255, symbol_bits=8, corrects=16)
    assert math.isfinite(strong.period_s(1e-16, 1e-12))


def _adapt(rates: list[tuple[float, float]], *, seed: int = 3) -> list[tuple[float, float]]:
    """Give (rate estimated, period) at the end of each (seconds, upsets per bit and second) stretch."""
    memory = Accumulation(codewords=1e6, symbols=72)
    adaptive = AdaptivePeriod(memory, WORDS, 0.5, now_s=0.0, memory_s=1000.0)
    draw = random.Random(seed)
    now_s, found = 0.0, []
    for seconds, rate in rates:
        end_s = now_s + seconds
        while now_s < end_s:
            now_s += 5.0
            mean = 5.0 * rate * memory.bits
            corrected = sum(draw.random() < mean / 50 for _ in range(50))
            adaptive.note(DecodeReport(words=1, corrected=corrected), now_s)
        found.append((adaptive.rate_per_bit_s, adaptive.period_s))
    return found


def test_the_period_follows_a_storm_of_particles_and_back() -> None:
    quiet, storm = 1e-9, 2e-8
    before, during, after = _adapt([(8000.0, quiet), (8000.0, storm), (12000.0, quiet)])
    for (estimate, _), truth in ((before, quiet), (during, storm), (after, quiet)):
        seen = 1000.0 * truth * 7.2e7  # upsets that still count
        assert estimate == pytest.approx(truth * (1 + 1 / seen), rel=4 / math.sqrt(seen))
    assert before[1] > 50 * during[1]  # by the square of the rate, here 400
    assert after[1] > 50 * during[1]
    memory = Accumulation(codewords=1e6, symbols=72)
    assert during[1] == pytest.approx(memory.period_s(during[0], 0.5))


def test_a_quiet_beginning_is_no_proof_of_quiet() -> None:
    ((early, _),) = _adapt([(10.0, 0.0)])
    ((late, _),) = _adapt([(1000.0, 0.0)])
    assert early > 50 * late > 0.0


def test_the_period_keeps_its_limits() -> None:
    memory = Accumulation(codewords=1e6, symbols=72)
    for target, expected in ((1e-30, 0.1), (0.5, DAY_S)):
        adaptive = AdaptivePeriod(memory, WORDS, target, now_s=0.0, memory_s=1e12)
        adaptive.note(DecodeReport(), 1e9)
        assert adaptive.period_s == expected
