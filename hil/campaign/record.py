"""What a campaign writes down: the header once, then one row a trial, an attempt, a heat slice or a link report.

Every type is a msgspec struct: JSON both ways, unknown fields refused.
"""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1
DAY_S = 86400.0


class RegionRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One region of a task's layout: its name, kind, size, whose cells they are, and whether they were struck."""

    name: str
    kind: str
    size_bytes: int
    own: bool
    technology: str
    struck: bool


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One protection under test.

    ``control`` is empty, or one of ``null``, ``none``, ``oracle``, ``restore``. ``mean_strikes`` is the expected
    number of strikes in one trial: 1 on the shared cells plus the added ones.
    """

    name: str
    control: str
    task_id: str
    protection: str  # JSON of a node.Protection
    temperature_c: float | None
    mean_strikes: float
    regions: tuple[RegionRecord, ...]

    @property
    def is_ranked(self) -> bool:
        """True for what stands for election: no control but ``none``, and not held at a temperature."""
        return self.control in ("", "none") and self.temperature_c is None


class TensorRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tensor of the weights or state region: where it lies in that region and which step (layer) reads it."""

    name: str
    step: int
    dtype: str
    offset: int
    size_bytes: int


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that defines a run; two runs with equal headers (apart from ``created``) have equal rows.

    ``rate_per_bit_day`` is the user's (low, best, high) triple, or None: then results stay per million strikes.
    ``demand_per_day`` is the number of inferences asked for in a day and ``inference_s`` what one takes on the flight
    computer at full speed; None where the computer works, and is exposed, all day. ``shard`` is (number, of how
    many) where this directory holds a part of the trials, None where it holds all. ``stop_half_width`` is the half
    width of the widest failure interval at which the run stops, from ``stop_least_trials`` on; None: it does not.
    ``board_crashes_per_day`` is the (low, best, high) of the board itself, None where it is not known, and
    ``board_crashes_source`` the beam data that they come from, empty where the user gave them.
    ``states`` are the tensors of the state region, where the model has one.
    """

    schema: int
    name: str
    created: str
    seed: int
    trials: int
    inferences: int
    target: str
    workload: str
    workload_digest: str
    model_name: str
    model_digest: str
    critical: str
    n_inputs: int
    step_names: tuple[str, ...]
    tensors: tuple[TensorRecord, ...]
    fault_model: str  # JSON of a hil.strikes.FaultModel
    strike_key: str
    strike_regions: tuple[str, ...]
    rate_per_bit_day: tuple[float, float, float] | None
    versions: dict[str, str]
    tasks: tuple[TaskRecord, ...]
    demand_per_day: float | None = None
    inference_s: float | None = None
    shard: tuple[int, int] | None = None
    stop_half_width: float | None = None
    stop_least_trials: int = 0
    board_crashes_per_day: tuple[float, float, float] | None = None
    board_crashes_source: str = ""
    states: tuple[TensorRecord, ...] = ()


class FaultRecord(msgspec.Struct, frozen=True, array_like=True):
    """One injected fault and its readback: the struck byte before and after."""

    strike: int
    region: str
    bit: int
    kind: int
    inference: int
    step: int
    before: int
    after: int


class Timing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the clock, the sensors and the throttle said during one trial; never part of an outcome.

    ``clock_mhz``, ``throttled`` and ``plant_c`` belong to the plant that the host plays; ``board_c``, ``board_mhz`` and
    ``board_throttled`` (the bits of ``get_throttled``) are what the board's own sensors say, None where it has none.
    """

    elapsed_us: int
    busy_us: int
    protect_us: int
    save_us: int
    verify_us: int
    restore_us: int
    respond_us: int = 0
    clock_mhz: float
    throttled: int
    plant_c: float | None
    board_c: float | None
    board_mhz: float | None = None
    board_throttled: int | None = None


class TrialRow(msgspec.Struct, frozen=True, kw_only=True, tag="trial", forbid_unknown_fields=True):
    """One trial of one protection: one strike on the shared cells, and those on cells that the protection adds.

    Each strike is run by itself on pristine memory, since at the flux of an orbit two strikes do not meet in so
    short a time. ``strike_outcomes`` has one outcome for each of ``strikes``, the shared one first; ``outcome`` is
    the worst of them. ``faults`` and ``reloads`` belong to all of them too, ``detail`` to the worst; everything else
    describes the run with the shared strike.

    ``wrong`` lists the inferences whose delivered output differed from golden, ``withheld`` those that the node
    refused to deliver. ``largest_error`` is the largest absolute difference of a delivered output relative to the
    largest golden value (None when it is not finite). ``alarms`` counts the checks on the computation that failed,
    ``recomputed_steps`` the operators that were run again because of them.
    """

    protection: str
    trial: int
    strikes: tuple[str, ...]
    faults: tuple[FaultRecord, ...]
    outcome: str
    strike_outcomes: tuple[str, ...] = ()
    wrong: tuple[int, ...]
    withheld: tuple[int, ...]
    largest_error: float | None
    checked_words: int
    corrected_words: int
    detected_words: int
    rollbacks: int
    lost_inferences: int
    saves: int
    reloads: int
    alarms: int = 0
    recomputed_steps: int = 0
    detail: str
    timing: Timing | None

    def by_strike(self) -> tuple[tuple[tuple[FaultRecord, ...], str], ...]:
        """Give faults and outcome of each strike, the shared one first; of a trial without strikes, its outcome."""
        if not self.strike_outcomes:
            return ((self.faults, self.outcome),)
        numbers = [int(strike.rpartition(":")[2]) for strike in self.strikes]
        return tuple(
            (tuple(fault for fault in self.faults if fault.strike == number), outcome)
            for number, outcome in zip(numbers, self.strike_outcomes, strict=True)
        )


class AttemptRow(msgspec.Struct, frozen=True, kw_only=True, tag="attempt", forbid_unknown_fields=True):
    """An attempt that gave no outcome because the infrastructure failed; its trial is run again."""

    protection: str
    trial: int
    reason: str


class HeatRow(msgspec.Struct, frozen=True, kw_only=True, tag="heat", forbid_unknown_fields=True):
    """One slice of the closed thermal loop (see hil.environment.thermal_run).

    ``sensor_fault`` names what was wrong with the sensor in this slice, empty for nothing; only then ``sent_c``, what
    the node was told, differs from ``temperature_c``, what the plant was (None: it was told nothing).
    """

    wall_s: float
    plant_s: float
    temperature_c: float
    ambient_c: float
    clock_ratio: float
    throttled: int
    load: float
    inferences_per_s: float
    board_c: float | None
    actuator: str
    acceleration: float
    sent_c: float | None = None
    sensor_fault: str = ""


class StopRow(msgspec.Struct, frozen=True, kw_only=True, tag="stop", forbid_unknown_fields=True):
    """The run had seen enough: after so many trials of each protection the widest interval was narrow enough."""

    trials: int
    half_width: float


class LinkRow(msgspec.Struct, frozen=True, kw_only=True, tag="link", forbid_unknown_fields=True):
    """Counters of the serial link at the end of a session, and what was measured about the node."""

    target: str
    deadline_ms: int
    node: dict[str, str]
    counters: dict[str, int]


Row = TrialRow | AttemptRow | HeatRow | StopRow | LinkRow

LUCK = ("timing", "reloads", "detail")
"""Fields of a trial that a clock, a cable or wording decides."""


def without_luck(row: TrialRow) -> bytes:
    """Give all of a row that two measurements of its trial have to agree on, as JSON."""
    table = msgspec.to_builtins(row)
    return msgspec.json.encode({key: value for key, value in table.items() if key not in LUCK})
