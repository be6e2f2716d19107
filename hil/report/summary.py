"""What a results directory says: counts, estimates, costs and the map, read from header and rows alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from firmware_bridge.errors import DataError
from hil.campaign.outcome import Outcome
from hil.campaign.record import DAY_S, AttemptRow, Header, HeatRow, LinkRow, TaskRecord, TrialRow
from hil.campaign.store import confirmation_folder, read_header, read_rows, stopped_at
from hil.report.costs import Costs, CostTally
from hil.report.vulnerability import MapRow, VulnerabilityMap
from hil.stats.counts import OutcomeCounts, OutcomeStrata, PairedCounts
from hil.stats.family import each_confidence
from hil.stats.intervals import Estimate


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What one task offered to nature and what it received.

    ``mean_strikes`` is the expected number of strikes in a trial: one on the shared cells plus the added ones on
    the task's own cells. The bits are the struck ones.
    """

    mean_strikes: float
    shared_bits: int
    own_bits: int
    faults: int


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """One protection: what was counted, and what follows from it.

    Parameters
    ----------
    record : TaskRecord
        What was under test.
    trials : int
        Distinct trials done.
    outcomes : dict of Outcome to int
        Every outcome, also those that never happened.
    strata : OutcomeStrata
        Outcomes of the strikes on shared cells and of the added ones.
    estimates : dict of str to Estimate
        Expected number per strike on the shared cells, added strikes included, of each outcome by name, of
        ``failure`` (any that is a failure) and of ``sdc`` (both kinds), with 95 % limits (see
        :func:`hil.stats.events_per_shared_strike`). Empty before the first trial.
    ranked_failure : Estimate or None
        ``estimates["failure"]`` with limits that hold for all ranked protections together (see
        :func:`hil.stats.each_confidence`); None for what takes no part in the ranking.
    failures_per_day : Estimate or None
        Low rate times low probability up to high rate times high probability, for the struck shared bits and the
        exposed part of a day; None without a rate.
    paired : PairedCounts or None
        Failures of the strikes on the shared cells, minus those of ``none`` under the same strikes.
    """

    record: TaskRecord
    trials: int
    outcomes: dict[Outcome, int]
    strata: OutcomeStrata
    estimates: dict[str, Estimate]
    ranked_failure: Estimate | None
    failures_per_day: Estimate | None
    paired: PairedCounts | None
    exposure: Exposure
    costs: Costs
    map_rows: tuple[MapRow, ...]

    @property
    def name(self) -> str:
        """Name of the protection."""
        return self.record.name

    @property
    def failures(self) -> int:
        """Trials in which at least one inference was wrong, withheld or never came."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.is_failure)

    @property
    def failure(self) -> Estimate | None:
        """Probability that a trial fails; None before the first trial."""
        return self.estimates.get("failure")

    @property
    def label(self) -> str:
        """Name for people: it says when the plant was held hot and whether the node throttled."""
        if self.record.temperature_c is None:
            return self.name
        state = "while throttled, " if self.costs.throttled_trials else ""
        return f"{self.name} ({state}{self.record.temperature_c:g}\N{NO-BREAK SPACE}°C)"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything the report shows; see :func:`summarise`.

    ``confirmation`` is the summary of the same campaign on fresh strikes, where that was run. ``stopped_at`` is the
    number of trials after which enough had been seen, None where no rule ended the run.
    """

    header: Header
    tasks: tuple[TaskSummary, ...]
    attempts: tuple[AttemptRow, ...]
    heat: tuple[HeatRow, ...]
    links: tuple[LinkRow, ...]
    confirmation: Summary | None = None
    stopped_at: int | None = None

    @property
    def trials(self) -> int:
        """Trials that each protection should have: all, or as many as were enough."""
        return self.stopped_at or self.header.trials

    @property
    def noise_floor(self) -> float | None:
        """Upper bound of the failure probability of the ``null`` control; None where it has no trial."""
        null = self.control("null")
        return null.failure.high if null and null.failure else None

    @property
    def complete(self) -> bool:
        """True when every task has all its trials."""
        return all(task.trials >= self.trials for task in self.tasks)

    def control(self, kind: str) -> TaskSummary | None:
        """Give the first task that is this control, None where there is none."""
        return next((task for task in self.tasks if task.record.control == kind), None)


def summarise(directory: Path) -> Summary:
    """Read a results directory.

    The first row of a (protection, trial) counts, later ones are repeats; rows beyond the header's number of
    trials are left out, and so is an incomplete last line.

    Raises
    ------
    ConfigError
        If this is no results directory.
    DataError
        If a row cannot be read or names a protection or an outcome that the header does not know.
    """
    header = read_header(directory)
    tallies = {task.name: _Tally(header, task) for task in header.tasks}
    attempts: list[AttemptRow] = []
    heat: list[HeatRow] = []
    links: list[LinkRow] = []
    stopped = stopped_at(read_rows(directory))
    trials = stopped or header.trials
    for row in read_rows(directory):
        match row:
            case TrialRow():
                if row.protection not in tallies:
                    raise DataError(f"{directory}: a row names protection {row.protection!r}, which this run has not")
                if 0 <= row.trial < trials:
                    tallies[row.protection].add(row)
            case AttemptRow():
                attempts.append(row)
            case HeatRow():
                if heat and row.wall_s <= heat[-1].wall_s:  # the loop was cut short and run again
                    heat.clear()
                heat.append(row)
            case LinkRow():
                links.append(row)
    baseline = next((tally for tally in tallies.values() if tally.record.control == "none"), None)
    ranked = sum(record.is_ranked for record in header.tasks)
    return Summary(
        header=header,
        tasks=tuple(tally.summary(baseline, ranked) for tally in tallies.values()),
        attempts=tuple(attempts),
        heat=tuple(heat),
        links=tuple(links),
        stopped_at=stopped,
        confirmation=summarise(second) if (second := confirmation_folder(directory)) else None,
    )


EVENTS = {outcome.value: (outcome.value,) for outcome in Outcome} | {
    "failure": tuple(outcome.value for outcome in Outcome if outcome.is_failure),
    "sdc": tuple(outcome.value for outcome in Outcome if outcome.is_sdc),
}
"""Everything that a rate is given of, by name, and the outcomes that it covers."""


def _estimates(strata: OutcomeStrata) -> dict[str, Estimate]:
    return {name: strata.estimate(*outcomes) for name, outcomes in EVENTS.items()}


def exposed_share(header: Header) -> float:
    """Give the part of a day in which an unprotected computer is exposed: all of it without a stated demand."""
    if header.demand_per_day is None or header.inference_s is None:
        return 1.0
    return header.demand_per_day * header.inference_s / DAY_S


class _Tally:
    """Adds up the rows of one task; the order of the rows makes no difference."""

    def __init__(self, header: Header, record: TaskRecord) -> None:
        self.record = record
        self._rate = header.rate_per_bit_day
        self._sequential = header.stop_half_width is not None
        self._exposed_share = exposed_share(header)
        self._trials: dict[int, _Trial] = {}
        self._added: list[str] = []
        self._faults = 0
        self._costs = CostTally(inferences=header.inferences)
        self._map = VulnerabilityMap(header)

    def add(self, row: TrialRow) -> None:
        if row.trial in self._trials:
            return
        strikes = [(faults, _outcome(row, name)) for faults, name in row.by_strike()]
        self._trials[row.trial] = _Trial(_outcome(row, row.outcome), strikes[0][1])
        self._added.extend(outcome.value for _, outcome in strikes[1:])
        self._faults += len(row.faults)
        self._costs.add(row)
        for faults, outcome in strikes:
            self._map.add(faults, failed=outcome.is_failure)

    def summary(self, baseline: _Tally | None, ranked: int) -> TaskSummary:
        counts = OutcomeCounts.of(trial.outcome.value for trial in self._trials.values())
        strata = self._strata()
        estimates = _estimates(strata) if self._trials else {}
        together = None
        if self._trials and self.record.is_ranked:
            together = strata.estimate(*EVENTS["failure"], confidence=each_confidence(ranked))
        struck = [region for region in self.record.regions if region.struck]
        shared_bits = 8 * sum(region.size_bytes for region in struck if not region.own)
        return TaskSummary(
            record=self.record,
            trials=counts.trials,
            outcomes={outcome: counts[outcome.value] for outcome in Outcome},
            strata=strata,
            estimates=estimates,
            ranked_failure=together,
            failures_per_day=self._per_day(estimates.get("failure"), shared_bits),
            paired=self._paired(baseline),
            exposure=Exposure(
                mean_strikes=self.record.mean_strikes,
                shared_bits=shared_bits,
                own_bits=8 * sum(region.size_bytes for region in struck if region.own),
                faults=self._faults,
            ),
            costs=self._costs.costs(self.record, baseline._costs.time_per_inference_us() if baseline else None),
            map_rows=self._map.rows(),
        )

    def _strata(self) -> OutcomeStrata:
        return OutcomeStrata(
            shared=OutcomeCounts.of(trial.shared.value for trial in self._trials.values()),
            added=OutcomeCounts.of(self._added),
            added_per_shared=max(0.0, self.record.mean_strikes - 1.0),
            sequential=self._sequential,
        )

    def _per_day(self, failure: Estimate | None, shared_bits: int) -> Estimate | None:
        if failure is None or self._rate is None or self.record.control == "null":
            return None
        low, best, high = (rate * shared_bits * self._exposed_share for rate in self._rate)
        return Estimate(low=low * failure.low, best=best * failure.best, high=high * failure.high)

    def _paired(self, baseline: _Tally | None) -> PairedCounts | None:
        if baseline is None or baseline is self:
            return None
        if self.record.control == "null":  # nothing struck it: there is no pair
            return None
        pairs = [
            (trial.shared.is_failure, other.shared.is_failure)
            for number, trial in self._trials.items()
            if (other := baseline._trials.get(number))
        ]
        return PairedCounts.of(pairs, sequential=self._sequential) if pairs else None


class _Trial(NamedTuple):
    outcome: Outcome  # the worst of all its strikes
    shared: Outcome  # of the strike on the shared cells


def _outcome(row: TrialRow, name: str) -> Outcome:
    try:
        return Outcome(name)
    except ValueError:
        known = ", ".join(outcome.value for outcome in Outcome)
        raise DataError(f"trial {row.trial} of {row.protection!r}: outcome {name!r} is none of {known}") from None
