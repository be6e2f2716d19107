"""The answer in plain words, and what makes it doubtful."""

from __future__ import annotations

from dataclasses import dataclass

from hil.report.numbers import count_text, interval_text, list_text, significant
from hil.report.summary import Summary, TaskSummary

PER_MILLION = (
    "A trial is one strike on the cells that all protections share, plus the strikes that a protection's own cells "
    "(check bits, copies, checkpoints) and its longer run time earn; each strike is run by itself. Rates are per "
    "million strikes on the shared cells, so a protection pays for its size."
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sentence, remarks that belong to it, and warnings that must not be missed."""

    sentence: str
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]


def answer(summary: Summary) -> Answer:
    """Say which protection failed least; "undecided" where its interval overlaps another's.

    The intervals compared hold for all rivals together. Controls other than ``none`` and tasks held at a
    temperature take no part.
    """
    sentence = _sentence(_rivals(summary))
    return Answer(sentence=sentence, remarks=_remarks(summary), warnings=_warnings(summary))


def winner(summary: Summary) -> TaskSummary | None:
    """Give the protection that surely failed less than every other one; None where that is undecided."""
    rivals = _rivals(summary)
    if len(rivals) < 2 or any(_overlap(rivals[0], task) for task in rivals[1:]):
        return None
    return rivals[0]


def _rivals(summary: Summary) -> list[TaskSummary]:
    rivals = [task for task in summary.tasks if task.ranked_failure]
    return sorted(rivals, key=lambda task: (_failure(task), task.name))


def times_text(summary: Summary) -> str:
    """Say of which trials times are medians; foretold trials have none."""
    timed, trials = (
        sum(numbers)
        for numbers in zip(*((task.costs.timed_trials, task.trials) for task in summary.tasks), strict=True)
    )
    if timed == trials:
        return "times as medians"
    return f"times as medians of the {count_text(timed)} of {count_text(trials)} trials that a node timed"


def noise_floor_text(summary: Summary) -> str:
    """Give the noise floor in words."""
    if summary.noise_floor is None:
        return "Noise floor: unknown, the null control has no trial."
    null = summary.control("null")
    failures = null.failures if null else 0
    return (
        f"Noise floor: {significant(1e6 * summary.noise_floor)} failures per million strikes "
        f"(upper limit of the null control, which saw {count_text(failures)})."
    )


def _sentence(rivals: list[TaskSummary]) -> str:
    if not rivals:
        return "No trial of a protection has been recorded yet."
    first, *others = rivals
    if not others:
        return f"{first.name} failed in {_tally(first)} trials; there is nothing to compare it with."
    rest = [task for task in others if not _overlap(first, task)]
    tied = [task for task in others if _overlap(first, task)]
    if tied:
        names = list_text([f"{task.name} ({_tally(task)})" for task in (first, *tied)])
        sentence = f"Undecided: {names} failed least, and their intervals for a ranking overlap"
        if not rest:
            return f"Undecided: {names} trials failed, and all intervals for a ranking overlap."
    else:
        sentence = f"{first.name} failed least, in {_tally(first)} trials"
    unprotected = next((task for task in rest if task.record.control == "none"), None)
    if unprotected:
        return f"{sentence}; without protection {_tally(unprotected)} trials failed."
    return f"{sentence}; next comes {rest[0].name} with {_tally(rest[0])}."


def _remarks(summary: Summary) -> tuple[str, ...]:
    remarks = [noise_floor_text(summary)]
    none = summary.control("none")
    if none and none.failure:
        per_million = interval_text(none.failure.per_million())
        remarks.append(f"Without protection: {per_million} failures per million strikes.")
    remarks.append(confirmation_text(summary))
    together = f"; for the ranking, 95 % of all {len(_rivals(summary))} together"
    if summary.header.stop_half_width is None:
        remarks.append(f"Intervals are exact (Clopper-Pearson, 95 % each{together}).")
    else:
        end = (
            "was not met"
            if summary.stopped_at is None
            else f"ended the run after {count_text(summary.stopped_at)} trials"
        )
        width = f"{significant(1e6 * summary.header.stop_half_width)} failures per million strikes"
        remarks.append(f"The rule to stop once no interval is wider than {width} to each side {end}.")
        remarks.append(f"Intervals hold at every look (confidence sequences, 95 % each{together}).")
    remarks.append("One fault model was tried; `hil sensitivity` tries others.")
    return tuple(remarks)


def confirmation_text(summary: Summary) -> str:
    """Say whether what won also wins on strikes that had no part in choosing it."""
    first, second = winner(summary), summary.confirmation
    if second is None:
        return (
            "Not confirmed: whoever wins among several was lucky as well, so this compares protections and recommends "
            "none; `hil confirm` repeats it on fresh strikes."
        )
    strikes = f"{count_text(second.header.trials)} fresh strikes each (seed {second.header.seed})"
    if first is None:
        return f"Nothing to confirm: no protection won; {strikes} were run."
    again = next((task for task in second.tasks if task.name == first.name), None)
    if not second.complete or again is None or again.failure is None:
        return f"Not confirmed yet: the run on {strikes} is not complete."
    rate = f"{interval_text(again.failure.per_million())} failures per million strikes"
    if winner(second) is not again:
        return f"Not confirmed: on {strikes} {first.name}, with {rate}, was not surely better than all others."
    return f"Confirmed: on {strikes} {first.name} again failed least, with {rate}; recommended under this fault model."


def _warnings(summary: Summary) -> tuple[str, ...]:
    warnings = []
    if not summary.complete:
        done = sum(task.trials for task in summary.tasks)
        asked = summary.trials * len(summary.tasks)
        warnings.append(f"The run is not complete: {count_text(done)} of {count_text(asked)} trials are done.")
    for kind in ("null", "restore"):
        control = summary.control(kind)
        if control is None or not control.trials:
            warnings.append(f"The control {kind} has no trial: the harness is not checked.")
        elif control.failures:
            warnings.append(
                f"The control {kind} failed in {_tally(control)} trials and must never fail: "
                "do not trust these figures before the cause is found."
            )
    faulty = next((row for row in summary.heat if row.sensor_fault), None)
    if faulty:
        warnings.append(
            f"The temperature sensor was {faulty.sensor_fault} from second {significant(faulty.wall_s)} of the heat "
            "run on, on purpose: the node throttled by its readings, not by the plant's temperature."
        )
    for task in summary.tasks:
        if task.costs.reloads:
            warnings.append(
                f"{task.name}: memory was not pristine {count_text(task.costs.reloads)} times; it was reloaded."
            )
        if task.costs.untimed_trials:
            warnings.append(
                f"{task.name}: the board itself throttled in {count_text(task.costs.untimed_trials)} trials; their "
                "times are left out, their outcomes count."
            )
    return tuple(warnings)


def _failure(task: TaskSummary) -> tuple[float, float]:
    assert task.failure is not None  # rivals have trials
    return task.failure.best, task.failure.high


def _overlap(first: TaskSummary, second: TaskSummary) -> bool:
    assert first.ranked_failure is not None
    assert second.ranked_failure is not None
    one, other = first.ranked_failure, second.ranked_failure
    return one.low <= other.high and other.low <= one.high


def _tally(task: TaskSummary) -> str:
    return f"{count_text(task.failures)} of {count_text(task.trials)}"
