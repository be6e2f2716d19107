"""Run a campaign, go on with one that was stopped, or say what one would cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import msgspec

from firmware_bridge.errors import ConfigError
from hil.boards.address import targets_of
from hil.boards.bench_file import check_capabilities
from hil.campaign.board_pool import collect_with_boards
from hil.campaign.bundle import load_bundle, write_bundle
from hil.campaign.configuration import CampaignFile
from hil.campaign.experiment import Experiment
from hil.campaign.foretell import VERIFIED_SHARE, Foreteller, run_trials
from hil.campaign.heat import check_uart, run_heat
from hil.campaign.link_record import link_row
from hil.campaign.plan import Plan
from hil.campaign.record import HeatRow, Row, StopRow, TrialRow
from hil.campaign.stopping import FAILURES, looks, widest_half_width
from hil.campaign.store import HEADER_FILE, Store, read_header, read_rows, stopped_at
from hil.campaign.task import Task
from hil.campaign.task_runner import TaskRunner
from hil.campaign.workers import collect_with_workers
from hil.progress import ProgressEvent, ProgressSink
from hil.targets.session import Session
from hil.targets.target import open_session


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a campaign is run; None keeps what the campaign file says.

    ``dask`` is the address of a Dask scheduler whose workers do the trials. ``shard`` is (number, of how many): then
    every so manieth trial is done here, and the others elsewhere. ``verify`` is the share of foretold trials that the
    emulated node carries out, too (see :mod:`hil.campaign.foretell`).
    """

    target: str | None = None
    trials: int | None = None
    workers: int = 1
    shard: tuple[int, int] | None = None
    dask: str | None = None
    verify: float = VERIFIED_SHARE

    @property
    def shares_out(self) -> bool:
        """True where other processes do the trials."""
        return self.workers > 1 or self.dask is not None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"--workers {self.workers}: give 1 or more")
        if not 0.0 <= self.verify <= 1.0:
            raise ConfigError(f"--verify {self.verify}: give a share from 0 to 1")
        if self.dask is not None and self.workers > 1:
            raise ConfigError("--workers and --dask: the cluster has workers of its own; leave one of them out")
        if self.shard is not None and not 1 <= self.shard[0] <= self.shard[1]:
            raise ConfigError(f"--shard {self.shard[0]}/{self.shard[1]}: give NUMBER/OF, such as 1/3, 2/3 and 3/3")


def run_campaign(campaign: CampaignFile, *, out: Path, options: RunOptions, progress: ProgressSink) -> None:
    """Carry out a campaign and leave everything measured in ``out``.

    A directory that holds the same campaign is gone on with; one that holds another is refused.
    """
    campaign = campaign.changed(target=options.target, trials=options.trials)
    settings = campaign.campaign
    check_capabilities(settings.requires, settings.target, campaign.bench_folders)
    if options.verify != VERIFIED_SHARE and settings.target != "sim":
        raise ConfigError(
            f"--verify: on {settings.target} every trial is carried out; leave it out, or use --target sim"
        )
    if options.shares_out and len(targets_of(settings.target)) > 1:
        raise ConfigError(f"{settings.target}: each board of a pool has its own worker; leave --workers and --dask out")
    progress(ProgressEvent(stage="compile", done=0, total=0))
    experiment = Experiment.of(campaign)
    if not (out / HEADER_FILE).exists():  # the copy comes first: a directory with a header can be resumed
        write_bundle(campaign, out)
    if options.shard and campaign.stop:
        raise ConfigError("--shard: a run with [stop] decides in trial order and cannot be divided; leave one out")
    header = msgspec.structs.replace(experiment.header(), shard=options.shard)
    with Store(out, header) as store:
        collect(experiment, store, options, progress)


def resume_campaign(directory: Path, *, workers: int = 1, progress: ProgressSink) -> None:
    """Go on with the campaign of a directory; nothing happens where it is complete."""
    options = RunOptions(workers=workers, shard=read_header(directory).shard)
    run_campaign(load_bundle(directory), out=directory, options=options, progress=progress)


def plan_campaign(campaign: CampaignFile, options: RunOptions) -> Plan:
    """Give what a campaign would take, and run nothing."""
    return Plan.of(Experiment.of(campaign.changed(target=options.target, trials=options.trials)))


def collect(experiment: Experiment, store: Store, options: RunOptions, progress: ProgressSink) -> None:
    """Measure every trial that the store does not hold yet."""
    heat = experiment.campaign.heat
    if heat is not None and _holds_heat(store, heat.schedule().duration_s):
        heat = None
    stages = _stages(experiment, store)
    targets = targets_of(experiment.campaign.campaign.target)
    if options.dask is not None:
        from hil.campaign.cluster import collect_with_dask

        for missing in stages:
            collect_with_dask(
                experiment, missing, store, address=options.dask, progress=progress, verify=options.verify
            )
    elif options.workers > 1:
        for missing in stages:
            collect_with_workers(
                experiment, missing, store, workers=options.workers, progress=progress, verify=options.verify
            )
    elif len(targets) > 1:
        collect_with_boards(experiment, stages, store, targets=targets, progress=progress)
    first = next(stages, None)
    if first is None and heat is None:
        return
    with open_session(targets[0], progress, experiment.campaign.bench_folders) as session:
        if heat is not None:
            check_uart(session, heat)
        session.prepare(experiment.workload.image.to_bytes(), experiment.workload.inputs_file())
        deadline_ms = 0
        foreteller = Foreteller(experiment.workload, options.verify) if targets[0] == "sim" else None
        for missing in chain([first] if first else [], stages):
            for task in experiment.tasks:
                if trials := missing[task.name]:
                    runner = _run_task(session, task, experiment, trials, (store.append, progress), foreteller)
                    deadline_ms = max(deadline_ms, runner.deadline_ms)
        if heat is not None:
            run_heat(session, experiment, heat.schedule(), store, progress)
        store.append(link_row(session, deadline_ms))


def _stages(experiment: Experiment, store: Store) -> Iterator[dict[str, tuple[int, ...]]]:
    """Give the trials that are missing up to each look, until enough was seen; who takes them runs them.

    What is decided follows from the rows alone: a run that was resumed stops where any other one does.
    """
    header = store.header
    for end in looks(header):
        missing = missing_trials(experiment, store, end)
        if any(missing.values()):
            yield missing
        if header.stop_half_width is None or end == header.trials:
            continue
        half_width = widest_half_width(header, store.rows(), end)
        if half_width <= header.stop_half_width:
            if stopped_at(store.rows()) is None:
                store.append(StopRow(trials=end, half_width=half_width))
            return


def _run_task(
    session: Session,
    task: Task,
    experiment: Experiment,
    trials: tuple[int, ...],
    sinks: tuple[Callable[[Row], None], ProgressSink],
    foreteller: Foreteller | None,
) -> TaskRunner:
    append, progress = sinks
    total = experiment.trials
    done = before = total - len(trials)
    failures = 0

    def sink(row: Row) -> None:
        nonlocal done, failures
        append(row)
        note = ""
        if isinstance(row, TrialRow):
            done += 1
            failures += row.outcome in FAILURES
        else:
            note = getattr(row, "reason", "")
        failing = (task.name, failures, done - before) if done > before else None
        progress(ProgressEvent(stage=task.name, done=done, total=total, note=note, failing=failing))

    return run_trials(TaskRunner(session, task, experiment.workload, sink), trials, foreteller)


def missing_trials(experiment: Experiment, store: Store, end: int) -> dict[str, tuple[int, ...]]:
    """Give the trials of every protection before number ``end`` that have no row yet, in order."""
    held: dict[str, set[int]] = {task.name: set() for task in experiment.tasks}
    for row in store.rows():
        if isinstance(row, TrialRow):
            held[row.protection].add(row.trial)
    number, shards = store.header.shard or (1, 1)
    wanted = range(number - 1, end, shards)
    return {name: tuple(trial for trial in wanted if trial not in trials) for name, trials in held.items()}


def missing_trials_of(directory: Path) -> int:
    """Give how many trials a results directory has no row of yet."""
    header = read_header(directory)
    trials = stopped_at(read_rows(directory)) or header.trials
    wanted = {task.name: trials for task in header.tasks}
    done = {(row.protection, row.trial) for row in read_rows(directory) if isinstance(row, TrialRow)}
    return sum(wanted.values()) - sum(trial < wanted.get(name, 0) for name, trial in done)


def _holds_heat(store: Store, duration_s: float) -> bool:
    """True where the loop of heat was written down to its end; one that a full disk cut short is run again."""
    return any(isinstance(row, HeatRow) and row.wall_s >= duration_s for row in store.rows())
