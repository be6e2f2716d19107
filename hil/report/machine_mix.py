"""The report on strikes on a whole machine: what became of it, by what was struck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from hil.campaign.machine_record import (
    NULL,
    MachineHeader,
    MachineOutcome,
    MachineRow,
    StruckClass,
    read_machine_header,
    read_machine_rows,
)
from hil.report.numbers import share_text, size_text
from hil.report.terminal import wide_console
from hil.stats import Estimate, clopper_pearson
from hil.stats.pooled import of_one
from hil.stats.weighted import DrawnStratum, stratified_share

ONLY_THE_MIX = (
    "Strikes on RAM give the mix of ends, not how often they come: registers, caches and control logic are not "
    "struck here. For the rate take beam data: a Raspberry Pi Zero 2 W under protons of 20 to 58 MeV lost its Linux "
    "with 2.8e-9 to 7.0e-9 cm2 (Memon, arXiv:2503.03722)."
)
WHERE_IT_STRUCK = (
    "Strikes hit RAM between two inferences, from the same moment of a booted machine; its processor "
    "has nothing in caches then. The kernel's own reservations before it knows its memory are not struck."
)

_PLAIN_WIDTH = 150


@dataclass(frozen=True, kw_only=True)
class ClassMix:
    """What trials on one class of memory ended as; ``share`` is its part of all that was struck (null strikes: 0).

    ``failures`` is the share of single bits that make the machine fail, although a trial struck ``bits`` of them.
    """

    name: str
    size_bytes: int
    bits: int
    share: float
    outcomes: dict[str, int]
    failures: Estimate

    @property
    def trials(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    def share_of_bits(self, outcome: MachineOutcome) -> float:
        """Give the share of single bits that end so; what failing trials came to is shared out among failing bits."""
        failed = _failed(self.outcomes)
        alike = failed if outcome.is_failure else self.trials - failed
        best = self.failures.best
        among = best if outcome.is_failure else 1.0 - best
        return among * self.outcomes.get(outcome.value, 0) / alike if alike else 0.0


@dataclass(frozen=True, kw_only=True)
class MachineMix:
    """The whole result: each class, the null strikes, and all memory together, each bit as likely as any other."""

    header: MachineHeader
    classes: tuple[ClassMix, ...]
    null: ClassMix
    failures: Estimate | None
    outcome_shares: dict[str, float]


def machine_mix(directory: Path) -> MachineMix:
    """Give the mix of a results directory."""
    header = read_machine_header(directory)
    return mix_of(header, read_machine_rows(directory))


def mix_of(header: MachineHeader, rows: Iterable[MachineRow]) -> MachineMix:
    """Give the mix of rows; a class without strikes yet makes the estimate of all memory None."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.struck, Counter())[row.outcome] += 1
    total = sum(struck.size_bytes for struck in header.classes)
    classes = tuple(
        _class_mix(struck, struck.size_bytes / total, counts.get(struck.name, Counter())) for struck in header.classes
    )
    complete = all(found.trials for found in classes)
    shares = {
        outcome.value: sum(found.share * found.share_of_bits(outcome) for found in classes)
        for outcome in MachineOutcome
        if complete
    }
    return MachineMix(
        header=header,
        classes=classes,
        null=_class_mix(StruckClass(name=NULL, size_bytes=0), 0.0, counts.get(NULL, Counter())),
        failures=_all(classes) if complete else None,
        outcome_shares=shares,
    )


def _class_mix(struck: StruckClass, share: float, outcomes: Counter[str]) -> ClassMix:
    trials = sum(outcomes.values())
    failures = clopper_pearson(_failed(outcomes), trials) if trials else Estimate(low=0.0, best=0.0, high=1.0)
    return ClassMix(
        name=struck.name,
        size_bytes=struck.size_bytes,
        bits=struck.bits,
        share=share,
        outcomes=dict(outcomes),
        failures=of_one(failures, struck.bits),
    )


def _all(classes: Sequence[ClassMix]) -> Estimate:
    """Give the share of all bits that make the machine fail.

    Several bits a trial leave no counts to add up; the limits are then sums of the classes' own, which all have to be
    wrong together, and so rather too wide.
    """
    if all(found.bits == 1 for found in classes):
        return stratified_share(
            [DrawnStratum(weight=found.share, events=_failed(found.outcomes), draws=found.trials) for found in classes]
        )
    low, best, high = (
        sum(found.share * getattr(found.failures, name) for found in classes) for name in ("low", "best", "high")
    )
    return Estimate(low=low, best=best, high=high)


def _failed(outcomes: dict[str, int]) -> int:
    return sum(count for name, count in outcomes.items() if MachineOutcome(name).is_failure)


def mix_table(mix: MachineMix) -> str:
    """Give the result as text."""
    seen = [outcome.value for outcome in MachineOutcome if _seen(mix, outcome.value)]
    density = mix.header.density
    at_once = f", {density:g} bits in a MiB at once" if density else ""
    grid = Table(title=f"Strikes on the memory of the whole machine ({size_text(mix.header.memory_bytes)}{at_once})")
    grid.add_column("struck", no_wrap=True)
    for name in (
        "size",
        "bits\nat once",
        "trials",
        *(name.replace("_", "\n") for name in seen),
        "failing bits\nin a million",
        "95 % limits",
    ):
        grid.add_column(name, justify="right")
    for found in (*mix.classes, mix.null):
        cells = [str(found.outcomes.get(name, 0) or "") for name in seen]
        size = size_text(found.size_bytes) if found.size_bytes else ""
        at_once = str(found.bits) if found.size_bytes else ""
        grid.add_row(found.name, size, at_once, str(found.trials), *cells, *_limits(found.failures))
    if mix.failures is not None:
        cells = [_in_a_million(mix.outcome_shares[name]) if mix.outcome_shares[name] else "" for name in seen]
        grid.add_row("all, by size,\nbits in a million", "", "", "", *cells, *_limits(mix.failures))
    out = wide_console(_PLAIN_WIDTH)
    with out.capture() as capture:
        out.print(grid)
        for line in (_floor(mix), *_together(density), WHERE_IT_STRUCK, ONLY_THE_MIX):
            out.print(line)
    return capture.get()


def _seen(mix: MachineMix, outcome: str) -> bool:
    return any(found.outcomes.get(outcome) for found in (*mix.classes, mix.null))


def _limits(estimate: Estimate) -> tuple[str, str]:
    return _in_a_million(estimate.best), f"{_in_a_million(estimate.low)} to {_in_a_million(estimate.high)}"


def _in_a_million(share: float) -> str:
    return f"{1e6 * share:,.0f}" if share >= 1e-5 or not share else f"{1e6 * share:.1f}"


def _together(density: float) -> list[str]:
    if not density:
        return []
    return [
        f"Each trial strikes {density:g} bits in each MiB at once, at least one. Counts are of trials; shares are "
        "reckoned back to one bit, as if each acted by itself."
    ]


def _floor(mix: MachineMix) -> str:
    failed = _failed(mix.null.outcomes)
    return (
        f"{mix.null.trials} null strikes (the same without a flip) failed {failed} times: a share of trials below "
        f"{share_text(mix.null.failures.high)} may be the harness."
    )


def mix_json(mix: MachineMix) -> dict[str, object]:
    """Give the result as plain data."""
    return {
        "name": mix.header.name,
        "kernel": mix.header.kernel,
        "memory_bytes": mix.header.memory_bytes,
        "density": mix.header.density,
        "struck": [_class_json(found) for found in mix.classes],
        "null": _class_json(mix.null),
        "all": None if mix.failures is None else _estimate(mix.failures) | {"outcomes": mix.outcome_shares},
        "limits": [*_together(mix.header.density), WHERE_IT_STRUCK, ONLY_THE_MIX],
    }


def _class_json(found: ClassMix) -> dict[str, object]:
    return {
        "name": found.name,
        "size_bytes": found.size_bytes,
        "bits": found.bits,
        "trials": found.trials,
        "outcomes": found.outcomes,
        "failures": _estimate(found.failures),
    }


def _estimate(estimate: Estimate) -> dict[str, object]:
    return {"best": estimate.best, "low": estimate.low, "high": estimate.high}
