"""The report as one HTML file that needs nothing else: no network, no script, light and dark, fit for print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hil.campaign.outcome import Outcome
from hil.campaign.record import LinkRow
from hil.report import charts, numbers, timeline
from hil.report.answer import PER_MILLION, answer, noise_floor_text, times_text
from hil.report.as_json import Json, to_json
from hil.report.page import render_page, write_file
from hil.report.summary import Summary, TaskSummary, summarise
from hil.report.vulnerability import together

HTML_FILE = "report.html"
JSON_FILE = "report.json"

_MOST_MAP_ROWS = 48


def write_report(directory: Path) -> Path:
    """Write ``report.html`` and ``report.json`` into a results directory and give the path of the page.

    Each file is written beside its place and moved there, so that a reader never sees half of one. What cannot be
    written is a ConfigError; the results are not touched.
    """
    summary = summarise(directory)
    obj = to_json(summary)
    write_file(directory / JSON_FILE, json.dumps(obj, indent=1, ensure_ascii=False) + "\n")
    page = directory / HTML_FILE
    write_file(page, render_html(summary, obj))
    return page


def render_html(summary: Summary, obj: Json) -> str:
    """Give the page; ``obj`` is the summary as JSON and lies inside it for machines."""
    values = {
        "summary": summary,
        "answer": answer(summary),
        "noise_floor": noise_floor_text(summary),
        "times": times_text(summary).capitalize(),
        "floor": numbers.significant(1e6 * summary.noise_floor) if summary.noise_floor is not None else "unknown",
        "per_million_note": PER_MILLION,
        "fault_model": _fault_model(summary),
        "axis": charts.failure_axis(summary),
        "seen": [outcome for outcome in Outcome if any(task.outcomes[outcome] for task in summary.tasks)],
        "maps": [(task, _map_groups(task)) for task in _map_order(summary)],
        "counter_names": _counter_names(summary.links),
        "embedded": _embedded(obj),
        "chart": charts,
        "timeline": timeline,
        "Outcome": Outcome,
        "outcome_words": charts.OUTCOME_WORDS,
    }
    return render_page("report.html", summary, values)


def _fault_model(summary: Summary) -> dict[str, Any]:
    """Give the fault model's settings, its name first; a table of weights as a table of shares."""
    values = json.loads(summary.header.fault_model)
    for key, value in values.items():
        if isinstance(value, dict):
            total = sum(value.values())
            values[key] = ", ".join(f"{size} ({numbers.share_text(weight / total)})" for size, weight in value.items())
    return {"name": values.get("name", ""), **values}


def _map_order(summary: Summary) -> list[TaskSummary]:
    """Give the tasks that were struck, the unprotected one first: it shows what hurts where nothing helps."""
    struck = [task for task in summary.tasks if task.map_rows]
    return sorted(struck, key=lambda task: task.record.control != "none")


def _map_groups(task: TaskSummary) -> list[tuple[int, list[Any], int]]:
    """Give (width in bits, rows, rows left out) per width; of a long map the lines that failed most."""
    groups = []
    for width in charts.widths(task.map_rows):
        rows = [row for row in task.map_rows if row.width_bits == width]
        weights = [row for row in rows if row.region == "weights"]
        kept = sorted(range(len(rows)), key=lambda index: (-sum(rows[index].failed), index))[:_MOST_MAP_ROWS]
        shown = [rows[index] for index in sorted(kept)]
        total = [together(weights)] if len(weights) > 1 else []
        groups.append((width, total + shown, len(rows) - len(kept)))
    return groups


def _counter_names(rows: tuple[LinkRow, ...]) -> list[str]:
    """Give the counters of all sessions in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row.counters))


def _embedded(obj: Json) -> Markup:
    """Give JSON that cannot end the element it lies in."""
    text = json.dumps(obj, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704 - escaped
