"""A run as a file of CCSDS Space Packets, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hil.campaign.outcome import Outcome
from hil.campaign.record import HeatRow, TrialRow
from hil.campaign.store import read_header, read_rows
from hil.ground.layouts import HEAT, TRIAL

_OUTCOMES = {kind.value: number for number, kind in enumerate(Outcome)}


def packets_of(directory: Path) -> Iterator[bytes]:
    """Give a packet for each trial and each thermal slice of a run, finished or not, in the order measured."""
    places = {task.name: place for place, task in enumerate(read_header(directory).tasks)}
    trials = slices = 0
    for row in read_rows(directory):
        if isinstance(row, TrialRow):
            yield TRIAL.packet(_trial(row, places[row.protection]), trials)
            trials += 1
        elif isinstance(row, HeatRow):
            yield HEAT.packet(_heat(row), slices)
            slices += 1


def _trial(row: TrialRow, place: int) -> dict[str, float]:
    timing = row.timing
    return {
        "protection": place,
        "trial": row.trial,
        "outcome": _OUTCOMES[row.outcome],
        "strikes": len(row.strikes),
        "faults": len(row.faults),
        "wrong": len(row.wrong),
        "withheld": len(row.withheld),
        "corrected_words": row.corrected_words,
        "detected_words": row.detected_words,
        "rollbacks": row.rollbacks,
        "alarms": row.alarms,
        "elapsed": 0 if timing is None else timing.elapsed_us,
        "plant_temperature": _or_nan(None if timing is None else timing.plant_c),
    }


def _heat(row: HeatRow) -> dict[str, float]:
    return {
        "plant_time": row.plant_s,
        "temperature": row.temperature_c,
        "ambient": row.ambient_c,
        "clock_ratio": row.clock_ratio,
        "throttled": row.throttled,
        "load": row.load,
        "inference_rate": row.inferences_per_s,
        "board_temperature": _or_nan(row.board_c),
    }


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
