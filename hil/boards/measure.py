"""Measure a board: every code, step, scrub and checkpoint of it, by its own clock, through the link."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import median, quantiles

from firmware_bridge.measuring import Measure, Quantity
from hil.boards.cost_profile import BoardFacts, CodeMemory, Cost, CostProfile, ModelFacts
from hil.progress import ProgressEvent, ProgressSink
from hil.targets.session import Session
from node.ecc import CODES
from node.model.image import Image
from node.protection import Protection

DEADLINE_MS = 60_000
FEWEST, MOST = 5, 301
"""Repetitions of each thing."""

LARGE_BYTES = 1 << 20
"""Beside the size of the model's weights each code is measured on so much, which a small cache does not hold."""

CHECKPOINTED = Protection(code="vertical_hsiao", checkpoint_period=1)
"""What is set while scrub, checkpoint, reload and reset of the whole computer are timed."""

_ON_BUFFERS = {
    "encode": Quantity.ENCODE,
    "check": Quantity.CHECK,
    "scrub": Quantity.SCRUB,
    "correct": Quantity.CORRECT,
}
_OF_THE_COMPUTER = {
    "pass": Quantity.PASS,
    "save": Quantity.SAVE,
    "restore": Quantity.RESTORE,
    "reload": Quantity.RELOAD,
    "reset": Quantity.RESET,
}


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """How long each thing is measured, which codes, on buffers of which size beside the model's own, and what else.

    ``protections`` are those that act on the computation itself, by name: only an inference shows what they take.
    """

    seconds_each: float = 0.03
    codes: tuple[str, ...] = tuple(CODES)
    large_bytes: int = LARGE_BYTES
    protections: Mapping[str, Protection] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One thing to measure, the line of the profile that it becomes, and what has to be set for it."""

    work: str
    of: str = ""
    request: Measure
    protection: Protection = Protection()  # noqa: RUF009 - a frozen value


def measure_board(
    session: Session, image: Image, inputs: bytes, options: MeasureOptions, progress: ProgressSink
) -> CostProfile:
    """Give the profile of the node behind a session.

    Parameters
    ----------
    session : Session
        Any target; its node is loaded with the model.
    image, inputs : Image, bytes
        The model whose inference and steps are timed, and its samples (an .npz file's bytes).
    options : MeasureOptions
        How long, and what beside the usual.
    progress : callable
        Told about each thing.
    """
    session.prepare(image.to_bytes(), inputs)
    weight_bytes = len(image.weights)
    wanted = list(_everything(image, options))
    costs: list[Cost] = []
    facts: BoardFacts | None = None
    held: Protection | None = None
    for done, each in enumerate(wanted, 1):
        if each.protection != held:
            session.configure(each.protection, DEADLINE_MS)
            held = each.protection
        facts = facts or _board_facts(session)
        costs.append(_cost(session, each, options.seconds_each))
        progress(ProgressEvent(stage="measure", done=done, total=len(wanted)))
    assert facts is not None, "there is always something to measure"
    return CostProfile(
        board=facts,
        model=ModelFacts(
            name=image.name,
            digest=image.digest,
            weight_bytes=weight_bytes,
            memory_bytes=len(image.weights) + image.activation_bytes + image.steps.nbytes,
        ),
        memory=tuple(
            CodeMemory(code=code, data_bytes=weight_bytes, check_bytes=CODES[code].check_bytes(weight_bytes))
            for code in options.codes
        ),
        costs=tuple(costs),
    )


def _everything(image: Image, options: MeasureOptions) -> Iterator[Wanted]:
    sizes = sorted({len(image.weights), options.large_bytes})
    yield Wanted(work="clock", request=Measure(quantity=Quantity.CLOCK))
    for size in sizes:
        yield Wanted(work="read", request=Measure(quantity=Quantity.READ, size_bytes=size))
    yield Wanted(work="inference", request=Measure(quantity=Quantity.INFERENCE))
    for index, name in enumerate(image.step_names):
        yield Wanted(work="step", of=f"{index} {name}", request=Measure(quantity=Quantity.STEP, step=index))
    for code in options.codes:
        for size in sizes:
            for work, quantity in _ON_BUFFERS.items():
                yield Wanted(work=work, of=code, request=Measure(quantity=quantity, code=code, size_bytes=size))
    for name, protection in options.protections.items():
        yield Wanted(work="inference", of=name, request=Measure(quantity=Quantity.INFERENCE), protection=protection)
    for work, quantity in _OF_THE_COMPUTER.items():
        yield Wanted(work=work, request=Measure(quantity=quantity), protection=CHECKPOINTED)


def _cost(session: Session, wanted: Wanted, seconds: float) -> Cost:
    """Measure one thing: a few times, then as often as the time for it allows."""
    first = session.measure(replace(wanted.request, repeats=FEWEST))
    times = list(first.samples_ns)
    more = min(MOST, int(1e9 * seconds / max(1.0, median(times)))) - FEWEST
    if more > 0:
        times += session.measure(replace(wanted.request, repeats=more)).samples_ns
    low, middle, high = quantiles(times, n=4, method="inclusive")
    return Cost(
        work=wanted.work,
        of=wanted.of,
        size_bytes=first.size_bytes,
        repeats=len(times),
        first_quartile_ns=low,
        median_ns=middle,
        third_quartile_ns=high,
    )


def _board_facts(session: Session) -> BoardFacts:
    telemetry = session.telemetry()
    return BoardFacts(
        target=session.url,
        name=session.measure(Measure(quantity=Quantity.CLOCK)).note,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        agent_version=session.facts().get("agent_version", ""),
        crc_engine=telemetry.crc_engine,
        throttle_actuator=telemetry.throttle_actuator,
        clock_ratio=round(telemetry.clock_ratio, 4),
        temperature_c=None if math.isnan(telemetry.board_c) else round(telemetry.board_c, 1),
    )
