"""Results of several machines as one: rows add, and what does not belong together is refused."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from firmware_bridge.errors import ConfigError, DataError
from hil.campaign.bundle import BUNDLE_FOLDER
from hil.campaign.record import Header, HeatRow, Row, TrialRow, without_luck
from hil.campaign.store import CONFIRMATION_FOLDER, Store, brief, confirmation_folder, read_header, read_rows

FREE_FIELDS = ("created", "shard", "target")
"""What may differ: when and where a part was measured. Of targets the kind may not, since times would be mixed."""


def merge_runs(parts: Sequence[Path], out: Path) -> None:
    """Write the results of several directories of one campaign into a new one.

    A trial that stands in several of them is kept once; all must agree on it. Confirmations are merged likewise.

    Parameters
    ----------
    parts : sequence of Path
        Results directories, two or more; they are only read.
    out : Path
        A directory that does not exist yet; it appears when it is complete.

    Raises
    ------
    ConfigError
        The directories hold different campaigns (the message names the field), or ``out`` exists.
    DataError
        Two of them have different outcomes of the same trial.
    """
    if len({path.resolve() for path in parts}) < 2:
        raise ConfigError("hil merge: give two different results directories or more")
    if out.exists():
        raise ConfigError(f"{out}: exists; choose another --out")
    headers = {part: read_header(part) for part in parts}
    for part in parts[1:]:
        _check_same(parts[0], headers[parts[0]], part, headers[part])
    out.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _write(parts, msgspec.structs.replace(headers[parts[0]], shard=None), made)
        confirmed = [folder for part in parts if (folder := confirmation_folder(part))]
        if len(confirmed) > 1:
            merge_runs(confirmed, made / CONFIRMATION_FOLDER)
        elif confirmed:
            shutil.copytree(confirmed[0], made / CONFIRMATION_FOLDER)
        made.rename(out)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _check_same(first: Path, one: Header, part: Path, other: Header) -> None:
    for field in Header.__struct_fields__:
        here, there = getattr(one, field), getattr(other, field)
        if field == "target":
            here, there = here.partition(":")[0], there.partition(":")[0]
        elif field in FREE_FIELDS:
            continue
        if here != there:
            raise ConfigError(
                f"{first} and {part} are not of one campaign: {field} differs "
                f"({_difference(here, there)}); merge what belongs together"
            )


def _difference(here: object, there: object) -> str:
    """Give what differs, of tables the first entry."""
    if isinstance(here, dict) and isinstance(there, dict):
        key = next(key for key in sorted({*here, *there}) if here.get(key) != there.get(key))
        return f"{key}: {brief(here.get(key))} and {brief(there.get(key))}"
    if isinstance(here, tuple) and isinstance(there, tuple) and len(here) == len(there):
        here, there = next((a, b) for a, b in zip(here, there, strict=True) if a != b)
    if isinstance(here, msgspec.Struct) and isinstance(there, msgspec.Struct):
        return _difference(msgspec.structs.asdict(here), msgspec.structs.asdict(there))
    return f"{brief(here)} and {brief(there)}"


def _write(parts: Sequence[Path], header: Header, made: Path) -> None:
    shutil.copytree(parts[0] / BUNDLE_FOLDER, made / BUNDLE_FOLDER)
    with Store(made, header) as store:
        for row in _rows(parts):
            store.append(row)


def _rows(parts: Sequence[Path]) -> Iterator[Row]:
    seen: dict[tuple[str, int], tuple[Path, bytes]] = {}
    heated: Path | None = None
    for part in parts:
        for row in read_rows(part):
            if isinstance(row, HeatRow):
                heated = heated or part
                if heated != part:
                    continue
            if isinstance(row, TrialRow):
                key, essence = (row.protection, row.trial), _essence(row)
                place, held = seen.setdefault(key, (part, b""))
                if held and held != essence:
                    raise DataError(
                        f"{place} and {part}: trial {row.trial} of {row.protection!r} differs, though the campaign is "
                        f"the same; see `hil replay {part} '{row.protection}' {row.trial}`"
                    )
                if held:
                    continue
                seen[key] = (part, essence)
            yield row


def _essence(row: TrialRow) -> bytes:
    """Give a digest of all that must agree between two measurements of one trial."""
    return hashlib.blake2b(without_luck(row), digest_size=16).digest()
