"""The report as tables for a terminal, a log or a pipe."""

from __future__ import annotations

import os

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hil.campaign.outcome import Outcome
from hil.report.answer import answer, confirmation_text, noise_floor_text, times_text
from hil.report.budget import PORTABILITY, Source, budget_of
from hil.report.numbers import (
    NOTHING,
    change_text,
    count_text,
    limits_text,
    share_text,
    significant,
    size_text,
    time_text,
)
from hil.report.summary import Summary, TaskSummary

_PLAIN_WIDTH = 100
_LOST = (Outcome.CRASH, Outcome.HANG, Outcome.DEAD)


def table(summary: Summary, console: Console | None = None) -> str:
    """Give answer, outcomes, costs and limits of validity as text; 100 columns wide where there is no terminal."""
    out = console or wide_console()
    found = answer(summary)
    with out.capture() as capture:
        out.print(Text(found.sentence, style="bold"))
        for warning in found.warnings:
            out.print(Text(f"! {warning}", style="yellow"))
        out.print()
        out.print(_outcomes(summary))
        if summary.header.rate_per_bit_day is not None:
            out.print(_per_day(summary))
        out.print(_costs(summary))
        out.print(Text(noise_floor_text(summary)))
        if summary.complete:
            out.print(Text(confirmation_text(summary)))
        for line in _budget_lines(summary):
            out.print(Text(line))
        if summary.attempts:
            out.print(Text(f"Infrastructure attempts, run again: {count_text(len(summary.attempts))}."))
    return capture.get()


def wide_console(plain_width: int = _PLAIN_WIDTH) -> Console:
    """Give a console that does not squeeze tables into 80 columns when its output goes to a file or a pipe."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        return Console(highlight=False, width=plain_width)
    return console


def _outcomes(summary: Summary) -> Table:
    floor = NOTHING if summary.noise_floor is None else significant(1e6 * summary.noise_floor)
    grid = _grid(f"Outcomes in trials; failures per million strikes with 95 % limits (noise floor {floor})")
    late = any(task.outcomes[Outcome.LATE] for task in summary.tasks)
    columns = ["trials", "SDC\ncrit.", "SDC\ntol.", "DUE", "crash,\nhang", *(["late"] if late else [])]
    columns += ["corrected", "failures\nper million", "95 %\nlimits"]
    for name in columns:
        grid.add_column(name, justify="right", no_wrap=name.startswith("95 %"))
    for task in summary.tasks:
        grid.add_row(*_outcome_cells(task, late=late))
    return grid


def _per_day(summary: Summary) -> Table:
    grid = _grid("Failures per day at the rate given")
    for name in ("failures\nper day", "low rate, low limit to\nhigh rate, high limit"):
        grid.add_column(name, justify="right", no_wrap=True)
    for task in summary.tasks:
        days = task.failures_per_day
        grid.add_row(_name(task), significant(days.best) if days else NOTHING, limits_text(days))
    return grid


def _outcome_cells(task: TaskSummary, *, late: bool) -> list[str | Text]:
    counts = [task.outcomes[kind] for kind in (Outcome.SDC_CRITICAL, Outcome.SDC_TOLERABLE, Outcome.DUE)]
    counts.append(sum(task.outcomes[kind] for kind in _LOST))
    if late:
        counts.append(task.outcomes[Outcome.LATE])
    counts.append(task.outcomes[Outcome.CORRECTED])
    failure = task.failure and task.failure.per_million()
    cells: list[str | Text] = [_name(task), count_text(task.trials), *map(count_text, counts)]
    cells += [significant(failure.best) if failure else NOTHING, limits_text(failure)]
    return cells


def _costs(summary: Summary) -> Table:
    grid = _grid(f"Costs, {times_text(summary)}")
    alarmed = any(task.costs.alarms for task in summary.tasks)
    columns = (
        "memory\nadded",
        "storage",
        "time per\ninference",
        "against\nnone",
        "save",
        "verify",
        "restore",
        "work\nlost",
        *(["alarms"] if alarmed else []),
    )
    for name in columns:
        grid.add_column(name, justify="right")
    for task in summary.tasks:
        costs = task.costs
        memory = f"{size_text(costs.memory.own_bytes)}\n{share_text(costs.memory.overhead)}"
        grid.add_row(
            _name(task),
            memory if costs.memory.own_bytes else "0",
            size_text(costs.memory.storage_bytes) if costs.memory.storage_bytes else "0",
            time_text(costs.time_per_inference_us),
            change_text(costs.relative_time),
            time_text(costs.save_us),
            time_text(costs.verify_us),
            time_text(costs.restore_us),
            count_text(costs.lost_inferences),
            *([count_text(costs.alarms)] if alarmed else []),
        )
    return grid


def _grid(title: str) -> Table:
    grid = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    grid.add_column("protection", overflow="fold", max_width=20)
    return grid


def _name(task: TaskSummary) -> Text:
    return Text(f"{task.label}*" if task.record.control else task.label)


def _budget_lines(summary: Summary) -> list[str]:
    lines = budget_of(summary)
    parts = {source: [line.part for line in lines if line.source == source.value] for source in Source}
    struck = [f"{line.part} ({count_text(line.bits)} bits)" for line in lines if line.source == Source.STRUCK.value]
    return [
        "* control: a yardstick of the experiment, no candidate.",
        f"Struck: {', '.join(struck) or 'nothing'}.",
        f"Not struck: {', '.join(parts[Source.PRESENT] + parts[Source.UNMODELLED])}.",
        PORTABILITY,
    ]
