"""A trade as a table for a terminal, and as one JSON object."""

from __future__ import annotations

from dataclasses import asdict

from rich import box
from rich.table import Table
from rich.text import Text

from hil.campaign.outcome import Outcome
from hil.report.as_json import Json
from hil.report.budget import PORTABILITY, Source, budget_of
from hil.report.choice import failures
from hil.report.numbers import count_text, interval_text, limits_text, list_text, share_text, significant
from hil.report.rivals import Rival, outcome_per_million
from hil.report.terminal import wide_console
from hil.report.trade import NO_PROFILE, RunChoices, Trade, day_of

GROUPS = {
    "SDC": (Outcome.SDC_CRITICAL, Outcome.SDC_TOLERABLE),
    "DUE": (Outcome.DUE,),
    "lost": (Outcome.CRASH, Outcome.HANG, Outcome.DEAD),
}
"""Columns of failures, and the outcomes in each; lost: crash, hang or dead."""


def sorted_rivals(trade: Trade) -> list[Rival]:
    """Give the rivals from the fewest failures to the most."""
    return sorted(trade.rivals, key=lambda rival: (failures(rival, trade.central).best, rival.cost))


def costs_title(trade: Trade) -> str:
    """Say whose costs these are."""
    if trade.costs is None:
        return NO_PROFILE
    return f"costs of {trade.costs.board.name}, measured {trade.costs.board.measured}"


def marks(trade: Trade, rival: Rival) -> list[str]:
    """Say in a word what stands out about a protection: on the front, chosen everywhere, harmful, too slow."""
    held = {
        "front": rival.name in trade.front,
        "wins": {run.winner for run in trade.runs} == {rival.name},
        "WORSE": rival.name in trade.worse,
        "too slow": rival.name in trade.too_slow,
    }
    return [word for word, holds in held.items() if holds]


def warnings(trade: Trade) -> list[str]:
    """Name what makes things worse than no protection at all, and what cannot do the work of a day in a day."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, labels in trade.worse.items():
        alike.setdefault(labels, []).append(name)
    everywhere = tuple(run.label for run in trade.runs)
    found = []
    for labels, names in alike.items():
        verb = "makes" if len(names) == 1 else "make"
        under = "everywhere" if labels == everywhere and len(labels) > 1 else f"under {list_text(list(labels))}"
        found.append(f"{list_text(names)} {verb} things worse than none {under}.")
    if trade.too_slow:
        verb, was = ("is", "was") if len(trade.too_slow) == 1 else ("are", "were")
        names_text = list_text(list(trade.too_slow))
        found.append(f"{names_text} {verb} too slow for the demand of a day and {was} not chosen from.")
    return found


def trade_table(trade: Trade) -> str:
    """Give a trade as text: what was struck, the verdict, every protection, the choices."""
    console = wide_console()
    with console.capture() as capture:
        for line in budget_lines(trade):
            console.print(Text(line))
        console.print()
        console.print(Text(trade.verdict.sentence, style="bold"))
        for line in trade.verdict.would_decide:
            console.print(Text(f"would decide: {line}"))
        console.print()
        console.print(_protections(trade))
        for words in warnings(trade):
            console.print(Text(f"! {words}", style="yellow"))
        console.print(_choices(trade))
    return capture.get()


def budget_lines(trade: Trade) -> list[str]:
    """Give the budget of the device's cross-section in a few lines."""
    lines = budget_of(trade.summary)

    def parts(source: Source) -> str:
        return ", ".join(line.part for line in lines if line.source == source.value) or "nothing"

    day = [f"{words} {interval_text(estimate)}" for words, estimate in day_of(trade)]
    struck = (f"{line.part} ({count_text(line.bits)} bits)" for line in lines if line.source == Source.STRUCK.value)
    return [
        f"Struck: {', '.join(struck) or 'nothing'}.",
        f"From beam data: {parts(Source.BEAM)}. Not modelled: {parts(Source.UNMODELLED)}.",
        *([f"A day brings: {'; '.join(day)}."] if day else []),
        PORTABILITY,
    ]


def _protections(trade: Trade) -> Table:
    unit = "a day, crashes of the board included" if trade.per_day else "per million strikes"
    grid = Table(
        title=f"{costs_title(trade)}\nOutcomes per million strikes on the shared cells; failures {unit}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
    )
    grid.add_column("", overflow="fold", min_width=20)
    grid.add_column("", no_wrap=True)
    for name in (*GROUPS, "failures\nlimits", "time", "memory", "strikes"):
        grid.add_column(name, justify="right")
    for rival in sorted_rivals(trade):
        total = failures(rival, trade.central)
        grid.add_row(
            Text(rival.name),
            Text("\n".join(marks(trade, rival))),
            *(significant(outcome_per_million(rival.task, *outcomes)) for outcomes in GROUPS.values()),
            f"{significant(total.best)}\n{limits_text(total)}",
            f"{significant(rival.relative_time)}×",
            share_text(rival.task.costs.memory.overhead),
            f"{significant(rival.task.exposure.mean_strikes)}×",
        )
    return grid


def _choices(trade: Trade) -> Table:
    grid = Table(title="Who wins where", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    grid.add_column("strikes", overflow="fold")
    grid.add_column("winner", overflow="fold")
    for run in trade.runs:
        grid.add_row(run.label, Text("\n".join(winners(run))))
    return grid


def winners(run: RunChoices) -> list[str]:
    """Say who wins by one run: one line where it is the same at every rate, else one for each winner."""
    at: dict[str, list[str]] = {}
    for choice in run.choices:
        at.setdefault(choice.winner or "open", []).append(choice.rates.label)
    if len(at) == 1 and len(run.choices) > 1:
        return [f"{next(iter(at))}, at every rate"]
    return [f"{name}: {list_text(labels)}" if len(at) > 1 else name for name, labels in at.items()]


def trade_json(trade: Trade) -> Json:
    """Give a trade as plain JSON values; failures are per strike on the shared cells, and in the unit of the rates."""
    return {
        "verdict": {
            "kind": trade.verdict.kind.value,
            "sentence": trade.verdict.sentence,
            "would_decide": list(trade.verdict.would_decide),
        },
        "costs_of": costs_title(trade),
        "margin": trade.settings.margin,
        "count": trade.settings.count,
        "rates": [asdict(rates) for rates in trade.rates],
        "protections": [
            {
                "protection": rival.name,
                "failure_per_strike": asdict(rival.failure),
                "failures": {rates.label: asdict(failures(rival, rates)) for rates in trade.rates},
                "failures_text": interval_text(failures(rival, trade.central)),
                "outcomes_per_million_strikes": {
                    outcome.value: outcome_per_million(rival.task, outcome) for outcome in Outcome
                },
                "time_us": rival.time_us,
                "relative_time": rival.relative_time,
                "own_bytes": rival.own_bytes,
                "memory_overhead": rival.task.costs.memory.overhead,
                "mean_strikes": rival.task.exposure.mean_strikes,
                "on_front": rival.name in trade.front,
                "worse_than_none_under": list(trade.worse.get(rival.name, ())),
                "too_slow_for_the_demand": rival.name in trade.too_slow,
            }
            for rival in sorted_rivals(trade)
        ],
        "choices": [
            {
                "strikes": run.label,
                "by_rates": {
                    choice.rates.label: {"winner": choice.winner, "best": choice.best, "open": list(choice.open)}
                    for choice in run.choices
                },
            }
            for run in trade.runs
        ],
        "budget": [asdict(line) for line in budget_of(trade.summary)],
    }
