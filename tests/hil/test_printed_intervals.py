"""Every interval that is printed, and the test that shows how often it holds the truth.

Thousands of small campaigns are drawn from a world in which the fate of every cell under every protection is known.
"""

from __future__ import annotations

import ast
import importlib
import re
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import hil
from hil.campaign.machine_record import MachineHeader, MachineRow, StruckClass
from hil.commands.progress import failing
from hil.progress import ProgressEvent
from hil.report.choice import Rates, excess, failures
from hil.report.machine_mix import mix_of
from hil.report.rivals import confidence_of_each, rival_of
from hil.report.summary import EVENTS, Summary, summarise
from hil.stats import Estimate, OutcomeCounts, OutcomeStrata, PairedCounts, each_confidence
from hil.testing import MeasuredProtection
from node.protection import Protection
from tests.hil.synthetic_results import CHECK, header, task, trial, write
from tests.proof import count

HERE = "tests.hil.test_printed_intervals"
PRINTED = {
    "commands/estimate.py": ("tests.hil.test_sampled.test_the_printed_share_covers_the_truth",),
    "campaign/sampled.py": (
        "tests.hil.test_sampled.test_the_printed_share_covers_the_truth",
        "tests.hil.test_weighted.test_stratified_limits_cover_the_exhaustive_truth",
        "tests.hil.test_weighted.test_steered_draws_are_unbiased_and_covered",
    ),
    "campaign/stopping.py": (
        "tests.hil.test_sequence.test_whole_campaigns_that_stop_when_narrow_enough_cover_the_truth",
    ),
    "commands/progress.py": (f"{HERE}.test_the_line_of_progress_holds_at_every_look",),
    "report/summary.py": (
        f"{HERE}.test_rates_of_every_event_and_protection",
        f"{HERE}.test_failures_a_day_hold_for_every_rate_in_the_triple",
        f"{HERE}.test_ranked_failures_hold_together",
        "tests.hil.test_family.test_the_winners_own_interval_is_too_good_and_a_fresh_one_is_not",
    ),
    "report/as_json.py": (f"{HERE}.test_differences_from_no_protection",),
    "report/charts.py": ("tests.hil.test_interval_coverage.test_clopper_pearson_covers_for_every_share",),
    "report/rivals.py": (f"{HERE}.test_a_trade_compares_each_with_each_and_all_hold_together",),
    "report/choice.py": (f"{HERE}.test_a_trade_compares_each_with_each_and_all_hold_together",),
    "report/trade.py": (f"{HERE}.test_failures_a_day_hold_for_every_rate_in_the_triple",),
    "report/machine_mix.py": (f"{HERE}.test_the_mix_of_a_machine_by_single_bits_and_by_several",),
    "testing.py": (f"{HERE}.test_an_assertion_errs_no_more_often_than_it_says",),
}
"""Modules that make an interval which somebody reads, and what proves it."""
NO_INTERVAL = {
    "campaign/plan.py": "how wide intervals will be, before there are any",
    "report/trade_page.py": "shows those of choice.py",
    "report/trade_table.py": "shows those of choice.py",
}
MAKERS = {
    "Estimate", "anytime", "bounded_mean", "clopper_pearson", "difference", "estimate", "estimates", "exceeds",
    "excess", "failures", "importance_share", "of_one", "paired_difference", "planned_half_width", "sample",
    "stratified_share",
}  # fmt: skip

CELLS, TRIALS, CAMPAIGNS = 512, 50, 2000
ADDED = 0.25
NAMES = ("none", "a", "b")
FATES = ("MASKED", "CORRECTED", "DUE", "SDC_TOLERABLE", "SDC_CRITICAL", "CRASH")
FAILED = [number for number, fate in enumerate(FATES) if fate in EVENTS["failure"]]


def called(path: Path) -> set[str]:
    text = path.read_text()
    if not any(f"{name}(" in text for name in MAKERS):
        return set()
    calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in calls}


def test_no_interval_is_printed_that_this_list_does_not_name() -> None:
    root = Path(hil.__file__).parent
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if called(path) & MAKERS and path.relative_to(root).parts[0] != "stats"
    }
    assert found == PRINTED.keys() | NO_INTERVAL.keys()
    for name in {name for names in PRINTED.values() for name in names}:
        module, function = name.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(module), function)), name


def enough(held: np.ndarray | list[bool], nominal: float = 0.95) -> bool:
    """Tell whether intervals held as often as they say; a true coverage of ``nominal`` fails in one of 1000 tests."""
    held = np.asarray(held)
    return bool(held.sum() >= stats.binom.ppf(0.001, held.size, nominal))


class World:
    """The fate of every cell under every protection, and campaigns on them; ``a`` and ``b`` have cells of their own."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        bare = rng.choice(len(FATES), CELLS, p=[0.55, 0.0, 0.05, 0.15, 0.2, 0.05])
        spared = rng.random((2, CELLS)) < np.array([[0.85], [0.75]])
        self.shared = np.stack([bare, np.where(spared[0], 1, bare), np.where(spared[1], 2, bare)])
        self.own = np.array([[1, 0, 0, 0, 0, 0], [0.6, 0.1, 0.2, 0.05, 0.05, 0], [0.7, 0, 0.2, 0, 0, 0.1]])
        self.weights = np.array([0.0, ADDED, ADDED])
        cells = rng.integers(0, CELLS, (CAMPAIGNS, TRIALS))
        self.drawn = self.shared[:, cells]
        strikes = rng.poisson(TRIALS * self.weights[:, None], (3, CAMPAIGNS))
        self.added = rng.multinomial(strikes, self.own[:, None])

    def truth(self, number: int, event: str) -> float:
        """Give events per strike on the shared cells."""
        wanted = fates_of(event)
        added = self.own[number, wanted].sum() * self.weights[number]
        return float(np.isin(self.shared[number], wanted).mean() + added)

    def seen(self, number: int, event: str) -> list[OutcomeStrata]:
        """Give what each campaign counts."""
        wanted = fates_of(event)
        shared = np.isin(self.drawn[number], wanted).sum(1)
        added, strikes = self.added[number][:, wanted].sum(1), self.added[number].sum(1)
        counts = zip(shared.tolist(), added.tolist(), strikes.tolist(), strict=True)
        return [counted(event, *each, float(self.weights[number])) for each in counts]


def fates_of(event: str) -> list[int]:
    return [FATES.index(fate) for fate in EVENTS[event] if fate in FATES]


@cache
def counted(event: str, shared: int, added: int, strikes: int, weight: float) -> OutcomeStrata:
    def counts(events: int, trials: int) -> OutcomeCounts:
        return OutcomeCounts(counts=((EVENTS[event][0], events), ("other", trials - events)))

    return OutcomeStrata(shared=counts(shared, TRIALS), added=counts(added, strikes), added_per_shared=weight)


@cache
def estimated(event: str, strata: OutcomeStrata, confidence: float) -> Estimate:
    """Give an estimate; the same counts come often."""
    return strata.estimate(*EVENTS[event], confidence=confidence)


@pytest.fixture(scope="module")
def world() -> World:
    return World(3)


def holds(found: Estimate, truth: float) -> bool:
    return found.low - 1e-12 <= truth <= found.high + 1e-12


def covered(world: World, number: int, event: str, confidence: float = 0.95) -> np.ndarray:
    truth = world.truth(number, event)
    return np.array([holds(estimated(event, strata, confidence), truth) for strata in world.seen(number, event)])


@pytest.mark.parametrize("number", range(3), ids=NAMES)
def test_rates_of_every_event_and_protection(world: World, number: int) -> None:
    for event in EVENTS:
        assert enough(covered(world, number, event)), event


def test_ranked_failures_hold_together(world: World) -> None:
    each = each_confidence(len(NAMES))
    assert enough(np.all([covered(world, number, "failure", each) for number in range(3)], axis=0))


def failed(world: World, number: int) -> np.ndarray:
    """Tell of every trial of every campaign whether its strike on the shared cells failed."""
    return np.isin(world.drawn[number], FAILED)


def test_differences_from_no_protection(world: World) -> None:
    for number in (1, 2):
        truth = np.isin(world.shared[number], FAILED).mean() - np.isin(world.shared[0], FAILED).mean()
        pairs = zip(failed(world, number), failed(world, 0), strict=True)
        assert enough([holds(difference(int((m & ~n).sum()), int((n & ~m).sum())), truth) for m, n in pairs])


@cache
def difference(only_first: int, only_second: int) -> Estimate:
    rest = TRIALS - only_first - only_second
    return PairedCounts(both=0, only_first=only_first, only_second=only_second, neither=rest).difference()


def test_the_p_value_of_equals_is_rarely_small(world: World) -> None:
    """Two protections of which either fails on another half of the cells: as often in truth."""
    first = failed(world, 0)
    second = np.roll(world.shared[0], CELLS // 2)
    assert np.isin(second, FAILED).mean() == np.isin(world.shared[0], FAILED).mean()
    drawn = np.random.default_rng(8).integers(0, CELLS, (CAMPAIGNS, TRIALS))
    first, second = np.isin(world.shared[0][drawn], FAILED), np.isin(second[drawn], FAILED)
    counts = np.stack([(first & ~second).sum(1), (second & ~first).sum(1)], axis=1)
    small = [PairedCounts(both=0, only_first=b, only_second=c, neither=0).p_value() <= 0.05 for b, c in counts.tolist()]
    assert enough(~np.array(small))


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three protections; what is counted of them is that of a world afterwards."""
    tasks = [
        task(name, "none" if name == "none" else "", own=own, protection=Protection().to_json())
        for name, own in zip(NAMES, [(), (CHECK,), (CHECK,)], strict=True)
    ]
    rows = [trial(name, number) for name in NAMES for number in range(3)]
    return write(tmp_path_factory.mktemp("run"), header(*tasks, trials=3), *rows)


@pytest.fixture(scope="module")
def summary(run_directory: Path) -> Summary:
    return summarise(run_directory)


TIMES = {"none": 1.0, "a": 1.3, "b": 1.1}
CRASHES = 0.02


@pytest.mark.proof
@pytest.mark.parametrize("names", [NAMES, ("none", "a")], ids=["three", "two"])
def test_a_trade_compares_each_with_each_and_all_hold_together(
    world: World, summary: Summary, names: tuple[str, ...]
) -> None:
    rates = Rates(label="", strikes=3.0, crashes=CRASHES)
    a_day = {name: TIMES[name] * (CRASHES + 3.0 * world.truth(number, "failure")) for number, name in enumerate(names)}
    seen = [world.seen(number, "failure") for number in range(len(names))]
    held = []
    for campaign in range(count(120, CAMPAIGNS)):
        found = [
            rival_of(
                replace(summary.tasks[number], strata=seen[number][campaign]),
                np.isin(world.drawn[number, campaign], FAILED).astype(np.int8),
                (TIMES[name], 1.0),
                confidence_of_each(len(names)),
                "failure",
            )
            for number, name in enumerate(names)
        ]
        held.append(
            all(holds(failures(rival, rates), a_day[rival.name]) for rival in found)
            and all(
                holds(excess(mine, theirs, rates), a_day[mine.name] - a_day[theirs.name])
                for mine, theirs in permutations(found, 2)
            )
        )
    assert enough(held)


@pytest.mark.parametrize("level", ["low", "best", "high"])
def test_failures_a_day_hold_for_every_rate_in_the_triple(level: str, tmp_path: Path) -> None:
    """The report multiplies the limits by those of the rate: whichever rate is true, the product holds."""
    share, rate = 0.1, {"low": 1e-4, "best": 3e-4, "high": 1e-3}
    bits, held = 8 * (7424 + 2048), []
    rng = np.random.default_rng(5)
    days: dict[int, Estimate] = {}
    for events in rng.binomial(20, share, CAMPAIGNS).tolist():
        if events not in days:
            rows = [trial("none", number, "DUE" if number < events else "MASKED") for number in range(20)]
            head = header(task("none", "none"), trials=20, rate_per_bit_day=tuple(rate.values()))
            (found,) = summarise(write(tmp_path / f"{events}", head, *rows)).tasks
            assert found.failures_per_day is not None
            days[events] = found.failures_per_day
        held.append(holds(days[events], rate[level] * bits * share))
    assert enough(held)


@pytest.mark.parametrize("share", [0.003, 0.3])
def test_the_line_of_progress_holds_at_every_look(share: float) -> None:
    """What is printed is rounded to hundredths of a percent, so the truth is given that much more room."""
    rng = np.random.default_rng(2)
    drawn = (rng.random((CAMPAIGNS, 240)) < share).cumsum(1)

    @cache
    def outside(events: int, trials: int) -> bool:
        event = ProgressEvent(stage="", done=0, total=0, failing=("none", events, trials))
        low, high = re.findall(r"[0-9.]+", failing(event))
        return not float(low) - 0.005 <= 100 * share <= float(high) + 0.005

    ever = [any(outside(int(row[look - 1]), look) for look in range(10, 241, 10)) for row in drawn]
    assert enough(~np.array(ever))


@pytest.mark.parametrize("bits", [1, 8])
def test_the_mix_of_a_machine_by_single_bits_and_by_several(bits: int) -> None:
    """Three classes of memory of very different size, as rare to fail as a kernel's and as often as page tables."""
    sizes, truths, trials = (9000, 900, 100), (0.001, 0.02, 0.3), 25
    classes = tuple(StruckClass(name=f"c{i}", size_bytes=size, bits=bits) for i, size in enumerate(sizes))
    head = MachineHeader(
        name="t", strike_key="k", model_digest="d", trials=trials, density=float(bits > 1), inferences=1,
        memory_bytes=10_000, classes=classes, kernel="linux",
    )  # fmt: skip
    rng = np.random.default_rng(4)
    counts = rng.binomial(trials, 1.0 - (1.0 - np.array(truths)) ** bits, (CAMPAIGNS, 3))
    whole = float(np.dot(sizes, truths) / 10_000)

    @cache
    def printed(failures: tuple[int, ...]) -> tuple[bool, ...]:
        rows = (
            MachineRow(trial=number, struck=f"c{i}", bits=(0,), outcome="CRASH" if number < failing else "MASKED")
            for i, failing in enumerate(failures)
            for number in range(trials)
        )
        mix = mix_of(head, rows)
        assert mix.failures is not None
        each = (holds(found.failures, truth) for found, truth in zip(mix.classes, truths, strict=True))
        return (holds(mix.failures, whole), *each)

    held = np.array([printed(tuple(row)) for row in counts.tolist()])
    assert [enough(column) for column in held.T] == [True] * 4


@pytest.mark.parametrize("confidence", [0.9, 0.99])
def test_an_assertion_errs_no_more_often_than_it_says(
    world: World, summary: Summary, run_directory: Path, confidence: float
) -> None:
    """Where the rate is the limit itself, an assertion passes with a chance of at most 1 - confidence."""
    shown, limit = summary.tasks[1], world.truth(1, "sdc")

    @cache
    def refused(strata: OutcomeStrata) -> bool:
        run = MeasuredProtection(directory=run_directory, summary=summary, task=replace(shown, strata=strata))
        with suppress(AssertionError):
            run.assert_rate_below("sdc", limit, confidence)
            return False
        return True

    assert enough([refused(strata) for strata in world.seen(1, "sdc")], confidence)
