"""Results directories made by hand, through the store that campaigns write with."""

from __future__ import annotations

import json
import random
from pathlib import Path

from hil.campaign.record import (
    SCHEMA_VERSION,
    AttemptRow,
    FaultRecord,
    Header,
    HeatRow,
    LinkRow,
    RegionRecord,
    Row,
    TaskRecord,
    TensorRecord,
    Timing,
    TrialRow,
)
from hil.campaign.store import Store
from hil.strikes.fault_model import PRESETS

STEP_NAMES = ("conv1", "pool1", "conv2", "dense")
TENSORS = (
    TensorRecord(name="conv1.weight", step=0, dtype="int8", offset=0, size_bytes=144),
    TensorRecord(name="conv1.bias", step=0, dtype="int32", offset=192, size_bytes=64),
    TensorRecord(name="conv2.weight", step=2, dtype="int8", offset=256, size_bytes=4608),
    TensorRecord(name="dense.weight", step=3, dtype="int8", offset=4864, size_bytes=2560),
)
SHARED = (
    RegionRecord(name="weights", kind="weights", size_bytes=7424, own=False, technology="dram", struck=True),
    RegionRecord(name="activations", kind="activations", size_bytes=2048, own=False, technology="dram", struck=True),
    RegionRecord(name="steps", kind="steps", size_bytes=512, own=False, technology="dram", struck=False),
)
CHECK = RegionRecord(name="check.weights", kind="check", size_bytes=928, own=True, technology="dram", struck=True)
CHECKPOINT = RegionRecord(
    name="checkpoint", kind="checkpoint", size_bytes=14848, own=True, technology="flash", struck=True
)


def task(name: str, control: str = "", *, own: tuple[RegionRecord, ...] = (), **changes: object) -> TaskRecord:
    """Give one protection's record; own cells raise its mean strikes in proportion; null is not struck."""
    shared_bytes = sum(region.size_bytes for region in SHARED if region.struck)
    values = {
        "name": name,
        "control": control,
        "task_id": f"task-{name}",
        "protection": json.dumps({"code": name}),
        "temperature_c": None,
        "mean_strikes": 0.0 if control == "null" else 1.0 + sum(each.size_bytes for each in own) / shared_bytes,
        "regions": (*SHARED, *own),
    }
    return TaskRecord(**(values | changes))


def header(*tasks: TaskRecord, trials: int = 100, **changes: object) -> Header:
    """Give the header of a small run."""
    values = {
        "schema": SCHEMA_VERSION,
        "name": "digits on the bench",
        "created": "2026-11-02T10:00:00Z",
        "seed": 7,
        "trials": trials,
        "inferences": 8,
        "target": "pty",
        "workload": "digits",
        "workload_digest": "ab" * 32,
        "model_name": "digits_int8",
        "model_digest": "cd" * 32,
        "critical": "top1",
        "n_inputs": 32,
        "step_names": STEP_NAMES,
        "tensors": TENSORS,
        "fault_model": PRESETS["single_bit"].to_json(),
        "strike_key": "ef" * 16,
        "strike_regions": ("weights", "activations"),
        "rate_per_bit_day": None,
        "versions": {"flightnode": "0.1.0", "python": "3.11.9", "numba": "0.61.0"},
        "tasks": tasks or (task("none", "none"),),
    }
    return Header(**(values | changes))


def timing(**changes: object) -> Timing:
    """Give plain timing; every field can be changed."""
    values = {
        "elapsed_us": 800,
        "busy_us": 600,
        "protect_us": 80,
        "save_us": 0,
        "verify_us": 0,
        "restore_us": 0,
        "clock_mhz": 1500.0,
        "throttled": 0,
        "plant_c": None,
        "board_c": None,
        "board_mhz": None,
        "board_throttled": None,
    }
    return Timing(**(values | changes))


def trial(protection: str, number: int, outcome: str = "MASKED", **changes: object) -> TrialRow:
    """Give one trial with one flip in the weights."""
    values = {
        "protection": protection,
        "trial": number,
        "strikes": (f"{number}:0",),
        "faults": (fault(bit=number % 1000),),
        "outcome": outcome,
        "wrong": (),
        "withheld": (),
        "largest_error": 0.0,
        "checked_words": 0,
        "corrected_words": 0,
        "detected_words": 0,
        "rollbacks": 0,
        "lost_inferences": 0,
        "saves": 0,
        "reloads": 0,
        "detail": "",
        "timing": timing(),
    }
    return TrialRow(**(values | changes))


def fault(region: str = "weights", bit: int = 0, inference: int = 0, step: int = 0) -> FaultRecord:
    """Give one flip and its readback."""
    return FaultRecord(
        strike=0, region=region, bit=bit, kind=0, inference=inference, step=step, before=0, after=1 << (bit % 8)
    )


def heat(second: int, temperature_c: float, clock_ratio: float = 1.0, throttled: int = 0) -> HeatRow:
    """Give one slice of the thermal loop."""
    return HeatRow(
        wall_s=float(second),
        plant_s=60.0 * second,
        temperature_c=temperature_c,
        ambient_c=60.0,
        clock_ratio=clock_ratio,
        throttled=throttled,
        load=1.0,
        inferences_per_s=1200.0 * clock_ratio,
        board_c=None,
        actuator="pauses",
        acceleration=60.0,
    )


def link() -> LinkRow:
    """Give the counters of one session."""
    return LinkRow(
        target="pty",
        deadline_ms=1500,
        node={"agent_version": "0.1.0", "crc_engine": "c"},
        counters={"frames_sent": 5012, "frames_received": 5020, "retransmitted": 3, "crc_errors": 2},
    )


def write(directory: Path, head: Header, *rows: Row) -> Path:
    """Write a results directory and give it back."""
    with Store(directory, head) as store:
        store.append(*rows)
    return directory


_TASKS = (
    task("none", "none"),
    task("parity", own=(CHECK,)),
    task("hsiao_72_64", own=(CHECK,)),
    task("hsiao + checkpoint", own=(CHECK, CHECKPOINT)),
    task("hsiao hot", own=(CHECK, CHECKPOINT), temperature_c=83.0),
    task("tmr", own=(RegionRecord(**{f: getattr(CHECK, f) for f in CHECK.__struct_fields__} | {"size_bytes": 14848}),)),
    task("null", "null", own=(CHECK,)),
    task("oracle", "oracle"),
    task("restore", "restore", own=(CHECK,)),
)
_CHANCES = {
    "none": {"SDC_CRITICAL": 0.06, "SDC_TOLERABLE": 0.13, "CRASH": 0.01, "HANG": 0.004},
    "parity": {"SDC_CRITICAL": 0.012, "SDC_TOLERABLE": 0.03, "DUE": 0.33, "CORRECTED": 0.0},
    "hsiao_72_64": {"SDC_CRITICAL": 0.004, "SDC_TOLERABLE": 0.025, "CORRECTED": 0.36},
    "hsiao + checkpoint": {"SDC_CRITICAL": 0.004, "SDC_TOLERABLE": 0.022, "CORRECTED": 0.37, "DUE": 0.003},
    "hsiao hot": {"SDC_CRITICAL": 0.004, "SDC_TOLERABLE": 0.022, "CORRECTED": 0.37, "DUE": 0.003},
    "tmr": {"SDC_CRITICAL": 0.003, "SDC_TOLERABLE": 0.022, "CORRECTED": 0.6},
    "oracle": {"SDC_CRITICAL": 0.003, "SDC_TOLERABLE": 0.02, "CORRECTED": 0.3},
}
_SPEED_US = {"none": 700, "parity": 760, "hsiao_72_64": 830, "hsiao + checkpoint": 1010, "hsiao hot": 1730, "tmr": 1150}


def demo_like(directory: Path, trials: int = 300, **changes: object) -> Path:
    """Write a run that has one of everything: controls, checkpoints, heat, link counters, an attempt."""
    draw = random.Random(5)
    rows: list[Row] = [_random_trial(draw, record, number) for record in _TASKS for number in range(trials)]
    rows.append(AttemptRow(protection="tmr", trial=17, reason="node ended from outside: signal 9"))
    rows += [_heat_of(second) for second in range(80)]
    rows.append(link())
    return write(directory, header(*_TASKS, trials=trials, **changes), *rows)


def _random_trial(draw: random.Random, record: TaskRecord, number: int) -> TrialRow:
    chances = _CHANCES.get(record.name, {})
    outcome = draw.choices(["MASKED", *chances], [1.0 - sum(chances.values()), *chances.values()])[0]
    quiet = record.control == "null"
    saves = 3 if "checkpoint" in record.name or "hot" in record.name else 0
    rolled = saves and outcome == "DUE"
    hot = record.temperature_c is not None
    elapsed_us = int(8 * _SPEED_US.get(record.name, 840) * draw.gauss(1.0, 0.02)) + 900 * saves
    return trial(
        record.name,
        number,
        outcome,
        strikes=() if quiet else (f"{number}:0",),
        faults=() if quiet else (_random_fault(draw, outcome),),
        saves=saves,
        rollbacks=int(bool(rolled)),
        lost_inferences=2 * int(bool(rolled)),
        timing=timing(
            elapsed_us=elapsed_us,
            busy_us=5400,
            protect_us=int(elapsed_us * 0.08) if record.control != "none" else 0,
            save_us=int(saves * draw.gauss(700, 60)),
            verify_us=int(saves * draw.gauss(110, 10)),
            restore_us=420 if rolled else 0,
            throttled=0xE000E if hot else 0,
            clock_mhz=750.0 if hot else 1500.0,
            plant_c=record.temperature_c,
        ),
    )


def _random_fault(draw: random.Random, outcome: str) -> FaultRecord:
    if draw.random() < 0.2:
        return fault("activations", draw.randrange(8 * 2048), step=draw.randrange(5))
    hurts = outcome.startswith("SDC")
    tensor = draw.choices(TENSORS, [6, 3, 2, 2] if hurts else [record.size_bytes for record in TENSORS])[0]
    byte = tensor.offset + draw.randrange(tensor.size_bytes)
    bit = draw.choices(range(8), [1, 1, 1, 2, 3, 6, 9, 11] if hurts else [1] * 8)[0]
    return fault("weights", 8 * byte + bit)


def _heat_of(second: int) -> HeatRow:
    rising = 60.0 + 27.0 * min(1.0, second / 25)
    temperature_c = rising if second < 40 else max(62.0, rising - 1.2 * (second - 40))
    ratio = 1.0 if temperature_c < 80 else 0.67 if temperature_c < 85 else 0.4
    return heat(second, temperature_c, ratio, 0xE000E if ratio < 1.0 else 0xE0000 if second > 40 else 0)
