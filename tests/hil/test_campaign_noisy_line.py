"""A line that flips bits and loses bursts completes a campaign with the same outcomes, and counts its repairs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.line import LineSpec, NoisyLine
from hil.campaign.experiment import Experiment
from hil.progress import silent
from hil.targets.link_session import LinkSession
from hil.targets.sim_session import SimSession
from node.serve import serve_in_thread
from node.service import Service
from tests.campaigns import attempts, campaign, essence, rows_of

NAMES = ("none", "hsiao_72_64 + checkpoint", "tmr")
BAD = LineSpec(bit_error_rate=1e-4, deletion_rate=1e-5)


class NoisyHost:
    """A node in a thread at the far end of a bad pseudo-terminal line."""

    url = "noisy"

    def __init__(self, storage: Path, spec: LineSpec, seed: int) -> None:
        self._storage = storage
        self._spec = spec
        self._seed = seed
        self._open = ExitStack()

    def connect(self) -> Bridge:
        line = self._open.enter_context(NoisyLine(self._spec, seed=self._seed, kind="pty"))
        storage = self._storage
        self._open.enter_context(serve_in_thread(line.far, lambda: Service(storage, in_process=True), storage))
        channel = Channel(line.near, "host")
        channel.wait_established(20.0)
        return Bridge(channel)

    def close(self) -> None:
        self._open.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_bad_line_changes_no_outcome(seed: int, tmp_path: Path) -> None:
    experiment = Experiment.of(campaign(tmp_path, trials=60))
    with SimSession() as session:
        reference = essence(rows_of(experiment, session, names=NAMES))
    with LinkSession(NoisyHost(tmp_path / "storage", BAD, seed), silent) as session:
        rows = rows_of(experiment, session, names=NAMES)
        counters = session.counters()
    assert essence(rows) == reference
    assert attempts(rows) == []
    assert counters["bad_crc"] + counters["bad_cobs"] + counters["bad_length"] > 0
    assert counters["retransmitted"] > 0
