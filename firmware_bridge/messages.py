"""Every message of the link as a frozen dataclass.

A message is a value: keyword-only, checked by its codec, comparable. Requests go from host to node; every
request has exactly one reply, and the envelope (see :mod:`firmware_bridge.codec`) carries the request id that
joins the two. :class:`Hello` and :class:`Progress` may also come unasked.

The annotations name the wire type (``U32`` is an unsigned 32-bit integer, big-endian); PROTOCOL.md lists them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .loading import LoadBegin, LoadChunk, LoadStatus
from .measuring import Measure, Measured
from .wire_types import F32, U8, U16, U32, U64, Blob, Flag, Text

PROTOCOL_VERSION = 1
FLAGS_UNKNOWN = 0xFFFF_FFFF
"""Stands for the throttle flags of a board that has none to read."""


class FaultKind(IntEnum):
    """What happens to the struck bit.

    ``INTERRUPT`` is a functional interrupt of the whole computer (region ``process``): bit 0 kills it, bit 1
    hangs it.
    """

    FLIP = 0
    STUCK_AT_0 = 1
    STUCK_AT_1 = 2
    INTERRUPT = 3


class AbnormalKind(IntEnum):
    """How a computer ended when it did not answer."""

    CRASH = 0
    HANG = 1


class Delivery(IntEnum):
    """What became of one requested inference."""

    DELIVERED = 0
    WITHHELD = 1  # a detected, uncorrected error stopped it: no output left the node


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Where one strike lands in one memory layout.

    ``bit`` counts from the start of ``region`` (bit i of byte b is bit 8*b + i). The logical moment is *before*
    operator ``step`` of inference number ``inference`` of the run.
    """

    strike: U32
    region: Text
    bit: U64
    kind: FaultKind = FaultKind.FLIP
    inference: U16 = 0
    step: U16 = 0


@dataclass(frozen=True, kw_only=True)
class Readback:
    """Proof of one injection: the struck byte before and after, read from the memory itself."""

    before: U8
    after: U8


# ---- requests -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class HelloRequest:
    """Ask who is there."""

    protocol: U16 = PROTOCOL_VERSION


@dataclass(frozen=True, kw_only=True)
class Configure:
    """Set the protection (JSON of a ``node.Protection``) and the watchdog's deadline for one request."""

    protection: Text
    deadline_ms: U32 = 60_000


@dataclass(frozen=True, kw_only=True)
class Inject:
    """Strike memory now."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True)
class SetTemperature:
    """Tell the node how hot the plant is, in degrees Celsius."""

    celsius: F32


@dataclass(frozen=True, kw_only=True)
class SetThrottleLimits:
    """Set where throttling starts and where it is full, in degrees Celsius."""

    soft_c: F32
    hard_c: F32


@dataclass(frozen=True, kw_only=True)
class Run:
    """Run one inference per entry of ``inputs`` (indices into the loaded inputs) under ``faults``.

    With ``isolate`` the memory is first put back to its pristine state and its digest verified.
    """

    run_id: U32
    inputs: tuple[U32, ...]
    faults: tuple[Fault, ...] = ()
    isolate: Flag = True


@dataclass(frozen=True, kw_only=True)
class Scrub:
    """Check and correct every protected region once."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Save the state, after verifying it."""


@dataclass(frozen=True, kw_only=True)
class Restore:
    """Load the newest checkpoint that verifies."""


@dataclass(frozen=True, kw_only=True)
class TelemetryRequest:
    """Ask for temperatures, clocks and counters."""


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Put all memory, counters and sticky flags back to their state after loading."""


@dataclass(frozen=True, kw_only=True)
class TimeRequest:
    """Ask for the node's clock."""


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Compute with the model that is loaded, now: ``data`` are the bytes of its input tensors, one after the other.

    ``warm_up`` inferences come before the ``count`` that are timed.
    """

    data: Blob
    count: U16 = 1
    warm_up: U16 = 0


# ---- replies --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Who is there. ``boot_id`` is drawn anew at each start of the computer, ``agent_id`` of the agent.

    ``uart`` is the kind of UART that the node serves (``PL011``, ``mini UART``), empty for another line.
    """

    protocol: U16 = PROTOCOL_VERSION
    agent_version: Text
    agent_id: U64
    boot_id: U64
    state: Text
    uart: Text = ""


@dataclass(frozen=True, kw_only=True)
class Done:
    """The command was carried out."""


@dataclass(frozen=True, kw_only=True)
class Injected:
    """One readback per fault of the request."""

    readbacks: tuple[Readback, ...]


@dataclass(frozen=True, kw_only=True)
class Inference:
    """One inference of a run: the concatenated output tensors, empty where withheld."""

    delivery: Delivery
    output: Blob


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run gave. Times are the node's own, in microseconds.

    ``clock_mhz`` and ``throttled`` are the clock that the governor allows and its flags, which follow ``plant_c``, the
    temperature that the host sent. ``board_c``, ``board_mhz`` and ``board_throttled`` are the board's own sensors: NaN
    and :data:`FLAGS_UNKNOWN` where it has none.

    ``reloads`` counts memory found not pristine at the start, ``rollbacks`` the checkpoints loaded and
    ``lost_inferences`` the work done again because of them. ``checked_words``, ``corrected_words`` and
    ``detected_words`` add up the decode reports of the run. ``alarms`` counts the checks on the computation that
    failed, ``recomputed_steps`` the operators run again because of them; ``respond_us`` is the time of the answers.
    """

    run_id: U32
    inferences: tuple[Inference, ...]
    readbacks: tuple[Readback, ...]
    checked_words: U64
    corrected_words: U32
    detected_words: U32
    reloads: U16
    rollbacks: U16
    lost_inferences: U16
    saves: U16
    alarms: U16
    recomputed_steps: U32
    elapsed_us: U32
    busy_us: U32
    protect_us: U32
    save_us: U32
    verify_us: U32
    restore_us: U32
    respond_us: U32
    clock_mhz: F32
    throttled: U32
    plant_c: F32
    board_c: F32
    board_mhz: F32
    board_throttled: U32


@dataclass(frozen=True, kw_only=True)
class ScrubReport:
    """A decode report: words looked at, repaired, found wrong and left."""

    words: U64
    corrected: U32
    detected: U32
    elapsed_us: U32


@dataclass(frozen=True, kw_only=True)
class CheckpointReport:
    """A checkpoint saved or restored: its sequence number, size and times."""

    sequence: U32
    size_bytes: U32
    elapsed_us: U32
    verify_us: U32


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Temperatures, clocks, load and counters since start.

    ``plant_c`` is what the host sent, ``board_c`` the board's own sensor (NaN where it has none).
    ``throttled`` has the bits of the Raspberry Pi's ``get_throttled``. ``load`` is the share of time spent
    computing since the previous telemetry, ``clock_ratio`` the share of the full clock that is allowed. ``sensors``
    says where the board's own figures come from, here and in run results.
    """

    uptime_ms: U32
    state: Text
    plant_c: F32
    board_c: F32
    clock_mhz: F32
    clock_ratio: F32
    throttled: U32
    throttle_actuator: Text
    load: F32
    inferences: U32
    corrected_words: U32
    detected_words: U32
    reloads: U32
    alarms: U32
    recomputed_steps: U32
    crc_engine: Text
    sensors: Text


@dataclass(frozen=True, kw_only=True)
class TimeReport:
    """The node's monotonic clock when the request was read and when this reply was written, in nanoseconds."""

    received_ns: U64
    replied_ns: U64


@dataclass(frozen=True, kw_only=True)
class Inferred:
    """The numbers of all output tensors, after the last inference, and the node's time for those that count."""

    values: tuple[F32, ...]
    elapsed_us: U32


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A long job is alive: ``done`` of ``total``."""

    stage: Text
    done: U32
    total: U32


@dataclass(frozen=True, kw_only=True)
class Abnormal:
    """The computer crashed or hung on this request; ``boot_id`` is the restarted one's."""

    kind: AbnormalKind
    detail: Text
    boot_id: U64


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The command was refused; ``text`` says why and what to do."""

    text: Text


Request = (
    HelloRequest
    | LoadBegin
    | LoadChunk
    | Configure
    | Inject
    | SetTemperature
    | SetThrottleLimits
    | Run
    | Scrub
    | Checkpoint
    | Restore
    | TelemetryRequest
    | Reset
    | TimeRequest
    | Infer
    | Measure
)
Reply = (
    Hello
    | LoadStatus
    | Done
    | Injected
    | RunResult
    | ScrubReport
    | CheckpointReport
    | Telemetry
    | TimeReport
    | Inferred
    | Measured
    | Progress
    | Abnormal
    | Failed
)
Message = Request | Reply
