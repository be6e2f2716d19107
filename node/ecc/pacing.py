"""When the next slice of a scrub is due and how large it may be, on the wall clock.

A pass over all regions takes a set period, or as long as a set share of the time gives, or it is chosen from what the
scrubber has corrected so far. Whatever the mode, one slice takes about ``SLICE_S``, so that a command that arrives
meanwhile waits for less than ``LONGEST_DELAY_S``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from node.ecc.code import DecodeReport
from node.ecc.scrubber import Scrubber

SLICE_S = 0.001
"""Aimed at for one slice; a repair, or another process, may take it longer."""

LONGEST_DELAY_S = 0.005
"""What no slice may take on a machine that has the time."""

MOST_WORDS = 16_384
"""However fast sound memory is read, a slice is no larger: any of its words may be wrong, and repairs take time."""

DAY_S = 86_400.0
_FORGETTING = 0.9  # of the slowest speed seen, a slice


class Pace(Protocol):
    """How fast a pass goes."""

    def interval_s(self, words: int, busy_s: float) -> float:
        """Give the time from the begin of a slice to that of the next, after one of ``words`` that took ``busy_s``."""

    def note(self, report: DecodeReport, now_s: float) -> None:
        """Take in what a slice found."""


@dataclass(frozen=True, kw_only=True)
class FixedPeriod:
    """One pass over ``words`` every ``period_s`` seconds."""

    words: int
    period_s: float

    def interval_s(self, words: int, busy_s: float) -> float:
        """Give the part of the period that these words have."""
        del busy_s
        return self.period_s * words / self.words

    def note(self, report: DecodeReport, now_s: float) -> None:
        """Take no notice."""


@dataclass(frozen=True, kw_only=True)
class FixedShare:
    """So much of the time, a share between 0 and 1."""

    share: float

    def interval_s(self, words: int, busy_s: float) -> float:
        """Give the time of which the slice took the share."""
        del words
        return busy_s / self.share

    def note(self, report: DecodeReport, now_s: float) -> None:
        """Take no notice."""


@dataclass(frozen=True, kw_only=True)
class Accumulation:
    """Memory in which upsets gather between two passes, and what its code makes of them.

    Parameters
    ----------
    codewords : float
        Codewords in all regions.
    symbols : int
        Symbols of a codeword, check symbols included.
    symbol_bits : int
        Bits of a symbol.
    corrects : int
        Wrong symbols that are corrected; one more is a failure.
    """

    codewords: float
    symbols: int
    symbol_bits: int = 1
    corrects: int = 1

    @property
    def bits(self) -> float:
        """All bits that can be struck."""
        return self.codewords * self.symbols * self.symbol_bits

    def period_s(self, rate_per_bit_s: float, probability_per_day: float) -> float:
        """Give the period at which a day ends without an uncorrectable codeword but for this probability.

        Between two passes a codeword fails with about ``C(n, t+1) (lam T)^(t+1)`` where ``lam`` is the rate of a
        symbol; a day has ``D / T`` passes over ``N`` codewords. Solved for T; for ``t = 1`` it is
        ``2 eps / (N n (n-1) lam^2 D)`` (Saleh, Serrano, Patel, IEEE Trans. Reliability 39(1):114, 1990).

        Examples
        --------
        >>> memory = Accumulation(codewords=1000, symbols=72)
        >>> round(memory.period_s(1e-9, 1e-6), 6)
        4.528198
        """
        rate = rate_per_bit_s * self.symbol_bits
        ways = math.comb(self.symbols, self.corrects + 1)
        # In logarithms: with 16 corrected symbols the powers leave the range of floats.
        logarithm = math.log(probability_per_day) - math.log(self.codewords * DAY_S) - math.log(ways)
        return math.exp((logarithm - (self.corrects + 1) * math.log(rate)) / self.corrects)


class AdaptivePeriod:
    """A period that follows the upsets: short in a storm of particles, long when it has passed.

    The rate is estimated from the corrected codewords of the last ``memory_s`` (older ones fade away) plus one, so
    that a quiet beginning is no proof of quiet: it errs towards more upsets.

    Parameters
    ----------
    memory : Accumulation
        What is scrubbed.
    words : int
        Words of all regions.
    probability_per_day : float
        Target: chance of an uncorrectable codeword in a day.
    now_s : float
        When it starts.
    fastest_s, slowest_s : float
        Limits of the period.
    memory_s : float
        Time in which what was seen loses two thirds of its weight.
    """

    def __init__(
        self,
        memory: Accumulation,
        words: int,
        probability_per_day: float,
        *,
        now_s: float,
        limits_s: tuple[float, float] = (0.1, DAY_S),
        memory_s: float = 3600.0,
    ) -> None:
        self._memory = memory
        self._words = words
        self._probability = probability_per_day
        self._limits_s = limits_s
        self._memory_s = memory_s
        self._seen = 0.0
        self._observed_s = 0.0
        self._last_s = now_s

    @property
    def rate_per_bit_s(self) -> float:
        """Upsets per bit and second, estimated high."""
        return (self._seen + 1.0) / (self._memory.bits * max(self._observed_s, 1.0))

    @property
    def period_s(self) -> float:
        """Time for one pass."""
        shortest_s, longest_s = self._limits_s
        wanted_s = self._memory.period_s(self.rate_per_bit_s, self._probability)
        return min(longest_s, max(shortest_s, wanted_s))

    def interval_s(self, words: int, busy_s: float) -> float:
        """Give the part of the period that these words have."""
        del busy_s
        return self.period_s * words / self._words

    def note(self, report: DecodeReport, now_s: float) -> None:
        """Count what was corrected or found; what is older fades."""
        passed_s = max(0.0, now_s - self._last_s)
        fading = math.exp(-passed_s / self._memory_s)
        self._seen = self._seen * fading + report.corrected + report.detected
        self._observed_s = self._observed_s * fading + self._memory_s * (1.0 - fading)
        self._last_s = now_s


class Pacer:
    """Runs the slices of a scrubber when they are due.

    Parameters
    ----------
    scrub_slice : callable
        Corrects that many words at most and gives what it found, as :meth:`Scrubber.scrub_slice` does.
    scrubber : Scrubber
        Whose slices they are: it knows how small one can be, and how many words there are.
    pace : Pace
        How fast.
    clock : callable
        Monotonic seconds.

    Attributes
    ----------
    slices : int
        How many were done.
    slice_words : int
        Words that the next one may take.
    """

    def __init__(
        self,
        scrub_slice: Callable[[int], DecodeReport],
        scrubber: Scrubber,
        pace: Pace,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scrub_slice = scrub_slice
        self._pace = pace
        self._clock = clock
        self._least_words = scrubber.least_slice
        self._most_words = max(min(scrubber.words, MOST_WORDS), self._least_words)
        self._slowest_s = 0.0  # of one word, lately
        self.slice_words = self._least_words
        self.slices = 0
        self._due_s = clock()

    @property
    def wait_s(self) -> float:
        """Seconds until the next slice is due; 0 where it is."""
        return max(0.0, self._due_s - self._clock())

    def work(self) -> DecodeReport | None:
        """Do one slice if it is due, and give what it found; None where it is not."""
        begin_s = self._clock()
        if begin_s < self._due_s:
            return None
        words = self.slice_words
        report = self._scrub_slice(words)
        end_s = self._clock()
        busy_s = end_s - begin_s
        self.slices += 1
        self._pace.note(report, end_s)
        self._fit(words, busy_s)
        # Not from when it was due: after a long command the slices that were missed are not made up for in a burst.
        self._due_s = begin_s + self._pace.interval_s(words, busy_s)
        return report

    def _fit(self, words: int, busy_s: float) -> None:
        """Let the next slice take as many words as fit into its time, at the slowest speed seen lately."""
        self._slowest_s = max(busy_s / words, _FORGETTING * self._slowest_s)
        fitting = int(SLICE_S / self._slowest_s) if self._slowest_s > 0.0 else 2 * words
        self.slice_words = max(self._least_words, min(self._most_words, 2 * words, fitting))
