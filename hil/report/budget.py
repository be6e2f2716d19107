"""What was struck and what was not: the first thing a report says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hil.report.numbers import few_text
from hil.report.summary import Summary

PORTABILITY = (
    "Agreement of the emulator and a board proves that the software is portable. "
    "It does not prove that the fault model is true."
)


class Source(Enum):
    """Where the knowledge about one part of the device comes from."""

    STRUCK = "struck here"
    PRESENT = "present, not struck"
    BEAM = "taken from beam data"
    UNMODELLED = "not modelled"


@dataclass(frozen=True, kw_only=True)
class BudgetLine:
    """One part of the device's cross-section.

    ``bits`` is the largest count among the tasks, 0 where unknown; ``own`` cells exist only in some of them.
    """

    part: str
    source: str
    bits: int
    own: bool
    whose: str
    technology: str


_UNMODELLED = (
    "CPU registers other than accumulators, pipeline",
    "CPU and GPU caches",
    "kernel, interpreter and library memory",
    "program code",
    "storage other than checkpoints",
    "sensors and converters",
    "power supply and clocks (latch-up, brown-out)",
    "serial line and its controller",
)


def budget_of(summary: Summary) -> tuple[BudgetLine, ...]:
    """Give the budget of the device's cross-section: struck regions first, then what no strike reached."""
    sizes: dict[str, int] = {}
    struck: set[str] = set()
    described: dict[str, tuple[bool, str]] = {}
    owners: dict[str, list[str]] = {}
    for task in summary.tasks:
        for region in task.record.regions:
            sizes[region.name] = max(sizes.get(region.name, 0), 8 * region.size_bytes)
            described[region.name] = (region.own, region.technology)
            owners.setdefault(region.name, []).append(task.name)
            if region.struck:
                struck.add(region.name)
    lines = [
        BudgetLine(
            part=name,
            source=(Source.STRUCK if name in struck else Source.PRESENT).value,
            bits=bits,
            own=described[name][0],
            whose=f"own cells of {few_text(owners[name])}" if described[name][0] else "shared by all",
            technology=described[name][1],
        )
        for name, bits in sizes.items()
    ]
    lines.sort(key=lambda line: line.source != Source.STRUCK.value)
    crashes = summary.header.board_crashes_per_day
    known = "nothing"
    if crashes is not None:
        source = summary.header.board_crashes_source
        known = f"crashes of the board, {crashes[1]:.3g} ({crashes[0]:.3g} to {crashes[2]:.3g}) in a day of work"
        known += f" ({source})" if source else ""
    beam = _without_bits(known, Source.BEAM)
    rest = (_without_bits(part, Source.UNMODELLED) for part in _UNMODELLED)
    return (*lines, beam, *rest)


def _without_bits(part: str, source: Source) -> BudgetLine:
    return BudgetLine(part=part, source=source.value, bits=0, own=False, whose="", technology="")
