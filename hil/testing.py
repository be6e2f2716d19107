"""What a campaign run from a test gives back, and the assertions on it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_bridge.errors import ConfigError

if TYPE_CHECKING:
    from hil.report.summary import Summary, TaskSummary

MOST_NAMED_TRIALS = 5


@dataclass(frozen=True, kw_only=True)
class MeasuredProtection:
    """One protection of a campaign that was run."""

    directory: Path
    summary: Summary
    task: TaskSummary

    def assert_rate_below(self, outcome: str, limit: float, confidence: float = 0.95) -> None:
        """Fail unless the campaign shows that ``outcome`` is rarer than ``limit``.

        What is compared is an upper limit, not the rate that was seen: too few trials fail as well.

        Parameters
        ----------
        outcome : str
            ``failure`` (anything but a right output in time), ``sdc`` (both kinds of silent corruption) or the name
            of one outcome, such as ``SDC_CRITICAL``.
        limit : float
            Events per strike on the shared cells, added strikes included.
        confidence : float
            One-sided: where the rate is ``limit`` or more, this passes with a chance of at most ``1 - confidence``.

        Raises
        ------
        AssertionError
            With counts, interval, seed, and the trials to look at.
        ConfigError
            No such outcome, or a limit or confidence that makes no sense.
        """
        __tracebackhide__ = True
        from hil.report.summary import EVENTS
        from hil.toml_file import advice

        if outcome not in EVENTS:
            raise ConfigError(f"assert_rate_below: no outcome {outcome!r}; {advice(outcome, EVENTS)}")
        if not limit > 0.0 or not 0.5 < confidence < 1.0:
            raise ConfigError(
                f"assert_rate_below: limit = {limit}, confidence = {confidence}: "
                "give a limit above 0 and a confidence between 0.5 and 1"
            )
        if not self.task.trials:
            raise AssertionError(f"{self.task.name}: no trial was run, so nothing is known about {outcome}")
        # The upper of two limits errs with half of what both leave.
        high = self.task.strata.estimate(*EVENTS[outcome], confidence=2.0 * confidence - 1.0).high
        if high >= limit:
            raise AssertionError(self._evidence(outcome, EVENTS[outcome], (limit, high, confidence)))

    def _evidence(self, name: str, outcomes: tuple[str, ...], figures: tuple[float, float, float]) -> str:
        from hil.report.numbers import count_text, significant

        limit, high, confidence = figures
        strata, header = self.task.strata, self.summary.header
        shared, added = (sum(counts[each] for each in outcomes) for counts in (strata.shared, strata.added))
        best = strata.estimate(*outcomes).best
        lines = [
            f"{self.task.name}: {name} is not shown to be below {significant(limit)} per strike: it may be up to "
            f"{significant(high)} ({confidence:.6g} confidence), best {significant(best)}",
            f"  seen      {count_text(shared)} in {count_text(strata.shared.trials)} strikes on shared cells, "
            f"{count_text(added)} in {count_text(strata.added.trials)} on added ones",
            f"  outcomes  {', '.join(f'{key.value} {n}' for key, n in self.task.outcomes.items() if n)}",
            f"  campaign  {header.name}, target {header.target}, seed {header.seed}, model {header.model_name}, "
            f"fault model {header.fault_model}",
            f"  results   {self.directory}",
        ]
        trials = self._trials(outcomes)
        if trials:
            lines += [f"  repeat    hil replay {self.directory} '{self.task.name}' {trial}" for trial in trials]
        else:
            lines.append("  remedy    nothing was seen: more trials would lower the limit")
        return "\n".join(lines)

    def _trials(self, outcomes: tuple[str, ...]) -> list[int]:
        from hil.campaign.record import TrialRow
        from hil.campaign.store import read_rows

        found = (
            row.trial
            for row in read_rows(self.directory)
            if isinstance(row, TrialRow) and row.protection == self.task.name and row.outcome in outcomes
        )
        return list(islice(found, MOST_NAMED_TRIALS))


@dataclass(frozen=True, kw_only=True)
class MeasuredCampaign:
    """A campaign that was run: ``campaign["tmr"]`` is one of its protections.

    ``summary`` is what the report shows; the results lie in ``directory``.
    """

    directory: Path
    summary: Summary

    def __getitem__(self, protection: str) -> MeasuredProtection:
        for task in self.summary.tasks:
            if task.name == protection:
                return MeasuredProtection(directory=self.directory, summary=self.summary, task=task)
        known = ", ".join(repr(task.name) for task in self.summary.tasks)
        raise ConfigError(f"{self.directory}: no protection {protection!r}; it has {known}")
