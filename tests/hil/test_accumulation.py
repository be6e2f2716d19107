"""Predicted = simulated = measured: the closed forms against the real codes under random upsets, in virtual time.

Everything is counted in upsets and passes, so that years of an orbit take milliseconds. Each comparison allows 4
standard deviations of what was counted.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from firmware_bridge.errors import DataError
from hil.stats.accumulation import (
    flip_probability,
    mttf_scrubbed,
    mttf_scrubbed_at_random,
    mttf_unscrubbed,
    mttf_unscrubbed_closed,
    reed_solomon_failure,
    scrub_period,
    tmr_bit_failure,
    tmr_mttf,
    tmr_word_failure,
    word_failure,
)
from node.ecc import CODES
from node.ecc.pacing import Accumulation
from tests.proof import count

pytestmark = pytest.mark.xdist_group("codes")

BITS = 72
Bytes = NDArray[np.uint8]


class Memory:
    """Random data under a code, and the means to strike all of its bits alike."""

    def __init__(self, code: str, data_bytes: int, seed: int) -> None:
        self.code = CODES[code]
        self.rng = np.random.default_rng(seed)
        self.data = self.rng.integers(0, 256, data_bytes, np.uint8)
        self.check = self.code.encode(self.data)
        self._pristine = self.data.copy(), self.check.copy()
        self.bits = 8 * (self.data.size + self.check.size)

    def flip(self, bits: NDArray[np.int64]) -> None:
        """Toggle bits, those of the data first; one named twice is as before."""
        data_bits = 8 * self.data.size
        for memory, chosen in ((self.data, bits[bits < data_bits]), (self.check, bits[bits >= data_bits] - data_bits)):
            np.bitwise_xor.at(memory, chosen >> 3, np.left_shift(1, chosen & 7).astype(np.uint8))

    def strike(self, mean: float) -> None:
        """Toggle a Poisson number of random bits, so many a bit on average."""
        self.flip(self.rng.integers(0, self.bits, self.rng.poisson(mean * self.bits)))

    def wrong(self, word_bytes: int) -> int:
        """Count the codewords (of so many data bytes) in which data or check bits are not what they were."""
        differs = [(a != b).reshape(self.data.size // word_bytes, -1).any(1) for a, b in self._pairs()]
        return int(np.logical_or(*differs).sum())

    def restore(self) -> None:
        for memory, pristine in self._pairs():
            memory[:] = pristine

    def _pairs(self) -> tuple[tuple[Bytes, Bytes], tuple[Bytes, Bytes]]:
        return (self.data, self._pristine[0]), (self.check, self._pristine[1])


def agrees(counted: int, trials: int, predicted: float) -> bool:
    return abs(counted - trials * predicted) <= 4.0 * math.sqrt(trials * predicted * (1.0 - predicted))


@pytest.mark.parametrize(("code", "copies"), [("hsiao_72_64", 1), ("tmr", 3)])
@pytest.mark.parametrize("mean", [5e-3, 2e-2])
@pytest.mark.proof
def test_a_share_of_words_is_lost_between_two_scrubs(code: str, copies: int, mean: float) -> None:
    """More upsets in a word than its code corrects, all of them at equal chance for each bit."""
    memory = Memory(code, 8 * 20_000, seed=1)
    lost, passes = 0, count(5, 400)
    for _ in range(passes):
        memory.strike(mean)
        memory.code.correct(memory.data, memory.check)
        lost += (
            memory.wrong(8) if copies == 1 else int((memory.data != memory._pairs()[0][1]).reshape(-1, 8).any(1).sum())
        )
        memory.restore()
    p = flip_probability(mean, 1.0, toggles=True)
    predicted = word_failure(p, BITS) if copies == 1 else tmr_word_failure(p)
    assert agrees(lost, passes * 20_000, predicted), (lost, passes * 20_000 * predicted)
    assert not agrees(lost, passes * 20_000, 1.3 * predicted)  # the counts are large enough to tell


@pytest.mark.proof
def test_the_time_to_failure_with_strict_scrubs() -> None:
    """Pass after pass of the real code until it finds a word that it cannot correct."""
    memory, mean, failures = Memory("hsiao_72_64", 8 * 2048, seed=2), 2e-4, count(150, 6000)
    passes = 0
    for _ in range(failures):
        found = False
        while not found:
            passes += 1
            memory.strike(mean)
            memory.code.correct(memory.data, memory.check)
            found = memory.wrong(8) > 0
        memory.restore()
    predicted = mttf_scrubbed(mean, 1.0, BITS, 2048)
    assert passes / failures == pytest.approx(predicted, rel=4.0 / math.sqrt(failures))
    assert predicted == pytest.approx(2.0 / (2048 * 72 * 71 * mean**2), rel=0.15)


@pytest.mark.proof
def test_the_time_to_failure_with_scrubs_at_random_moments() -> None:
    memory, failures = Memory("hsiao_72_64", 8, seed=3), count(300, 20_000)
    rate, scrub_rate = 1.0 / BITS, 5.0
    draw, times = memory.rng, []
    for _ in range(failures):
        time, detected = 0.0, 0
        while not detected:
            struck, scrubbed = draw.exponential(1.0), draw.exponential(1.0 / scrub_rate)
            time += min(struck, scrubbed)
            if struck < scrubbed:
                memory.flip(draw.integers(0, BITS, 1))
                copy = memory.data.copy(), memory.check.copy()
                detected = memory.code.correct(*copy).detected
            else:
                memory.code.correct(memory.data, memory.check)
        memory.restore()
        times.append(time)
    sigma = np.std(times) / math.sqrt(failures)
    # A second upset of the same bit takes the first one back here and not in the chain: one in 71.
    assert abs(np.mean(times) - mttf_scrubbed_at_random(rate, scrub_rate, BITS)) < 4.0 * sigma + 0.02 * np.mean(times)


@pytest.mark.proof
def test_the_time_to_failure_without_any_scrub() -> None:
    """The birthday law: upsets one by one until two bits of one word are wrong, which the code then finds."""
    words, failures, rate = 256, count(200, 8000), 1.0
    memory = Memory("hsiao_72_64", 8 * words, seed=4)
    times = []
    for _ in range(failures):
        bits = memory.rng.permutation(memory.bits)  # the order in which they are first struck
        owner = np.where(bits < 64 * words, bits // 64, (bits - 64 * words) // 8)
        seen: set[int] = set()
        upsets = next(number for number, word in enumerate(owner) if int(word) in seen or seen.add(int(word)))
        memory.flip(bits[:upsets])
        copy = memory.data.copy(), memory.check.copy()
        assert memory.code.correct(*copy).detected == 0
        memory.flip(bits[upsets : upsets + 1])
        assert memory.code.correct(memory.data, memory.check).detected == 1
        memory.restore()
        # Bits that were not struck yet each come at the rate: the gaps are exponential.
        gaps = memory.rng.exponential(1.0, upsets + 1) / (rate * (memory.bits - np.arange(upsets + 1)))
        times.append(float(gaps.sum()))
    sigma = np.std(times) / math.sqrt(failures)
    predicted = mttf_unscrubbed(rate, BITS, words)
    assert abs(np.mean(times) - predicted) < 4.0 * sigma
    assert mttf_unscrubbed_closed(rate, BITS, words) == pytest.approx(predicted, rel=0.05)


@pytest.mark.parametrize("bit_error_rate", [0.0055, 0.0075])
@pytest.mark.proof
def test_frames_lost_by_reed_solomon_at_a_bit_error_rate(bit_error_rate: float) -> None:
    frames, passes = 200, count(4, 200)
    memory = Memory("rs_255_223", 223 * frames, seed=5)
    assert memory.bits == 8 * 255 * frames
    lost = 0
    mean = -0.5 * math.log1p(-2.0 * bit_error_rate)  # upsets a bit after which so many bits are wrong
    for _ in range(passes):
        memory.strike(mean)
        memory.code.correct(memory.data, memory.check)
        lost += memory.wrong(223)
        memory.restore()
    predicted = reed_solomon_failure(bit_error_rate)
    assert 0.02 < predicted < 0.9
    assert agrees(lost, passes * frames, predicted), (lost, passes * frames * predicted)


@pytest.mark.proof
def test_three_copies_last_as_long_as_predicted() -> None:
    """One bit in three copies: two of them wrong after 5 / (6 lam), later where the vote repairs at random moments."""
    rng, failures = np.random.default_rng(6), count(2000, 100_000)
    code = CODES["tmr"]
    for repair_rate in (0.0, 3.0):
        times = []
        for _ in range(failures):
            time, wrong = 0.0, 0
            while wrong < 2:
                struck = rng.exponential(1.0 / (3 - wrong))
                repaired = rng.exponential(1.0 / repair_rate) if repair_rate and wrong else math.inf
                time += min(struck, repaired)
                wrong = wrong + 1 if struck < repaired else 0
            times.append(time)
        sigma = np.std(times) / math.sqrt(failures)
        assert abs(np.mean(times) - tmr_mttf(1.0, repair_rate)) < 4.0 * sigma
    # What the chain takes for granted holds of the code: one wrong copy is outvoted, two are not.
    for copies, right in (([1], True), ([2], True), ([0], True), ([0, 1], False), ([1, 2], False)):
        data = np.zeros(8, np.uint8)
        check = code.encode(data)
        for copy in copies:
            (data if copy == 0 else check[8 * (copy - 1) :])[0] ^= 1
        code.correct(data, check)
        assert (not data.any()) is right


def test_known_values() -> None:
    """Those of the knowledge pages, which two independent ways agreed on."""
    assert pytest.approx(1.12e-7) == 280 / 2.5e9
    assert mttf_unscrubbed(1.12e-7, 72, 2**23) == pytest.approx(54.048, abs=0.01)
    assert mttf_unscrubbed_closed(1.12e-7, 72, 2**23) == pytest.approx(54.038, abs=0.01)
    assert tmr_word_failure(1e-4) == pytest.approx(1.91987e-6, rel=1e-5)
    assert 1.0 - tmr_bit_failure(0.1) == pytest.approx(0.972)
    assert mttf_scrubbed_at_random(1e-9, 1.0, 72) == pytest.approx(0.5 * mttf_scrubbed(1e-9, 1.0, 72, 1), rel=1e-3)
    assert tmr_mttf(1.0) < 1.0  # worse than a single copy in the mean


def test_sums_and_limits_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for p, n, corrects in ((1e-6, 72, 1), (0.3, 72, 1), (1e-3, 79, 2), (0.05, 255, 16), (0.9, 255, 16)):
        assert word_failure(p, n, corrects) == pytest.approx(stats.binom.sf(corrects, n, p), rel=1e-9)
    assert [word_failure(p, 72) for p in (0.0, 1.0)] == [0.0, 1.0]


def test_the_board_inverts_the_same_law() -> None:
    """Host and board have each its own form of it, since the board does not carry the host's packages."""
    on_board = Accumulation(codewords=5000.0, symbols=72).period_s(3e-10, 1e-5)
    assert on_board == pytest.approx(scrub_period(3e-10, 72, 5000.0, 86_400.0, 1e-5))
    failure = 86_400.0 / mttf_scrubbed(3e-10, on_board, 72, 5000.0)
    assert failure == pytest.approx(1e-5, rel=1e-3)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_rates_that_are_none_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="give a number above 0"):
        mttf_unscrubbed(bad, 72, 10)
    with pytest.raises(DataError, match="give 0 to 1"):
        word_failure(1.5, 72)
