"""A campaign made ready: the compiled workload, what nature does to it, and one task a protection."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata

from firmware_bridge.errors import ConfigError, DataError
from firmware_bridge.streams import MAX_MESSAGE
from hil.campaign.configuration import CampaignFile
from hil.campaign.record import SCHEMA_VERSION, Header, RegionRecord, TaskRecord, TensorRecord
from hil.campaign.task import Nature, Task
from hil.campaign.workload import Workload, load_workload
from hil.strikes import SHARED
from node.model.accumulators import accumulator_bytes
from node.model.image import TensorSpec

INFERENCE_BYTES = 5
"""What the protocol adds to each output of a run: how it was delivered, and its length."""
MESSAGE_BYTES = 128
"""All else that a run's result holds, rounded up."""
MOST_FAULTS = 20_000
"""Faults of a strike that a message is sure to hold, whatever their region is called."""

VERSIONED = ("flightnode", "numpy", "numba", "onnx", "pyserial", "crcmod-plus")


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """Everything that a campaign file describes, prepared once and used by every executor."""

    campaign: CampaignFile
    workload: Workload
    nature: Nature
    tasks: tuple[Task, ...]

    @classmethod
    def of(cls, campaign: CampaignFile) -> Experiment:
        """Compile the model, compute the golden outputs and lay out every task."""
        workload = load_workload(campaign)
        if campaign.fault_model.in_accumulators and not accumulator_bytes(workload.image):
            raise DataError(
                f"model {workload.image.name!r} has no sums of products and no means: fault model "
                f"{campaign.fault_model.name!r} strikes nothing; choose others"
            )
        nature = Nature.of(
            workload,
            campaign.fault_model,
            campaign.struck_regions,
            seed=campaign.campaign.seed,
            inferences=campaign.campaign.inferences,
        )
        _check_message_sizes(campaign, workload)
        tasks = tuple(Task.of(entry, workload, nature) for entry in campaign.protections)
        return cls(campaign=campaign, workload=workload, nature=nature, tasks=tasks)

    @property
    def trials(self) -> int:
        """Trials per protection."""
        return self.campaign.campaign.trials

    def task(self, name: str) -> Task | None:
        """Give the task of that protection, or None."""
        return next((task for task in self.tasks if task.name == name), None)

    def header(self) -> Header:
        """Give what stands at the head of the results."""
        settings, image, rate = self.campaign.campaign, self.workload.image, self.campaign.rate
        stop = self.campaign.stop
        return Header(
            schema=SCHEMA_VERSION,
            name=settings.name,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=settings.seed,
            trials=settings.trials,
            inferences=settings.inferences,
            target=settings.target,
            workload=self.campaign.workload.label,
            workload_digest=self.workload.digest,
            model_name=image.name,
            model_digest=image.digest,
            critical=self.workload.critical_name,
            n_inputs=self.workload.n_inputs,
            step_names=tuple(image.step_names),
            tensors=_tensor_records(image.tensors, 0),
            states=_tensor_records(image.states, image.state_offset),
            fault_model=self.nature.model.to_json(),
            strike_key=self.nature.key,
            strike_regions=tuple(self.nature.regions),
            rate_per_bit_day=None if rate is None else (rate.low, rate.best, rate.high),
            versions=versions(),
            tasks=tuple(_task_record(task) for task in self.tasks),
            demand_per_day=None if rate is None else rate.demand_per_day,
            stop_half_width=None if stop is None else stop.half_width,
            stop_least_trials=0 if stop is None else stop.least_trials,
            inference_s=None if rate is None else rate.inference_s,
            board_crashes_per_day=None if rate is None else rate.crashes_per_day,
            board_crashes_source="" if rate is None else rate.crash_source,
        )


def _tensor_records(specs: tuple[TensorSpec, ...], start: int) -> tuple[TensorRecord, ...]:
    """Give what lies in a region that begins at byte ``start`` of the arena."""
    return tuple(
        TensorRecord(
            name=spec.name,
            step=spec.step,
            dtype=spec.dtype,
            offset=spec.offset - start,
            size_bytes=spec.size_bytes,
        )
        for spec in specs
    )


def most_inferences(workload: Workload) -> int:
    """Give how many inferences a run may have so that their outputs fit into one message of the link."""
    return (MAX_MESSAGE - MESSAGE_BYTES) // (INFERENCE_BYTES + len(workload.golden[0]))


def _check_message_sizes(campaign: CampaignFile, workload: Workload) -> None:
    """Refuse what would not fit into the messages of a run, on every target alike."""
    most = most_inferences(workload)
    if campaign.campaign.inferences > most:
        raise ConfigError(
            f"[campaign]: inferences = {campaign.campaign.inferences}: outputs of {len(workload.golden[0])} bytes go "
            f"into one message of the link up to {most} times; give that or less"
        )
    cluster = max(size for size, _ in campaign.fault_model.cluster_sizes)
    if cluster > MOST_FAULTS:
        raise ConfigError(
            f"[strikes]: a cluster of {cluster} cells does not fit into one message (at most {MOST_FAULTS}); "
            "give smaller cluster_sizes"
        )


def _task_record(task: Task) -> TaskRecord:
    struck = {cells.region for cells in (*task.space.cells_of(SHARED), *task.space.own)}
    return TaskRecord(
        name=task.name,
        control=task.control,
        task_id=task.task_id,
        protection=task.protection.to_json(),
        temperature_c=task.temperature_c,
        mean_strikes=task.mean_strikes,
        regions=tuple(
            RegionRecord(
                name=region.name,
                kind=region.kind,
                size_bytes=region.size_bytes,
                own=region.own,
                technology=region.technology,
                struck=region.name in struck,
            )
            for region in task.layout
        ),
    )


def versions() -> dict[str, str]:
    """Give the versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
