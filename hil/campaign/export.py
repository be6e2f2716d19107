"""Results as CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TextIO

from firmware_bridge.errors import DataError
from firmware_bridge.messages import FaultKind
from hil.campaign.record import FaultRecord, TrialRow
from hil.campaign.store import read_header, read_rows

TRIAL_COLUMNS = ("protection", "trial", "strike", "faults", "outcome")


def trials_csv(directory: Path, file: TextIO) -> None:
    """Write every trial of a run, ordered by protection as the campaign lists them, then by number.

    A trial is one line. Its strikes are separated by spaces, the one on the shared cells first; nothing stands there
    if nothing struck. Its faults are in the order of the strikes; each reads ``strike/region:bit:kind@inference.step``
    with the number of its strike.

    Parameters
    ----------
    directory : Path
        A results directory, finished or not; the first row of a trial counts.
    file : text file
        Where the CSV goes, one line feed after each line.
    """
    header = read_header(directory)
    order = {task.name: index for index, task in enumerate(header.tasks)}
    first: dict[tuple[int, int], TrialRow] = {}
    for row in read_rows(directory):
        if isinstance(row, TrialRow) and row.trial < header.trials:
            first.setdefault((_place(order, row.protection, directory), row.trial), row)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(TRIAL_COLUMNS)
    for _, row in sorted(first.items()):
        faults = " ".join(fault_text(fault) for fault in row.faults)
        writer.writerow((row.protection, row.trial, " ".join(row.strikes), faults, row.outcome))


def _place(order: dict[str, int], protection: str, directory: Path) -> int:
    if protection not in order:
        raise DataError(f"{directory}: a row names protection {protection!r}, which this run has not")
    return order[protection]


def fault_text(fault: FaultRecord) -> str:
    """Give a fault as ``strike/region:bit:kind@inference.step``.

    Examples
    --------
    >>> fault_text(FaultRecord(1, "weights", 9, 0, 2, 3, 0, 2))
    '1/weights:9:flip@2.3'
    """
    kind = FaultKind(fault.kind).name.lower()
    return f"{fault.strike}/{fault.region}:{fault.bit}:{kind}@{fault.inference}.{fault.step}"
