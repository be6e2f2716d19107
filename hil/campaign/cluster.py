"""A campaign on a Dask cluster: its scheduler shares the trials out, each worker drives a node of its own."""

from __future__ import annotations

import importlib
import io
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from firmware_bridge.errors import ConfigError, DataError, Interrupted, PortError
from hil.campaign.bundle import BUNDLE_FOLDER
from hil.campaign.experiment import Experiment
from hil.campaign.foretell import VERIFIED_SHARE
from hil.campaign.store import Store
from hil.campaign.workers import Chunk, Worker, chunked, keep_chunks
from hil.progress import ProgressSink
from hil.targets.target import can_be_multiplied

CONNECT_TIMEOUT_S = 10


def collect_with_dask(
    experiment: Experiment,
    missing: Mapping[str, tuple[int, ...]],
    store: Store,
    *,
    address: str,
    progress: ProgressSink,
    verify: float = VERIFIED_SHARE,
) -> None:
    """Carry out the missing trials on the workers of a Dask cluster; this process alone writes.

    The campaign goes to the workers with its files; they need the same version of this package, nothing else.

    Parameters
    ----------
    address : str
        Of the scheduler: ``tcp://host:8786``.

    Raises
    ------
    ConfigError
        The target is one board, or the extra ``dask`` is not installed.
    PortError
        No scheduler answers there.
    Interrupted
        Workers or scheduler died on the way; what was measured is kept.
    """
    target = experiment.campaign.campaign.target
    if not can_be_multiplied(target):
        raise ConfigError(f"--dask {address}: {target} is one node; leave --dask out, or use --target sim or pty")
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise PortError(f"--dask {address}: no scheduler answers there ({error}); start `dask scheduler`") from None
    lost = (distributed.KilledWorker, distributed.client.FutureCancelledError, distributed.comm.CommClosedError)
    with client:
        chunks = _chunks(client, experiment, missing, store.directory, verify)
        try:
            keep_chunks(chunks, experiment, missing, store, progress)
        except lost as error:
            raise Interrupted(
                f"--dask {address}: the cluster was lost ({error}); what was measured is kept: "
                f"call it again, or `hil resume {store.directory}`"
            ) from None


def _distributed() -> Any:
    """Import the package, whose calls have no types, when it is needed."""
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise ConfigError("--dask needs the extra dask: pip install 'flightnode[dask]'") from None


def _chunks(
    client: Any, experiment: Experiment, missing: Mapping[str, tuple[int, ...]], directory: Path, verify: float
) -> Iterator[Chunk]:
    distributed = _distributed()
    campaign = client.scatter(pack_bundle(directory), broadcast=True)
    target = experiment.campaign.campaign.target
    ids = {task.name: task.task_id for task in experiment.tasks}
    futures = [
        client.submit(measure_chunk, campaign, target, (name, ids[name]), trials, verify, pure=False)
        for name, trials in chunked(missing)
    ]
    for future in distributed.as_completed(futures, loop=client.loop):
        yield future.result()
        future.release()  # or the cluster would keep every row until the end


def pack_bundle(directory: Path) -> bytes:
    """Give the campaign that a results directory was made with, with its files, as one archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(directory / BUNDLE_FOLDER, BUNDLE_FOLDER)
    return archive.getvalue()


_workers: dict[tuple[str, str, float], Worker] = {}
_one_at_a_time = threading.Lock()
"""A worker may have several threads; its node has one line."""


def measure_chunk(
    campaign: bytes, target: str, task: tuple[str, str], trials: tuple[int, ...], verify: float = VERIFIED_SHARE
) -> Chunk:
    """Carry out trials on this worker; what is prepared for the first chunk serves the others.

    Parameters
    ----------
    campaign : bytes
        From :func:`pack_bundle`.
    target : str
        Which kind of node to make here.
    task : tuple of (str, str)
        Name and task_id of the protection.
    trials : tuple of int
        Which trials.
    verify : float
        See :class:`hil.campaign.foretell.Foreteller`.

    Raises
    ------
    DataError
        This worker's software gives the task another task_id: its outcomes would not belong to the campaign.
    """
    key = (sha256(campaign).hexdigest(), target, verify)
    with _one_at_a_time:
        if key not in _workers:
            directory = Path(tempfile.mkdtemp(prefix="flightnode-dask-"))
            with tarfile.open(fileobj=io.BytesIO(campaign)) as tar:
                tar.extractall(directory, filter="data")
            _workers[key] = Worker(directory, target, verify)
        name, task_id = task
        worker = _workers[key]
        if worker.task_id(name) != task_id:
            raise DataError(f"{name}: this Dask worker has another version of flightnode; install the same everywhere")
        return worker.collect(name, trials)
