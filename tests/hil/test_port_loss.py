"""A port that vanishes in the middle of a campaign and comes back under another name changes no result."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from firmware_bridge import transport
from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import PortError
from firmware_bridge.transport import memory_pair, open_transport
from hil.boards.bench_file import Board as BenchBoard
from hil.boards.bench_file import board_url
from hil.campaign.experiment import Experiment
from hil.campaign.record import TrialRow
from hil.progress import silent
from hil.targets.hosts import Board
from hil.targets.link_session import LinkSession
from hil.targets.sim_session import SimSession
from node.serve import serve_in_thread
from node.service import Service
from tests import proof
from tests.cable import SERIAL_NUMBER, USB_PATH, Cable
from tests.campaigns import campaign, essence, rows_of
from tests.fake_node import FakeNode

NAMES = ("hsiao_72_64",)
FOUND_WITHIN_S = proof.count(10, 1)
"""A machine that runs many tests at once may take its time."""


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch):
    """A cable whose far end the test gives a node."""
    near, far = memory_pair()
    with Cable(near) as cable:
        monkeypatch.setattr(transport, "list_ports", cable.ports)
        yield cable, far


@pytest.mark.parametrize("mark", [{"serial_number": SERIAL_NUMBER}, {"usb_path": USB_PATH}], ids=str)
def test_found_again_under_another_name_within_a_second(plugged, mark) -> None:
    cable, far = plugged
    url = board_url(BenchBoard(name="pi", **mark), cable.ports)
    with FakeNode(far), Bridge.connect(url, recover_s=20.0) as bridge:
        first = cable.path
        assert bridge.telemetry().state == "ready"
        cable.unplug()
        returned_s: list[float] = []

        def come_back() -> None:
            time.sleep(0.5)
            with open_transport("pty:"):  # takes the number that is free now
                cable.plug()
            returned_s.append(time.monotonic())

        thread = threading.Thread(target=come_back)
        thread.start()
        assert bridge.telemetry().state == "ready"
        took_s = time.monotonic() - returned_s[0]
        thread.join()
        assert took_s < FOUND_WITHIN_S
        assert cable.path != first
        assert len(bridge.boot_ids) == 1, "the node was there all the time"


def test_an_adapter_that_is_away_is_named_by_its_mark(plugged) -> None:
    cable, _ = plugged
    url = board_url(BenchBoard(name="pi", serial_number=SERIAL_NUMBER), cable.ports)
    cable.unplug()
    with pytest.raises(PortError, match=f"adapter {SERIAL_NUMBER}, last seen at /dev/pts/.*: no port has these marks"):
        open_transport(url)


@pytest.mark.proof
def test_a_campaign_counts_every_trial_once_whenever_the_port_vanishes(plugged, tmp_path: Path) -> None:
    cable, far = plugged
    random = Random(11)
    cuts = proof.count(4, 100)
    experiment = Experiment.of(campaign(tmp_path, trials=40 * cuts, regions=("weights",)))
    with SimSession() as session:
        reference = essence(rows_of(experiment, session, names=NAMES))
    url = board_url(BenchBoard(name="pi", serial_number=SERIAL_NUMBER), cable.ports)
    storage = tmp_path / "storage"
    done = threading.Event()
    made = 0

    def pull() -> None:
        nonlocal made
        while made < cuts and not done.wait(0.25 + 0.5 * random.random()):
            cable.unplug()
            made += 1
            time.sleep(0.1 * random.random())
            cable.plug()

    with (
        serve_in_thread(far, lambda: Service(storage, in_process=True), storage),
        LinkSession(Board(url), silent) as session,
    ):
        puller = threading.Thread(target=pull)
        puller.start()
        rows = rows_of(experiment, session, names=NAMES)
        done.set()
        puller.join()
        sessions = session.counters()["sessions"]
    trials = Counter(row.trial for row in rows if isinstance(row, TrialRow))
    assert made >= min(cuts, 2)
    assert sessions > made
    assert set(trials.values()) == {1}
    assert essence(rows) == reference
