"""Walks over protected regions before upsets gather, all at once or slice by slice."""

from __future__ import annotations

from collections.abc import Iterable

from firmware_bridge.errors import ConfigError
from node.ecc.code import GRAIN_WORDS, DecodeReport
from node.ecc.region import ProtectedRegion


class Scrubber:
    """Corrects regions every ``period`` inferences, or a slice of them whenever there is time.

    Parameters
    ----------
    regions : iterable of ProtectedRegion
        What to walk over, in order.
    period : int
        Inferences between two scrubs; 0 never scrubs by itself.

    Attributes
    ----------
    scrubs : int
        Passes over all regions that were completed.
    total : DecodeReport
        Sum of all reports since the start or the last :meth:`reset`.
    """

    def __init__(self, regions: Iterable[ProtectedRegion], period: int = 1) -> None:
        if period < 0:
            raise ConfigError(f"scrubber: period = {period}: give 0 (never) or more inferences")
        self.regions = tuple(regions)
        self.period = period
        self.reset()

    def reset(self) -> None:
        """Set the counters to zero and let the next slice begin at the first word."""
        self.scrubs = 0
        self.total = DecodeReport()
        self.rewind()

    def rewind(self) -> None:
        """Let the next slice begin at the first word; the counters stay."""
        self._region = 0
        self._word = 0

    @property
    def words(self) -> int:
        """Words of all regions."""
        return sum(region.words for region in self.regions)

    @property
    def least_slice(self) -> int:
        """Words of the smallest slice that every region's code can take."""
        return max((region.code.grain_words for region in self.regions), default=GRAIN_WORDS)

    def due(self, inference: int) -> bool:
        """Tell whether a scrub belongs before this inference: 0, ``period``, 2 ``period``, ..."""
        return self.period > 0 and inference % self.period == 0

    def scrub(self) -> DecodeReport:
        """Correct every region from end to end; a pass begun in slices is not touched."""
        report = sum((region.correct() for region in self.regions), DecodeReport())
        self.scrubs += 1
        self.total += report
        return report

    def scrub_slice(self, max_words: int) -> DecodeReport:
        """Correct the next words, at most ``max_words`` of them and at most to the end of the last region.

        Parameters
        ----------
        max_words : int
            At least 64; rounded down to a multiple of the grain of a region's code, but never below one grain.
        """
        if max_words < GRAIN_WORDS:
            raise ConfigError(f"scrubber: a slice of {max_words} words: give {GRAIN_WORDS} or more")
        left = max_words
        report = DecodeReport()
        while self._region < len(self.regions):
            region = self.regions[self._region]
            grain = region.code.grain_words
            # A first grain is always taken, or a slice smaller than a block would never get anywhere.
            stop = min(self._word + max(left // grain, left == max_words) * grain, region.words)
            if stop == self._word and stop < region.words:
                break
            report += region.correct((self._word, stop))
            left -= stop - self._word
            self._word = stop
            if stop == region.words:
                self._region, self._word = self._region + 1, 0
            if left < GRAIN_WORDS:
                break
        if self._region == len(self.regions):
            self._region = 0
            self.scrubs += 1
        self.total += report
        return report
