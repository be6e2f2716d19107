"""CostProfile: what the parts of a protection take on one kind of board, as a value and as a file.

``hil measure`` writes it, ``hil trade`` reads it. Times are medians on the board's own clock with their quartiles.
"""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import msgspec

from firmware_bridge.errors import ConfigError
from hil.toml_file import advice, check_keys, read_document, toml_text, typed_table

FORMAT = 1
MISSING_HINT = "measure a board with `hil measure --target URL -o BOARD.cost.toml`"
SUFFIX = ".cost.toml"
ON_BUFFERS = ("encode", "check", "scrub", "correct")
"""What a code does, measured on buffers of several sizes."""

WORK = ("clock", "read", *ON_BUFFERS, "step", "inference", "pass", "save", "restore", "reload", "reset")
"""Everything that a line of costs can be about."""


class Cost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one thing took: the median of ``repeats`` times and their quartiles, in nanoseconds.

    Parameters
    ----------
    work : str
        One of :data:`WORK`.
    of : str
        The code, the step or the protection that it is about; may be empty.
    size_bytes : int
        Bytes worked on, 0 where that says nothing.
    """

    work: str
    of: str = ""
    size_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    repeats: Annotated[int, msgspec.Meta(ge=1)]
    first_quartile_ns: Annotated[float, msgspec.Meta(ge=0.0)]
    median_ns: Annotated[float, msgspec.Meta(ge=0.0)]
    third_quartile_ns: Annotated[float, msgspec.Meta(ge=0.0)]


class CodeMemory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much check data a code keeps for so much data."""

    code: str
    data_bytes: Annotated[int, msgspec.Meta(ge=1)]
    check_bytes: Annotated[int, msgspec.Meta(ge=0)]


class BoardFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which board was measured, how it was reached, when, and in what state it was.

    ``name`` holds the versions of what ran there, ``agent_version`` is empty where no link lies between.
    ``clock_ratio`` is the share of the full clock that the governor allowed; ``temperature_c`` is absent where the
    board has no sensor.
    """

    target: str
    name: str
    measured: str
    agent_version: str
    crc_engine: str
    throttle_actuator: str
    clock_ratio: float
    temperature_c: float | None = None


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model whose inference and steps were timed, and the size of its weights and of all its memory."""

    name: str
    digest: str
    weight_bytes: Annotated[int, msgspec.Meta(ge=1)]
    memory_bytes: Annotated[int, msgspec.Meta(ge=1)]


class CostProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measured costs of steps, codes, scrubs and checkpoints on one kind of board.

    Examples
    --------
    >>> quick = {"repeats": 9, "first_quartile_ns": 90.0, "median_ns": 100.0, "third_quartile_ns": 120.0}
    >>> CostProfile(
    ...     board=BoardFacts(target="sim", name="a", measured="2026-01-01", agent_version="1", crc_engine="C",
    ...                      throttle_actuator="pauses", clock_ratio=1.0),
    ...     model=ModelFacts(name="m", digest="00", weight_bytes=64, memory_bytes=128),
    ...     memory=(), costs=(Cost(work="scrub", of="tmr", size_bytes=1000, **quick),),
    ... ).time_ns("scrub", "tmr", 4000)
    400.0
    """

    board: BoardFacts
    model: ModelFacts
    memory: tuple[CodeMemory, ...]
    costs: tuple[Cost, ...]

    def __post_init__(self) -> None:
        for cost in self.costs:
            where = f"cost profile: {cost.work} {cost.of}".rstrip()
            if cost.work not in WORK:
                raise ConfigError(f"{where}: no such work; {advice(cost.work, WORK)}")
            times = (cost.first_quartile_ns, cost.median_ns, cost.third_quartile_ns)
            if not all(isfinite(time) for time in times) or sorted(times) != list(times):
                raise ConfigError(f"{where}: quartiles and median {times} are not in rising order: measure again")

    def held(self, work: str, of: str = "") -> tuple[Cost, ...]:
        """Give all costs of that work, the smallest size first."""
        found = (cost for cost in self.costs if cost.work == work and cost.of == of)
        return tuple(sorted(found, key=lambda cost: cost.size_bytes))

    def time_ns(self, work: str, of: str = "", size_bytes: int = 0) -> float:
        """Give the median time of some work on so many bytes.

        Between two measured sizes it is interpolated on a straight line; below the least it is taken in proportion
        down to nothing but that of the clock, above the largest in proportion to the bytes.

        Raises
        ------
        ConfigError
            Nothing of that kind was measured.
        """
        found = self.held(work, of)
        if not found:
            name = f"{work} of {of}" if of else work
            raise ConfigError(
                f"the cost profile of {self.board.name} has no {name}: measure that board again with `hil measure`"
            )
        if not size_bytes or not found[0].size_bytes:
            return found[0].median_ns
        for below, above in pairwise(found):
            if below.size_bytes <= size_bytes <= above.size_bytes and below.size_bytes < above.size_bytes:
                share = (size_bytes - below.size_bytes) / (above.size_bytes - below.size_bytes)
                return below.median_ns + share * (above.median_ns - below.median_ns)
        nearest = found[0] if size_bytes < found[0].size_bytes else found[-1]
        return nearest.median_ns * size_bytes / nearest.size_bytes


def cost_text(profile: CostProfile) -> str:
    """Give a profile as the text of its file."""
    document: dict[str, Any] = {"format": FORMAT, "board": msgspec.structs.asdict(profile.board)}
    document |= {"model": msgspec.structs.asdict(profile.model)}
    document["memory"] = [msgspec.structs.asdict(memory) for memory in profile.memory]
    document["cost"] = [msgspec.structs.asdict(cost) for cost in profile.costs]
    return toml_text(document)


def write_profile(profile: CostProfile, path: Path) -> None:
    """Write a profile beside its place and move it there; what cannot be written is a ConfigError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(cost_text(profile), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; choose another -o") from None


def read_profile(path: Path) -> CostProfile:
    """Read what :func:`write_profile` wrote; every error names the file, the key and the remedy."""
    document = read_document(path, MISSING_HINT)
    check_keys(document, ["format", "board", "model", "memory", "cost"], str(path))
    for key in ("format", "board", "model", "cost"):
        if key not in document:
            raise ConfigError(f"{path}: {key} is missing: this is no cost profile; {MISSING_HINT}")
    if document["format"] != FORMAT:
        raise ConfigError(f"{path}: format {document['format']!r}; this version reads {FORMAT}: measure again")
    try:
        return CostProfile(
            board=typed_table(document["board"], BoardFacts, f"{path}: [board]"),
            model=typed_table(document["model"], ModelFacts, f"{path}: [model]"),
            memory=_tables(document.get("memory", []), CodeMemory, f"{path}: [[memory]]"),
            costs=_tables(document["cost"], Cost, f"{path}: [[cost]]"),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _tables(tables: Any, kind: Any, where: str) -> Any:
    if not isinstance(tables, list):
        raise ConfigError(f"{where}: expected tables; {MISSING_HINT}")
    return tuple(typed_table(table, kind, f"{where} number {number}") for number, table in enumerate(tables, 1))
