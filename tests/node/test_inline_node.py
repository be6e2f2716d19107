"""A whole node in a thread: the same supervisor, with a computer that raises where a process would die."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.errors import ConfigError, LinkError, Refused
from firmware_bridge.loading import BlobKind
from firmware_bridge.messages import Abnormal, AbnormalKind, Done, Message, Progress, Run
from firmware_bridge.transport import memory_pair
from node.agent import Preparation, ProgressSink, Resident
from node.runners import Ended, InlineComputer
from node.serve import serve_in_thread
from tests.node.standin_node import Act, StandinService, result


@contextmanager
def inline_node(
    storage: Path,
    factory: Callable[[], StandinService] = StandinService,
    prepare: Preparation | None = None,
    log: list[str] | None = None,
) -> Iterator[Bridge]:
    host, far = memory_pair()
    lines = log if log is not None else []
    with (
        serve_in_thread(far, factory, storage, prepare=prepare, log=lines.append),
        Bridge(Channel(host, "host")) as bridge,
    ):
        yield bridge


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Bridge]:
    with inline_node(tmp_path) as bridge:
        yield bridge


def run(bridge: Bridge, act: Act, run_id: int = 1) -> Message:
    return bridge.run(Run(run_id=run_id, inputs=(act,)))


def test_requests_are_answered(bridge: Bridge) -> None:
    assert bridge.hello().state == "ready"
    assert run(bridge, Act.ANSWER, 5) == result(5)


@pytest.mark.parametrize(
    ("act", "kind", "detail"),
    [
        (Act.TRAP, AbnormalKind.CRASH, "step 4 points outside the memory"),
        (Act.TRAP_HANG, AbnormalKind.HANG, "it would hang"),
    ],
)
def test_an_abnormal_end_makes_a_fresh_computer(bridge: Bridge, act: Act, kind: AbnormalKind, detail: str) -> None:
    bridge.load(BlobKind.IMAGE, b"image")
    bridge.load(BlobKind.INPUTS, b"inputs")
    bridge.configure("guarded")
    held = bridge.telemetry().state
    before = bridge.hello()
    reply = run(bridge, act)
    after = bridge.hello()
    assert reply == Abnormal(kind=kind, detail=detail, boot_id=after.boot_id)
    assert after.boot_id != before.boot_id
    assert after.agent_id == before.agent_id
    assert bridge.telemetry().state == held == "5 6 guarded"


def test_runs_in_a_pipeline_stay_in_order(bridge: Bridge) -> None:
    acts = [Act.ANSWER, Act.TRAP, Act.ANSWER, Act.TRAP_HANG, Act.ANSWER] * 8
    runs = [Run(run_id=number, inputs=(act,)) for number, act in enumerate(acts)]
    replies = list(bridge.run_many(runs, window=20))
    assert [isinstance(reply, Abnormal) for _, reply in replies] == [act is not Act.ANSWER for act in acts]
    assert all(reply == result(one.run_id) for one, reply in replies if not isinstance(reply, Abnormal))


def test_errors_of_the_project_are_refusals(bridge: Bridge) -> None:
    with pytest.raises(Refused, match="this image is refused"):
        bridge.load(BlobKind.IMAGE, b"refuse")
    with pytest.raises(Refused, match="inputs before the image"):
        bridge.load(BlobKind.INPUTS, b"inputs")
    with pytest.raises(Refused, match="does not answer Scrub"):
        bridge.scrub()


def test_a_bug_in_the_service_surfaces_in_the_host(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError, match="a bug in the service"),
        inline_node(tmp_path) as bridge,
        pytest.raises(LinkError),
    ):
        run(bridge, Act.BUG)


def test_progress_of_the_preparation_reaches_the_host_meanwhile(tmp_path: Path) -> None:
    heard = threading.Event()
    stages: list[Progress] = []

    def prepare(progress: ProgressSink) -> None:
        while not heard.is_set():  # ends only because the host has heard of it
            progress(Progress(stage="compiling", done=1, total=2))
            time.sleep(0.01)

    def hear(progress: Progress) -> None:
        stages.append(progress)
        heard.set()

    with inline_node(tmp_path, prepare=prepare) as bridge:
        bridge.progress = hear
        assert run(bridge, Act.ANSWER) == result(1)
    assert stages[0] == Progress(stage="compiling", done=1, total=2)


def test_a_service_that_cannot_be_made_is_refused_with_its_reason(tmp_path: Path) -> None:
    def broken() -> StandinService:
        raise ConfigError("no such sensor")

    with inline_node(tmp_path, broken) as bridge:
        with pytest.raises(Refused, match=r"computer does not start.*no such sensor"):
            run(bridge, Act.ANSWER)
        assert bridge.hello().state == "down"


def test_the_thread_ends_with_its_context(tmp_path: Path) -> None:
    log: list[str] = []
    with inline_node(tmp_path, log=log) as bridge:
        bridge.hello()
        assert "flightnode" in [thread.name for thread in threading.enumerate()]
    assert "flightnode" not in [thread.name for thread in threading.enumerate()]
    assert log[0].startswith("serving memory")


def test_the_thread_ends_though_the_host_keeps_its_end_open(tmp_path: Path) -> None:
    host, far = memory_pair()
    with host, serve_in_thread(far, StandinService, tmp_path):
        pass
    assert "flightnode" not in [thread.name for thread in threading.enumerate()]


def test_two_nodes_in_one_process_do_not_meet(tmp_path: Path) -> None:
    with ExitStack() as stack:
        bridges = [stack.enter_context(inline_node(tmp_path / name)) for name in ("a", "b")]
        bridges[0].load(BlobKind.IMAGE, b"12345")
        bridges[1].load(BlobKind.IMAGE, b"1")
        assert [bridge.telemetry().state for bridge in bridges] == ["5 0 ", "1 0 "]


# ---- the parts below -------------------------------------------------------------------------------------------


class Counted(StandinService):
    made = 0
    closed = 0

    def __init__(self) -> None:
        super().__init__()
        Counted.made += 1

    def close(self) -> None:
        Counted.closed += 1


def test_a_resident_closes_what_it_replaces(tmp_path: Path) -> None:
    Counted.made = Counted.closed = 0
    resident = Resident(Counted, tmp_path)
    assert resident.answer(Run(run_id=1, inputs=(Act.TRAP,))) == Abnormal(
        kind=AbnormalKind.CRASH, detail="step 4 points outside the memory", boot_id=0
    )
    assert (Counted.made, Counted.closed) == (2, 1)
    resident.close()
    assert (Counted.made, Counted.closed) == (2, 2)


def test_the_inline_computer_says_done_when_it_is_ready(tmp_path: Path) -> None:
    computer = InlineComputer(StandinService, tmp_path)
    assert computer.events() == []
    assert computer.patience_s is None
    computer.start()
    assert computer.patience_s == 0.0
    assert computer.events() == [Done()]
    computer.submit(Run(run_id=4, inputs=(Act.ANSWER,)))
    assert computer.events() == [result(4)]
    assert computer.events() == []
    computer.close()


def test_the_inline_computer_tells_why_it_did_not_start(tmp_path: Path) -> None:
    def broken() -> StandinService:
        raise ConfigError("no such sensor")

    computer = InlineComputer(broken, tmp_path)
    computer.start()
    assert computer.events() == [Ended(detail="no such sensor")]


def test_the_nodes_clock_is_known_within_what_is_said(bridge: Bridge) -> None:
    found = bridge.synchronise()
    assert abs(found.offset_s) <= found.uncertainty_s < 1.0  # a thread of this process has this process's clock
