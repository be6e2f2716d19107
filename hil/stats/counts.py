"""Counts of outcomes, one outcome a trial, and the estimates they support."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from firmware_bridge.errors import DataError
from hil.stats.intervals import CONFIDENCE, Estimate, clopper_pearson, mcnemar_p_value, paired_difference
from hil.stats.sequence import anytime, anytime_p_value
from hil.stats.strata import Stratum, events_per_shared_strike


@dataclass(frozen=True, kw_only=True)
class OutcomeCounts:
    """How often each outcome occurred; a trial counts once, whatever number of inferences, faults or bits it held.

    The trial is the unit because its inferences share one strike: counted singly they would pretend to more
    knowledge than there is. Counts of disjoint trials add with ``+``.

    Parameters
    ----------
    counts : tuple of (str, int)
        Trials per outcome, sorted, without zeros (put in order when made).

    Examples
    --------
    >>> counts = OutcomeCounts.of(["MASKED", "DUE", "MASKED"]) + OutcomeCounts.of(["MASKED"])
    >>> counts.trials, counts["MASKED"], counts["CRASH"], counts.estimate("DUE").best
    (4, 3, 0, 0.25)
    """

    counts: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        table = dict(self.counts)
        for outcome, count in table.items():
            if count < 0:
                raise DataError(f"counts: {outcome} = {count}: give 0 or more")
        object.__setattr__(self, "counts", tuple(sorted((name, count) for name, count in table.items() if count)))

    @classmethod
    def of(cls, outcomes: Iterable[str]) -> OutcomeCounts:
        """Count the outcomes of trials, one each."""
        return cls(counts=tuple(Counter(outcomes).items()))

    def __getitem__(self, outcome: str) -> int:
        return dict(self.counts).get(outcome, 0)

    def __add__(self, other: OutcomeCounts) -> OutcomeCounts:
        total = Counter(dict(self.counts)) + Counter(dict(other.counts))
        return OutcomeCounts(counts=tuple(total.items()))

    @property
    def trials(self) -> int:
        """Number of trials."""
        return sum(count for _, count in self.counts)

    def estimate(self, *outcomes: str, confidence: float = CONFIDENCE) -> Estimate:
        """Give the share of trials that ended as any of ``outcomes``, with exact (Clopper-Pearson) limits.

        An outcome never seen still has its upper limit.
        """
        events = sum(self[outcome] for outcome in set(outcomes))
        return clopper_pearson(events, self.trials, confidence)

    def estimates(self, outcomes: Iterable[str], confidence: float = CONFIDENCE) -> dict[str, Estimate]:
        """Give the share of each of ``outcomes``; name them all, so that those never seen are there as well."""
        return {outcome: self.estimate(outcome, confidence=confidence) for outcome in outcomes}


@dataclass(frozen=True, kw_only=True)
class OutcomeStrata:
    """Outcomes of the strikes on shared cells and, apart from them, of those that a protection adds.

    Parameters
    ----------
    shared, added : OutcomeCounts
        One outcome a strike.
    added_per_shared : float
        Expected added strikes per shared strike; known from sizes and times, not estimated.
    sequential : bool
        True where the counts decided when to stop: then limits must hold at every look.
    """

    shared: OutcomeCounts
    added: OutcomeCounts
    added_per_shared: float
    sequential: bool = False

    def estimate(self, *outcomes: str, confidence: float = CONFIDENCE) -> Estimate:
        """Give the expected number of strikes with any of ``outcomes`` per strike on the shared cells.

        See :func:`hil.stats.events_per_shared_strike`.

        Examples
        --------
        >>> shared = OutcomeCounts.of(["DUE", "MASKED", "MASKED", "MASKED"])
        >>> OutcomeStrata(shared=shared, added=OutcomeCounts(), added_per_shared=0.0).estimate("DUE").best
        0.25
        """
        return events_per_shared_strike(
            self._stratum(self.shared, outcomes),
            self._stratum(self.added, outcomes),
            self.added_per_shared,
            confidence,
            anytime if self.sequential else clopper_pearson,
        )

    @staticmethod
    def _stratum(counts: OutcomeCounts, outcomes: tuple[str, ...]) -> Stratum:
        return Stratum(events=sum(counts[outcome] for outcome in set(outcomes)), strikes=counts.trials)


@dataclass(frozen=True, kw_only=True)
class PairedCounts:
    """Two variants under the same strikes: how often an event befell both, one alone, or neither.

    Pair only what is paired: the strike on the shared cells. Strikes on a variant's own cells belong to it alone.
    ``sequential`` is true where the counts decided when to stop: then interval and p-value hold at every look.

    Examples
    --------
    >>> pairs = PairedCounts.of([(True, False), (True, True), (False, False)])
    >>> pairs.only_first, pairs.trials, pairs.p_value()
    (1, 3, 1.0)
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    sequential: bool = False

    def __post_init__(self) -> None:
        if min(self.both, self.only_first, self.only_second, self.neither) < 0:
            raise DataError(f"paired counts: {self}: give 0 or more")

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool]], *, sequential: bool = False) -> PairedCounts:
        """Count pairs (event in the first variant, event in the second), one pair a trial."""
        table = Counter((bool(first), bool(second)) for first, second in pairs)
        return cls(
            both=table[True, True],
            only_first=table[True, False],
            only_second=table[False, True],
            neither=table[False, False],
            sequential=sequential,
        )

    def __add__(self, other: PairedCounts) -> PairedCounts:
        return PairedCounts(
            both=self.both + other.both,
            only_first=self.only_first + other.only_first,
            only_second=self.only_second + other.only_second,
            neither=self.neither + other.neither,
            sequential=self.sequential or other.sequential,
        )

    @property
    def trials(self) -> int:
        """Number of pairs."""
        return self.both + self.only_first + self.only_second + self.neither

    def difference(self, confidence: float = CONFIDENCE) -> Estimate:
        """Give by how much the first variant's share of events exceeds the second's (see ``paired_difference``)."""
        limits = anytime if self.sequential else clopper_pearson
        return paired_difference(self.only_first, self.only_second, self.trials, confidence, limits)

    def p_value(self) -> float:
        """Give McNemar's exact two-sided p-value of "no difference", or one that holds at every look."""
        if self.sequential:
            return anytime_p_value(self.only_first, self.only_first + self.only_second)
        return mcnemar_p_value(self.only_first, self.only_second)
