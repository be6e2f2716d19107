"""``python -m benchmarks [GROUP ...]``: measure, hold against the goals, exit 1 if one is missed."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.contest import NotMeasurable, OpenContest, Ratio, Work, measure
from benchmarks.goals import GROUPS, Goal, read_goals
from firmware_bridge import crc
from firmware_bridge.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A goal and what came of it: a ratio, or why there is none."""

    goal: Goal
    ratio: Ratio | None = None
    missing: str = ""
    counted: Work | None = None

    @property
    def failed(self) -> bool:
        """True when a goal that counts is missed."""
        return self.ratio is not None and self.ratio.median < self.goal.ratio and not self.goal.stretch

    def line(self) -> str:
        """Give the finding as a line for a reader."""
        goal = self.goal
        head = f"{goal.group + '/' + goal.name:36}"
        if self.ratio is None:
            return f"{head} cannot be measured here: {self.missing} (goal {goal.ratio:.2f})"
        found = self.ratio
        margin = found.median / goal.ratio - 1
        verdict = "met by" if margin >= 0 else "missed by"
        kind = "stretch goal" if goal.stretch else "goal"
        return (
            f"{head} {found.median:6.2f}  ({found.low:.2f} to {found.high:.2f}, {found.repeats} repeats)  "
            f"{kind} {goal.ratio:.2f} {verdict} {abs(margin):.0%}  [{_amount(found)}]"
        )

    def details(self) -> str:
        """Give what the goal says, and the rates where they are counted."""
        if self.ratio is None or self.counted is None:
            return self.goal.what
        return f"{self.goal.what}\n{'':36} {self.counted.rates(self.ratio)}"


def find(goals: Sequence[Goal], contests: Mapping[str, Mapping[str, OpenContest]]) -> list[Finding]:
    """Measure each contest once, in the order of the goals, and print each finding as it comes."""
    measured: dict[tuple[str, str], Finding] = {}
    findings = []
    for goal in goals:
        key = (goal.group, goal.contest)
        if key not in measured:
            measured[key] = _measure(goal, contests[goal.group][goal.contest])
        finding = replace(measured[key], goal=goal)
        print(f"{finding.line()}\n{'':36} {finding.details()}", flush=True)
        findings.append(finding)
    return findings


def _measure(goal: Goal, open_contest: OpenContest) -> Finding:
    missing = goal.missing()
    if missing is not None:
        return Finding(goal=goal, missing=missing)
    try:
        with open_contest() as contest:
            return Finding(goal=goal, ratio=measure(contest), counted=contest.counted)
    except NotMeasurable as error:
        return Finding(goal=goal, missing=str(error))


def _amount(found: Ratio) -> str:
    return f"{_seconds(found.ours_s)} a call" if found.unit == "s" else f"{found.ours_s:.4g} {found.unit}"


def _seconds(value_s: float) -> str:
    if value_s < 1e-3:
        return f"{value_s * 1e6:.3g} us"
    return f"{value_s * 1e3:.3g} ms" if value_s < 1 else f"{value_s:.3g} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the groups asked for, all of them without a name, and give the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("group", nargs="*", help=f"of {', '.join(GROUPS)}; all of them without one")
    asked = parser.parse_args(arguments).group or list(GROUPS)
    try:
        unknown = set(asked) - set(GROUPS)
        if unknown:
            raise ConfigError(f"no group {sorted(unknown)[0]!r}: choose from {', '.join(GROUPS)}")
        if crc.engine() != crc.COMPILED:
            raise ConfigError(f"crc engine: {crc.engine()}: no figures are given with it; pip install crcmod-plus")
        goals = [goal for goal in read_goals() if goal.group in asked]
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    groups = sorted({goal.group for goal in goals})
    contests = {group: importlib.import_module(f"benchmarks.bench_{group}").CONTESTS for group in groups}
    findings = find(goals, contests)
    failed = [finding for finding in findings if finding.failed]
    unmeasured = sum(finding.ratio is None for finding in findings)
    print(f"goals: {len(findings)}, missed: {len(failed)}, cannot be measured here: {unmeasured}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
