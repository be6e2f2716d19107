"""The summary as one JSON object, and the same without anything that a clock had a hand in."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec

from hil.report.answer import winner
from hil.report.budget import budget_of
from hil.report.costs import Costs
from hil.report.summary import Summary, TaskSummary
from hil.stats.counts import PairedCounts
from hil.stats.intervals import CONFIDENCE, Estimate

Json = dict[str, Any]

TIMED_KEYS = frozenset({"created", "measured", "heat", "link"})
"""Keys, at any depth, whose values come from a clock, a sensor or the luck of the line."""


def to_json(summary: Summary) -> Json:
    """Give everything the report shows as plain JSON values, keys in a fixed order.

    Estimates are probabilities per trial, each with ``low``, ``best`` and ``high``; ``failures_per_day`` is in
    failures a day. ``winner`` is null where the comparison is undecided. Units stand in the names.
    """
    header = summary.header
    return {
        "name": header.name,
        "complete": summary.complete,
        "confidence": CONFIDENCE,
        "tasks": [_task(task) for task in summary.tasks],
        "noise_floor": summary.noise_floor,
        "trials": header.trials,
        "stopped_at": summary.stopped_at,
        "inferences": header.inferences,
        "seed": header.seed,
        "versions": dict(sorted(header.versions.items())),
        "target": header.target,
        "workload": {
            "name": header.workload,
            "digest": header.workload_digest,
            "model": header.model_name,
            "model_digest": header.model_digest,
            "critical": header.critical,
            "inputs": header.n_inputs,
        },
        "fault_model": json.loads(header.fault_model),
        "strike_key": header.strike_key,
        "rate_per_bit_day": header.rate_per_bit_day and list(header.rate_per_bit_day),
        "demand_per_day": header.demand_per_day,
        "inference_s": header.inference_s,
        "winner": first.name if (first := winner(summary)) else None,
        "confirmation": summary.confirmation and to_json(summary.confirmation),
        "budget": [asdict(line) for line in budget_of(summary)],
        "infrastructure_attempts": [
            {"protection": row.protection, "trial": row.trial, "reason": row.reason} for row in summary.attempts
        ],
        "created": header.created,
        "heat": [_plain(row) for row in summary.heat],
        "link": [_plain(row) for row in summary.links],
    }


def without_times(obj: Any) -> Any:
    """Give a copy without any measured time, temperature, link counter or date.

    What stays is a pure function of the run's header: two runs of it can be compared byte for byte.

    Examples
    --------
    >>> without_times({"created": "today", "tasks": [{"trials": 3, "costs": {"measured": {"save_us": 1}}}]})
    {'tasks': [{'trials': 3, 'costs': {}}]}
    """
    if isinstance(obj, dict):
        return {key: without_times(value) for key, value in obj.items() if key not in TIMED_KEYS}
    if isinstance(obj, list):
        return [without_times(value) for value in obj]
    return obj


def _task(task: TaskSummary) -> Json:
    record = task.record
    return {
        "protection": task.name,
        "control": record.control,
        "task_id": record.task_id,
        "temperature_c": record.temperature_c,
        "trials": task.trials,
        "outcomes": {outcome.value: count for outcome, count in task.outcomes.items()},
        "estimates": {name: _estimate(estimate) for name, estimate in task.estimates.items()},
        "ranked_failure": task.ranked_failure and _estimate(task.ranked_failure),
        "failures_per_day": task.failures_per_day and _estimate(task.failures_per_day),
        "paired_with_none": task.paired and _paired(task.paired),
        "costs": _costs(task.costs),
        "exposure": asdict(task.exposure),
        "settings": json.loads(record.protection),
        "regions": [_plain(region) for region in record.regions],
        "map": [asdict(row) | {"struck": list(row.struck), "failed": list(row.failed)} for row in task.map_rows],
    }


def _costs(costs: Costs) -> Json:
    measured = asdict(costs)
    memory = measured.pop("memory") | {"overhead": costs.memory.overhead}
    names = ("saves", "rollbacks", "lost_inferences", "lost_per_rollback", "alarms", "recomputed_steps")
    counted = {name: measured.pop(name) for name in names}
    return {"memory": memory, **counted, "reloads": measured.pop("reloads"), "measured": measured}


def _paired(pairs: PairedCounts) -> Json:
    return asdict(pairs) | {"difference": _estimate(pairs.difference()), "p_value": pairs.p_value()}


def _estimate(estimate: Estimate) -> Json:
    return {"low": estimate.low, "best": estimate.best, "high": estimate.high}


def _plain(value: object) -> Any:
    return msgspec.to_builtins(value)
