"""Scrubbing by the clock in a real computer, its end where time is logical, and a line that is blocked."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hil
from firmware_bridge import messages as m
from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.errors import ConfigError
from firmware_bridge.loading import BlobKind
from firmware_bridge.transport import open_pty
from hil.campaign.configuration import load_campaign
from hil.campaign.workload import load_workload
from hil.scaffold import CAMPAIGN_FILE, EXAMPLES
from hil.workloads import digits
from node.background import accumulation_of, background_scrub, check_background
from node.computer import Computer
from node.ecc.pacing import Pacer
from node.model.image import Image
from node.protection import OnDetected, Protection
from node.service import Service


@pytest.fixture(scope="module")
def image() -> Image:
    return hil.compile_model(digits("int8").model_path)


class Clock:
    """Virtual seconds that pass by being asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1e-5
        return self.now_s


def scrubbed(computer: Computer, seconds: float) -> Pacer:
    clock = Clock()
    pacer = background_scrub(computer, clock)
    assert pacer is not None
    work_until(pacer, clock, seconds)
    return pacer


def work_until(pacer: Pacer, clock: Clock, end_s: float) -> None:
    while clock.now_s < end_s:
        if pacer.work() is None:
            clock.now_s = min(end_s, clock.now_s + pacer.wait_s)


def test_an_error_is_repaired_within_a_period(image: Image) -> None:
    with Computer(image, protection=Protection(code="hsiao_72_64", scrub_period=0, scrub_seconds=2.0)) as computer:
        for word in (0, 700, 1936):
            computer.arena.flip("weights", 64 * word + 5)
        pacer = scrubbed(computer, 2.1)
        assert pacer.slices > 5
        assert computer.counters.corrected_words == 3
        assert computer.scrub().clean


def test_the_pace_follows_what_the_code_corrects(image: Image) -> None:
    """A target is held by faster passes in a storm of upsets, counted on real memory by the real code."""
    protection = Protection(code="hsiao_72_64", scrub_period=0, scrub_target=0.02)
    with Computer(image, protection=protection) as computer:
        clock = Clock()
        pacer = background_scrub(computer, clock)
        assert pacer is not None
        passes = {}
        for weather, upsets in (("settling", 0), ("quiet", 0), ("storm", 200)):
            begin, before = clock.now_s, pacer.slices
            for second in range(100):
                for upset in range(second * upsets // 100, (second + 1) * upsets // 100):
                    computer.arena.flip("weights", 64 * upset + 7)
                work_until(pacer, clock, begin + second + 1)
            passes[weather] = pacer.slices - before
        assert passes["storm"] > 20 * passes["quiet"] > 0
        work_until(pacer, clock, clock.now_s + 1.0)
        assert computer.counters.corrected_words == 200
        assert computer.counters.detected_words == 0


def test_what_cannot_be_corrected_is_loaded_again_where_that_is_the_answer(image: Image) -> None:
    answers = {OnDetected.STOP: False, OnDetected.RELOAD: True}
    for answer, repaired in answers.items():
        protection = Protection(code="hsiao_72_64", scrub_share=0.5, on_detected=answer)
        with Computer(image, protection=protection) as computer:
            computer.arena.flip("weights", 640)
            computer.arena.flip("weights", 650)
            scrubbed(computer, 0.2)
            assert computer.counters.detected_words >= 1
            assert (computer.arena.view("weights").tobytes() == image.weights) is repaired


def test_no_pace_means_no_scrub_and_a_target_needs_a_code_that_corrects(image: Image) -> None:
    with Computer(image, protection=Protection(code="hsiao_72_64")) as computer:
        assert background_scrub(computer) is None
    with pytest.raises(ConfigError, match="'parity': it corrects nothing"):
        check_background(Protection(code="parity", scrub_target=1e-6))
    check_background(Protection(code="tmr", scrub_target=1e-6))
    with Computer(image, protection=Protection(code="rs_255_223", scrub_target=1e-6)) as computer:
        memory = accumulation_of(computer)
        assert (memory.symbols, memory.symbol_bits, memory.corrects) == (255, 8, 16)
        assert memory.codewords == pytest.approx(len(image.weights) / 223)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scrub_seconds": 1.0, "scrub_share": 0.1}, "both given; choose one pace"),
        ({"scrub_share": 1.0}, "give a share below 1"),
        ({"scrub_target": -0.1}, "scrub_target = -0.1"),
        ({"scrub_seconds": float("inf")}, "give seconds"),
        ({"scrub_slice": 63}, "give 64 words or more"),
        ({"code": "none", "scrub_seconds": 1.0}, "name a code"),
    ],
)
def test_paces_that_make_no_sense_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Protection(**({"code": "hsiao_72_64"} | fields))


def test_a_run_in_logical_time_ends_it_and_a_reset_begins_it_again(image: Image, tmp_path: Path) -> None:
    workload = load_workload(load_campaign(EXAMPLES / CAMPAIGN_FILE))
    (tmp_path / "image").write_bytes(image.to_bytes())
    (tmp_path / "inputs").write_bytes(workload.inputs_file())
    service = Service(tmp_path, in_process=True)
    assert service.background_wait_s is None
    service.load_image(tmp_path / "image")
    service.load_inputs(tmp_path / "inputs")
    service.handle(m.Configure(protection=Protection(code="hsiao_72_64", scrub_seconds=0.001).to_json()))
    assert service.background_wait_s is not None
    service.handle(m.Run(run_id=1, inputs=(0,)))
    assert service.background_wait_s is None
    service.work_in_background()
    service.handle(m.Reset())
    assert service.background_wait_s is not None
    service.close()


# ---- a line that is blocked ------------------------------------------------------------------------------------


class Node:
    """A node behind a real pseudo-terminal, whose output can be stopped by the terminal's own flow control."""

    def __init__(self, storage: Path) -> None:
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(storage / "notify"))
        self._notify.setblocking(False)
        master, path = open_pty()
        self._terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
        command = [sys.executable, "-m", "node", "serve", "--no-warm-up", "--port", f"pty:{path}"]
        environment = os.environ | {"NOTIFY_SOCKET": str(storage / "notify"), "WATCHDOG_USEC": "200000"}
        self.log_path = storage / "log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--storage", str(storage / "node")], env=environment, stdout=log, stderr=log
            )
        self.line = master
        channel = Channel(master, "host")
        channel.wait_established(30.0)
        self.bridge = Bridge(channel, silence_s=20.0)

    def block(self) -> None:
        termios.tcflow(self._terminal, termios.TCOOFF)

    def unblock(self) -> None:
        termios.tcflow(self._terminal, termios.TCOON)

    def signs_of_life(self) -> int:
        """How often the loop has told the service manager since the last call that it goes round."""
        count = 0
        while True:
            try:
                count += self._notify.recv(100) == b"WATCHDOG=1"
            except BlockingIOError:
                return count

    def close(self) -> None:
        self.bridge.close()
        self._process.terminate()
        self._process.wait(10)
        os.close(self._terminal)
        self._notify.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    found = Node(tmp_path)
    yield found
    found.close()


def test_a_blocked_line_stalls_neither_scrub_nor_code_nor_watchdog(node: Node, image: Image) -> None:
    """A word is struck twice, many periods apart: had the scrub stood still, it could not be corrected any more."""
    workload = load_workload(load_campaign(EXAMPLES / CAMPAIGN_FILE))
    node.bridge.load(BlobKind.IMAGE, image.to_bytes())
    node.bridge.load(BlobKind.INPUTS, workload.inputs_file())
    node.bridge.configure(Protection(code="hsiao_72_64", scrub_seconds=0.1).to_json(), deadline_ms=500)
    boot_id = node.bridge.hello().boot_id
    node.block()
    node.signs_of_life()
    lives: list[int] = []
    released_with: list[str] = []

    def requests() -> Iterator[m.Request]:
        yield m.Inject(faults=(m.Fault(strike=0, region="weights", bit=6400),))
        time.sleep(0.8)
        yield m.Inject(faults=(m.Fault(strike=1, region="weights", bit=6401),))
        time.sleep(0.8)
        yield m.TelemetryRequest()
        yield m.Inject(faults=(m.Fault(strike=2, region="process", bit=1, kind=m.FaultKind.INTERRUPT),))
        time.sleep(1.5)
        lives.append(node.signs_of_life())
        released_with.append(node.log_path.read_text())
        assert not select.select([node.line], [], [], 0.0)[0], "the line lets something through"
        node.unblock()

    (_, first), (_, second), (_, telemetry), (_, hung) = node.bridge.ask_many(requests(), window=10)
    assert isinstance(first, m.Injected)
    assert isinstance(second, m.Injected)
    assert isinstance(telemetry, m.Telemetry)
    assert (telemetry.corrected_words, telemetry.detected_words) == (2, 0)
    assert lives[0] > 10  # every 0.1 s, for 3 s
    assert isinstance(hung, m.Abnormal)
    assert hung.kind is m.AbnormalKind.HANG
    assert hung.boot_id != boot_id
    assert "no answer within 500 ms" in released_with[0]  # the watchdog had barked while the line was blocked
