"""What a trade comes to: choices at every rate, under every fault model and on fresh strikes, and one verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from hil.boards.cost_profile import CostProfile
from hil.campaign.record import Header
from hil.campaign.trade import TradeFolders, TradeSettings
from hil.report.choice import MOST_TRIALS_FACTOR, Choice, Rates, choose, failures, pareto
from hil.report.numbers import count_text, few_text, interval_text, list_text, share_text, significant
from hil.report.rivals import Rival, rivals_of, times_us
from hil.report.summary import Summary, exposed_share, summarise
from hil.stats.intervals import Estimate

FRESH = "fresh strikes"
NO_PROFILE = "costs of this CPU, no recommendation for a board"
LEVELS = ("low", "central", "high")


class Kind(Enum):
    """How a trade ended."""

    RECOMMENDED = "recommended"
    LEADS = "leads"  # it holds everywhere, but a rate or the board's costs are not known
    NO_MATTER = "does not matter"
    UNDECIDED = "undecided"
    INCOMPLETE = "not complete"
    DISTRUST = "do not trust"


@dataclass(frozen=True, kw_only=True)
class RunChoices:
    """The choices by one run, one for each set of rates; ``label`` is its fault model, or ``fresh strikes``."""

    label: str
    choices: tuple[Choice, ...]

    @property
    def winner(self) -> str | None:
        """The winner at every rate; None where that is not one."""
        names = {choice.winner for choice in self.choices}
        return names.pop() if len(names) == 1 else None

    def open(self) -> tuple[tuple[str, ...], float]:
        """Give what is not settled at some rate, and by how much trials have to grow."""
        names = dict.fromkeys(name for choice in self.choices for name in choice.open)
        return tuple(names), max((choice.more_trials for choice in self.choices), default=1.0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer in one sentence, its kind, and what would decide where it is open."""

    kind: Kind
    sentence: str
    would_decide: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Trade:
    """Everything that the table and the page show."""

    settings: TradeSettings
    costs: CostProfile | None
    summary: Summary
    rivals: tuple[Rival, ...]
    runs: tuple[RunChoices, ...]
    rates: tuple[Rates, ...]
    front: tuple[str, ...]
    worse: dict[str, tuple[str, ...]]
    too_slow: tuple[str, ...]
    verdict: Verdict

    @property
    def central(self) -> Rates:
        """The rates in the middle."""
        return self.rates[len(self.rates) // 2]

    @property
    def per_day(self) -> bool:
        """True where failures are counted a day, false where they are per million strikes."""
        return self.summary.header.rate_per_bit_day is not None


def trade_of(folders: TradeFolders) -> Trade:
    """Read the runs of a trade and decide."""
    summaries = {path: summarise(path) for path in folders.runs}
    first = summaries[folders.runs[0]]
    shown = [(path, summary, model_name(summary)) for path, summary in summaries.items()]
    if first.confirmation is not None:
        shown.insert(1, (folders.runs[0] / "confirmation", first.confirmation, FRESH))
    rates = rates_of(first.header, first)
    times = times_us([summary for _, summary, _ in shown], folders.costs)
    runs: list[RunChoices] = []
    worse: dict[str, dict[str, None]] = {}
    rivals: dict[str, tuple[Rival, ...]] = {}
    for path, summary, label in shown:
        rivals[label] = rivals_of(path, summary, times, folders.settings.count)
        able = [rival for rival in rivals[label] if not _too_slow(rival, summary.header)]
        choices = tuple(choose(able, each, folders.settings.margin) for each in rates) if able else ()
        runs.append(RunChoices(label=label, choices=choices))
        for choice in choices:
            for name in choice.worse:
                worse.setdefault(name, {})[label] = None
    own = rivals[model_name(first)]
    return Trade(
        settings=folders.settings,
        costs=folders.costs,
        summary=first,
        rivals=own,
        runs=tuple(runs),
        rates=rates,
        front=pareto(own, rates[len(rates) // 2]) if own else (),
        worse={name: tuple(labels) for name, labels in worse.items()},
        too_slow=tuple(rival.name for rival in own if _too_slow(rival, first.header)),
        verdict=verdict_of([summary for _, summary, _ in shown], own, runs, folders),
    )


def _too_slow(rival: Rival, header: Header) -> bool:
    """True where the demand of a day would keep this protection busy for longer than a day."""
    return (
        not rival.is_unprotected and rival.relative_time * exposed_share(header) > 1.0 and bool(header.demand_per_day)
    )


def model_name(summary: Summary) -> str:
    """Give the name of a run's fault model."""
    import json

    return str(json.loads(summary.header.fault_model)["name"])


def rates_of(header: Header, summary: Summary) -> tuple[Rates, ...]:
    """Give every set of rates at which a winner has to hold; the middle one is central.

    Upset rate and crash rate are both uncertain, each by itself, so each of the three of one meets each of the other.
    """
    if header.rate_per_bit_day is None:
        return (Rates(label="per million strikes", strikes=1e6),)
    bits = max((task.exposure.shared_bits for task in summary.tasks), default=0)
    share = exposed_share(header)
    crashes = header.board_crashes_per_day
    found = []
    for level, rate in zip(LEVELS, header.rate_per_bit_day, strict=True):
        for crash_level, crash in zip(LEVELS, crashes, strict=True) if crashes else (("", 0.0),):
            label = f"{level} upset rate" + (f", {crash_level} crash rate" if crash_level else "")
            found.append(Rates(label=label, strikes=rate * bits * share, crashes=crash * share))
    return tuple(found)


def day_of(trade: Trade) -> tuple[tuple[str, Estimate], ...]:
    """Give what a day brings, each as (words, low to high): strikes, failures by them, crashes of the board.

    The limits of failures are those of the upset rate and of the measurement together. Empty without a rate.
    """
    if not trade.per_day:
        return ()
    low, central, high = trade.rates[0], trade.central, trade.rates[-1]
    lines = [("strikes on the shared cells", Estimate(low=low.strikes, best=central.strikes, high=high.strikes))]
    able = [rival for rival in trade.rivals if rival.name not in trade.too_slow]
    best = min(able, key=lambda rival: (_by_strikes(rival, central).best, rival.cost))
    for rival in (next(rival for rival in able if rival.is_unprotected), best):
        parts = [_by_strikes(rival, rates) for rates in (low, central, high)]
        held = Estimate(low=parts[0].low, best=parts[1].best, high=parts[2].high)
        words = "failures by them, unprotected" if rival.is_unprotected else f"with {rival.name}, the fewest"
        lines.append((words, held))
    if central.crashes:
        crashes = [rates.crashes for rates in trade.rates]
        lines.append(
            ("crashes of the board itself", Estimate(low=min(crashes), best=central.crashes, high=max(crashes)))
        )
    return tuple(dict(lines).items())


def _by_strikes(rival: Rival, rates: Rates) -> Estimate:
    return failures(rival, replace(rates, crashes=0.0))


def verdict_of(
    summaries: Sequence[Summary], rivals: Sequence[Rival], runs: Sequence[RunChoices], folders: TradeFolders
) -> Verdict:
    """Decide, or say what would."""
    for summary in summaries:
        for kind in ("null", "restore"):
            control = summary.control(kind)
            if control is not None and control.failures:
                return Verdict(
                    kind=Kind.DISTRUST,
                    sentence=f"The control {kind} failed under {model_name(summary)} and must never fail: "
                    "do not trust these figures before the cause is found.",
                )
    if not all(summary.complete for summary in summaries) or not any(run.label == FRESH for run in runs):
        missing = sum(task.trials < summary.trials for summary in summaries for task in summary.tasks)
        return Verdict(
            kind=Kind.INCOMPLETE,
            sentence=f"Not complete: {count_text(missing)} protections miss trials, or the fresh strikes are missing; "
            f"continue with `hil resume {folders.directory}`.",
        )
    names = {run.winner for run in runs}
    if len(names) == 1 and None not in names:
        return _held(str(next(iter(names))), summaries[0], rivals, runs, folders)
    return Verdict(
        kind=Kind.UNDECIDED,
        sentence=_undecided(runs),
        would_decide=(
            *_by_rate(runs),
            *_by_run(runs),
            *_by_trials(runs, summaries[0]),
            *_unknown(summaries[0], folders),
        ),
    )


def _held(
    name: str, summary: Summary, rivals: Sequence[Rival], runs: Sequence[RunChoices], folders: TradeFolders
) -> Verdict:
    """Say what it means that one name won everywhere."""
    winner = next(rival for rival in rivals if rival.name == name)
    models = len(runs) - 1
    strikes = f"under {models} fault model{'s' if models > 1 else ''} and on fresh strikes"
    where = f"at every rate, {strikes}" if summary.header.rate_per_bit_day else strikes
    margin = share_text(folders.settings.margin)
    if winner.is_unprotected:
        return Verdict(kind=Kind.NO_MATTER, sentence=_no_matter(summary, rivals, folders, where))
    unknown = _unknown(summary, folders)
    if unknown:
        sentence = (
            f"{name} is the cheapest that fails at most {margin} of the unprotected failures more often than the best, "
            f"{where}; this is no recommendation yet."
        )
        return Verdict(kind=Kind.LEADS, sentence=sentence, would_decide=unknown)
    sentence = (
        f"Recommended for {folders.costs.board.name if folders.costs else 'this CPU'}: {name}, the cheapest that fails "
        f"at most {margin} of the unprotected failures more often than the best, {where}."
    )
    return Verdict(kind=Kind.RECOMMENDED, sentence=sentence)


def _no_matter(summary: Summary, rivals: Sequence[Rival], folders: TradeFolders, where: str) -> str:
    margin = share_text(folders.settings.margin)
    rates = rates_of(summary.header, summary)
    central = rates[len(rates) // 2]
    without_crashes = Rates(label="", strikes=central.strikes)
    best = min((failures(rival, without_crashes) for rival in rivals), key=lambda total: total.best)
    none = next(rival for rival in rivals if rival.is_unprotected)
    alone = choose(rivals, without_crashes, folders.settings.margin)
    if central.crashes and alone.winner != none.name:
        return (
            f"No code matters here: the crash rate of the board dominates, with {significant(central.crashes)} crashes "
            f"a day against {significant(failures(none, without_crashes).best)} failures by strikes without protection "
            f"and {interval_text(best)} with the best one, {where}. Lower the crash rate first."
        )
    return (
        f"No protection is needed by this margin: without any, failures exceed those of the best one by at most "
        f"{margin} of themselves, {where}."
    )


def _undecided(runs: Sequence[RunChoices]) -> str:
    settled = dict.fromkeys(run.winner for run in runs if run.winner)
    if not settled:
        return "Undecided: no protection won at every rate under any fault model."
    parts = [f"{name} won under {list_text([run.label for run in runs if run.winner == name])}" for name in settled]
    open_runs = [run.label for run in runs if run.winner is None]
    rest = f"; not settled under {list_text(open_runs)}" if open_runs else ""
    return f"Undecided: {list_text(parts)}{rest}."


def _by_rate(runs: Sequence[RunChoices]) -> tuple[str, ...]:
    under: dict[str, list[str]] = {}
    for choice in runs[0].choices:
        if choice.winner:
            under.setdefault(choice.winner, []).append(choice.rates.label)
    if len(under) < 2:
        return ()
    parts = list_text([f"{name} wins at {list_text(labels)}" for name, labels in under.items()])
    return (f"The rates: {parts}. Narrower rates of upsets and of crashes would decide.",)


def _by_run(runs: Sequence[RunChoices]) -> tuple[str, ...]:
    under: dict[str, list[str]] = {}
    for run in runs:
        if run.winner:
            under.setdefault(run.winner, []).append(run.label)
    if len(under) < 2:
        return ()
    first, fresh = runs[0].winner, next((run.winner for run in runs if run.label == FRESH), None)
    if first and fresh and first != fresh:
        return ("More trials: fresh strikes of the same kind chose another one, so the first choice was luck.",)
    parts = list_text([f"{name} under {list_text(labels)}" for name, labels in under.items()])
    return (f"How memory is struck: {parts}. Beam or field data on the patterns of upsets would decide.",)


def _by_trials(runs: Sequence[RunChoices], summary: Summary) -> tuple[str, ...]:
    lines = []
    for run in runs:
        names, factor = run.open()
        if names:
            many = "more than" if factor >= MOST_TRIALS_FACTOR else "roughly"
            trials = count_text(int(summary.header.trials * factor))
            verb = "is" if len(names) == 1 else "are"
            lines.append(
                f"More trials under {run.label}, {many} {trials} each: {few_text(names)} {verb} neither surely as good "
                "as any other nor surely not."
            )
    return tuple(lines)


def _unknown(summary: Summary, folders: TradeFolders) -> tuple[str, ...]:
    lines = []
    if summary.header.rate_per_bit_day is None:
        lines.append("[rate] with low, best and high: upsets per bit and day in your orbit, for your part.")
    if folders.costs is None:
        lines.append("A cost profile of the board: `hil measure CAMPAIGN.toml --target URL -o BOARD.cost.toml`.")
    return tuple(lines)
