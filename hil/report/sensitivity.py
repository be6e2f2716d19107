"""The ranking of protections under each fault model, and whether the winner changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from hil.report.answer import winner
from hil.report.as_json import Json
from hil.report.numbers import NOTHING, interval_text, list_text, significant
from hil.report.summary import Summary, summarise
from hil.report.terminal import wide_console
from hil.stats.intervals import Estimate


@dataclass(frozen=True, kw_only=True)
class ModelRanking:
    """One fault model: the ranked protections from best to worst, and the one that surely failed least, if any."""

    fault_model: str
    failures: tuple[tuple[str, Estimate], ...]
    winner: str | None
    complete: bool

    @classmethod
    def of(cls, summary: Summary) -> ModelRanking:
        """Give the ranking that a run shows; the intervals hold for all its protections together."""
        ranked = [(task.name, task.ranked_failure) for task in summary.tasks if task.ranked_failure]
        ranked.sort(key=lambda entry: (entry[1].best, entry[1].high, entry[0]))
        first = winner(summary)
        return cls(
            fault_model=json.loads(summary.header.fault_model)["name"],
            failures=tuple(ranked),
            winner=None if first is None else first.name,
            complete=summary.complete,
        )


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The rankings under several fault models, the campaign's own one first."""

    rankings: tuple[ModelRanking, ...]

    @property
    def changes(self) -> bool:
        """True where two fault models surely have different winners."""
        return len({ranking.winner for ranking in self.rankings if ranking.winner}) > 1

    @property
    def verdict(self) -> str:
        """Whether the winner depends on the fault model, in words."""
        if not all(ranking.complete for ranking in self.rankings):
            return "Not complete: some fault models miss trials."
        under: dict[str | None, list[str]] = {}
        for ranking in self.rankings:
            under.setdefault(ranking.winner, []).append(ranking.fault_model)
        undecided = under.pop(None, [])
        if not under:
            return f"Undecided under every fault model ({len(undecided)}); more trials narrow the intervals."
        open_ones = f"; undecided under {list_text(undecided)}" if undecided else ""
        if len(under) == 1:
            ((name, models),) = under.items()
            if not undecided:
                return f"The winner does not change: {name} failed least under every fault model ({len(models)})."
            return f"No other winner was seen: {name} failed least under {list_text(models)}{open_ones}."
        parts = list_text([f"{name} under {list_text(models)}" for name, models in under.items()])
        return f"The winner changes with the fault model: {parts}{open_ones}."

    def to_json(self) -> Json:
        """Give the rankings as plain JSON values; probabilities per strike on the shared cells."""
        return {
            "verdict": self.verdict,
            "winner_changes": self.changes,
            "fault_models": [
                {
                    "fault_model": ranking.fault_model,
                    "winner": ranking.winner,
                    "complete": ranking.complete,
                    "ranking": [
                        {"protection": name, "failure": {"low": e.low, "best": e.best, "high": e.high}}
                        for name, e in ranking.failures
                    ],
                }
                for ranking in self.rankings
            ],
        }

    def table(self) -> str:
        """Give the rankings as text: a line for each fault model, a column for each protection."""
        names = sorted(name for name, _ in self.rankings[0].failures)
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
        grid.add_column("fault model", overflow="fold")
        for name in names:
            grid.add_column(Text(name), justify="right")
        grid.add_column("winner", overflow="fold")
        for ranking in self.rankings:
            held = dict(ranking.failures)
            values = [significant(1e6 * held[name].best) if name in held else NOTHING for name in names]
            grid.add_row(ranking.fault_model, *values, Text(ranking.winner or "undecided"))
        console = wide_console()
        with console.capture() as capture:
            console.print(Text(self.verdict, style="bold"))
            console.print(Text("Failures per million strikes on the shared cells:"))
            console.print(grid)
            for ranking in self.rankings[:1]:
                limits = "; ".join(f"{name} {interval_text(e.per_million())}" for name, e in ranking.failures)
                console.print(Text(f"Under {ranking.fault_model}, with 95 % limits for all together: {limits}."))
        return capture.get()


def sensitivity_of(folders: Sequence[Path]) -> Sensitivity:
    """Read the runs of one campaign under several fault models."""
    return Sensitivity(rankings=tuple(ModelRanking.of(summarise(folder)) for folder in folders))
