"""Campaigns for tests: small, real, over any target."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hil.campaign.collect import RunOptions, run_campaign
from hil.campaign.configuration import CampaignFile, load_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.record import AttemptRow, Row, TrialRow
from hil.campaign.store import read_rows
from hil.campaign.task_runner import TaskRunner
from hil.progress import silent
from hil.strikes import preset
from hil.targets.session import Session

PROTECTIONS = """
[[protection]]
name = "parity"
code = "parity"

[[protection]]
name = "hsiao_72_64"
code = "hsiao_72_64"
scrub_period = 2

[[protection]]
name = "hsiao_72_64 + checkpoint"
code = "hsiao_72_64"
checkpoint_period = 2
on_detected = "rollback"

[[protection]]
name = "parity + reload"
code = "parity"
on_detected = "reload"

[[protection]]
name = "tmr"
code = "tmr"
"""


def write_campaign(
    directory: Path,
    *,
    trials: int = 20,
    fault_model: str = "clusters",
    regions: Iterable[str] = ("weights", "activations"),
    protections: str = PROTECTIONS,
    model: str = "builtin:digits_int8",
    seed: int = 7,
) -> Path:
    """Write a campaign file and give its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "campaign.toml"
    names = ", ".join(f'"{region}"' for region in regions)
    memory = "" if preset(fault_model).in_accumulators else f"regions = [{names}]\n"
    path.write_text(
        f'[campaign]\nname = "test"\nseed = {seed}\ntrials = {trials}\ninferences = 4\n'
        f'[workload]\nmodel = "{model}"\n'
        f'[strikes]\nfault_model = "{fault_model}"\n' + memory + protections
    )
    return path


def campaign(directory: Path, **settings: object) -> CampaignFile:
    """Give a campaign that was read from a file."""
    return load_campaign(write_campaign(directory, **settings))  # type: ignore[arg-type]


def run(described: CampaignFile, out: Path, target: str = "sim", workers: int = 1) -> list[Row]:
    """Run a campaign and give its rows."""
    run_campaign(described, out=out, options=RunOptions(target=target, workers=workers), progress=silent)
    return list(read_rows(out))


def rows_of(
    experiment: Experiment, session: Session, trials: Iterable[int] | None = None, names: Iterable[str] | None = None
) -> list[Row]:
    """Run some trials of some tasks over a session that is given, and give the rows."""
    rows: list[Row] = []
    session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
    for task in experiment.tasks:
        if names is None or task.name in names:
            wanted = range(experiment.trials) if trials is None else trials
            TaskRunner(session, task, experiment.workload, rows.append).collect(wanted)
    return rows


def essence(rows: Iterable[Row]) -> dict[tuple[str, int], tuple[object, ...]]:
    """Give, for each trial, everything in its row that no clock decides."""
    found: dict[tuple[str, int], tuple[object, ...]] = {}
    for row in rows:
        if isinstance(row, TrialRow):
            values = tuple(
                getattr(row, field)
                for field in TrialRow.__struct_fields__
                if field not in ("timing", "reloads", "detail")
            )
            assert (row.protection, row.trial) not in found, f"{row.protection} {row.trial} has two rows"
            found[row.protection, row.trial] = values
    return found


def attempts(rows: Iterable[Row]) -> list[AttemptRow]:
    """Give the attempts that ended without an outcome."""
    return [row for row in rows if isinstance(row, AttemptRow)]
