"""A campaign on a Dask cluster of two workers: the same results as in one process."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from firmware_bridge.errors import ConfigError, DataError, PortError
from hil.campaign import cluster
from hil.campaign.cluster import measure_chunk, pack_bundle
from hil.campaign.collect import RunOptions, run_campaign
from hil.campaign.experiment import Experiment
from hil.campaign.record import LinkRow
from hil.campaign.store import read_rows
from hil.progress import silent
from hil.report import summarise, to_json, without_times
from tests.campaigns import campaign, essence, run

TMR = '\n[[protection]]\nname = "tmr"\ncode = "tmr"\n'
distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_two_workers_give_the_results_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.campaign.workers.CHUNK_TRIALS", 4)
    described = campaign(tmp_path, trials=12, protections=TMR)
    alone = essence(run(described, tmp_path / "alone"))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path / "dask")
    ) as local:
        options = RunOptions(dask=local.scheduler_address)
        run_campaign(described, out=tmp_path / "dask-run", options=options, progress=silent)
    rows = list(read_rows(tmp_path / "dask-run"))
    assert essence(rows) == alone
    assert 1 <= sum(isinstance(row, LinkRow) for row in rows) <= 2
    one, other = (without_times(to_json(summarise(tmp_path / name))) for name in ("alone", "dask-run"))
    assert json.dumps(one) == json.dumps(other)


def test_a_chunk_is_measured_from_the_packed_campaign_alone(tmp_path: Path) -> None:
    described = campaign(tmp_path, trials=5, protections=TMR)
    whole = essence(run(described, tmp_path / "run"))
    task = Experiment.of(described).task("tmr")
    packed = pack_bundle(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    chunks = [measure_chunk(packed, "sim", ("tmr", task.task_id), trials) for trials in ((3, 1), (4,))]
    found = essence([row for chunk in chunks for row in chunk.rows])
    assert found == {key: whole[key] for key in (("tmr", 3), ("tmr", 1), ("tmr", 4))}
    assert len(cluster._workers) == 1
    with pytest.raises(DataError, match="another version"):
        measure_chunk(packed, "sim", ("tmr", "0" * 16), (0,))


def test_a_scheduler_that_is_not_there_is_a_lost_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(PortError, match="no scheduler answers"):
            run_campaign(
                campaign(tmp_path, trials=1), out=tmp_path / "run", options=RunOptions(dask=address), progress=silent
            )


def test_one_board_is_no_cluster(tmp_path: Path) -> None:
    options = RunOptions(dask="tcp://127.0.0.1:1", target="tcp://127.0.0.1:2")
    with pytest.raises(ConfigError, match="one node"):
        run_campaign(campaign(tmp_path, trials=1), out=tmp_path / "run", options=options, progress=silent)
    with pytest.raises(ConfigError, match="leave one of them out"):
        RunOptions(dask="tcp://127.0.0.1:1", workers=2)
