"""A cost profile as a table for a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from hil.boards.cost_profile import ON_BUFFERS, Cost, CostProfile
from hil.report.numbers import NOTHING, microseconds_text, share_text, significant, size_text
from hil.report.terminal import wide_console


def cost_table(profile: CostProfile) -> str:
    """Give inference, checkpoint and the codes of a profile as text; steps are left to the file."""
    console = wide_console()
    with console.capture() as capture:
        console.print(Text(f"{profile.board.name} ({profile.board.target})", style="bold"))
        console.print(_work(profile))
        for size in sorted({cost.size_bytes for cost in profile.costs if cost.work in ON_BUFFERS}):
            console.print(_codes(profile, size))
    return capture.get()


def _work(profile: CostProfile) -> Table:
    grid = _grid(f"Median times by the board's clock, with quartiles; model {profile.model.name}")
    grid.add_column("median", justify="right")
    grid.add_column("quartiles", justify="right")
    grid.add_column("bytes", justify="right")
    for cost in profile.costs:
        if cost.work not in (*ON_BUFFERS, "step"):
            size = size_text(cost.size_bytes) if cost.size_bytes else NOTHING
            grid.add_row(Text(f"{cost.work} {cost.of}".rstrip()), _time(cost.median_ns), _quartiles(cost), size)
    return grid


def _codes(profile: CostProfile, size_bytes: int) -> Table:
    grid = _grid(f"Codes on {size_text(size_bytes)}: GB/s of data; the repair of one bit is what it adds to a scrub")
    for name in ("memory", *ON_BUFFERS[:3], "repair"):
        grid.add_column(name, justify="right")
    for memory in profile.memory:
        if memory.code in ("none", "oracle"):  # the one does nothing, the other is no code that flies
            continue
        lines = {cost.work: cost for cost in profile.costs if cost.of == memory.code and cost.size_bytes == size_bytes}
        if not all(work in lines for work in ON_BUFFERS):
            continue
        rates = [_rate(lines[work]) for work in ON_BUFFERS[:3]]
        repair_ns = max(0.0, lines["correct"].median_ns - lines["scrub"].median_ns)
        grid.add_row(memory.code, share_text(memory.check_bytes / memory.data_bytes), *rates, _time(repair_ns))
    return grid


def _rate(cost: Cost) -> str:
    return significant(cost.size_bytes / cost.median_ns) if cost.median_ns else NOTHING


def _time(value_ns: float) -> str:
    return microseconds_text(value_ns / 1e3)


def _quartiles(cost: Cost) -> str:
    return f"{_time(cost.first_quartile_ns)} to {_time(cost.third_quartile_ns)}"


def _grid(title: str) -> Table:
    grid = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    grid.add_column("", overflow="fold")
    return grid
