"""Real processes over real pseudo-terminals: how the node lives, dies and tells of it."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from firmware_bridge import codec
from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.crc import crc32
from firmware_bridge.errors import PortError, Refused
from firmware_bridge.loading import BlobKind, LoadBegin, LoadChunk, LoadStatus
from firmware_bridge.messages import Abnormal, AbnormalKind, Message, Run, RunResult, Telemetry, TelemetryRequest
from firmware_bridge.transport import open_pty, open_transport
from tests.node.standin_node import Act, result

STANDIN = [sys.executable, str(Path(__file__).with_name("standin_node.py"))]
REPO = Path(__file__).parents[2]
LONG_S = 20.0
HEAVY = ("numpy", "numba", "llvmlite", "onnx")


def until(holds: Callable[[], object], timeout_s: float = LONG_S) -> None:
    end_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """A zombie is dead: it only waits for its parent to look."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Node:
    """A node process at the other end of a pseudo-terminal, and the bridge to it."""

    def __init__(self, storage: Path, command: list[str] | None = None) -> None:
        self.storage = storage
        self._command = command or [*STANDIN, "serve", "{url}", str(storage)]
        self._cleanup = ExitStack()
        self.log_path = storage.parent / f"{storage.name}.log"
        self.start()

    def start(self) -> None:
        master, path = open_pty()
        log = self._cleanup.enter_context(self.log_path.open("ab"))
        self.process = subprocess.Popen(
            [word.format(url=f"pty:{path}") for word in self._command],
            stderr=log,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(REPO)},
        )
        self._cleanup.callback(self._end)
        self.channel = Channel(master, "host")
        self.bridge = Bridge(self.channel)
        self.channel.wait_established(LONG_S)

    def _end(self) -> None:
        self.bridge.close()
        assert self.process.stdout is not None
        if self.process.poll() is None:
            try:
                self.process.wait(LONG_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self.process.stdout.close()

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def child(self) -> int:
        return self.bridge.telemetry().uptime_ms

    def held(self) -> str:
        return self.bridge.telemetry().state

    def run(self, act: Act, run_id: int = 1) -> RunResult | Abnormal:
        return self.bridge.run(Run(run_id=run_id, inputs=(act,)))

    def submit(self, message: Message) -> int:
        return self.bridge._submit(message)  # type: ignore[arg-type]

    def collect(self, request_id: int) -> Message:
        return self.bridge._collect(request_id)

    def close(self) -> None:
        self._cleanup.close()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[[], Node]]:
    with ExitStack() as stack:

        def make(command: list[str] | None = None) -> Node:
            made = Node(tmp_path / "storage", command)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def node(make_node: Callable[[], Node]) -> Node:
    return make_node()


# ---- the light parent -------------------------------------------------------------------------------------------


def test_the_parent_loads_no_heavy_package() -> None:
    modules = "node.__main__, node.serve, node.supervisor, node.child_computer, node.doors, node.agent"
    code = f"import sys, {modules}; print(sorted({set(HEAVY)} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO, check=True)
    assert done.stdout.strip() == "[]"


def test_hello_comes_while_the_computer_still_starts(make_node: Callable[..., Node], tmp_path: Path) -> None:
    """The child is held back by a fifo that nobody writes to, and hello is answered all the same."""
    storage = tmp_path / "storage"
    storage.mkdir()
    os.mkfifo(storage / "held-back")
    node = make_node()
    assert node.bridge.hello().state == "starting"
    (storage / "held-back").write_text("go")
    assert node.run(Act.ANSWER) == result(1)
    assert node.bridge.hello().state == "ready"


def test_the_child_is_another_process_of_the_parent(node: Node) -> None:
    telemetry = node.bridge.telemetry()
    assert telemetry.inferences == node.process.pid, "its parent"
    assert telemetry.uptime_ms != node.process.pid


def test_stray_prints_reach_the_log_and_never_the_line(node: Node) -> None:
    assert node.run(Act.PRINT) == result(1)
    until(lambda: "a stray print" in node.log and "and one below Python" in node.log)
    assert node.bridge.stats.noise_bytes == 0
    assert node.bridge.stats.bad_crc == 0


# ---- abnormal ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "detail"),
    [
        (Act.SEGFAULT, "signal 11 (SIGSEGV)"),
        (Act.EXIT_3, "exit status 3: last words"),
        (Act.TRAP, "step 4 points outside the memory"),
        (Act.BUG, "exit status 1: ZeroDivisionError: a bug in the service"),
    ],
)
def test_a_crash_is_told_by_its_cause_and_a_new_boot_id(node: Node, act: Act, detail: str) -> None:
    before = node.bridge.hello()
    reply = node.run(act)
    after = node.bridge.hello()
    assert reply == Abnormal(kind=AbnormalKind.CRASH, detail=detail, boot_id=after.boot_id)
    assert after.boot_id != before.boot_id
    assert after.agent_id == before.agent_id
    assert node.run(Act.ANSWER, 7) == result(7), "the next computer works"


def test_a_hang_is_ended_by_the_watchdog(node: Node) -> None:
    node.bridge.configure("{}", deadline_ms=150)
    hung = node.child
    before = node.bridge.hello().boot_id
    reply = node.run(Act.SPIN)
    assert isinstance(reply, Abnormal)
    assert (reply.kind, reply.detail) == (AbnormalKind.HANG, "no answer within 150 ms")
    assert reply.boot_id != before
    assert not alive(hung)
    assert node.run(Act.ANSWER) == result(1)


def test_kill_9_of_the_child_in_the_middle_of_a_request(node: Node) -> None:
    child = node.child
    request_id = node.submit(Run(run_id=1, inputs=(Act.SLEEP_30_S,)))
    while node.bridge.hello().state != "busy":
        pass
    os.kill(child, signal.SIGKILL)
    reply = node.collect(request_id)
    assert isinstance(reply, Abnormal)
    assert (reply.kind, reply.detail) == (AbnormalKind.CRASH, "signal 9 (SIGKILL)")
    assert node.child != child


def test_kill_9_of_an_idle_child_shows_as_a_new_boot_id(node: Node) -> None:
    before = node.bridge.hello().boot_id
    child = node.child
    os.kill(child, signal.SIGKILL)
    until(lambda: not alive(child))
    until(lambda: node.bridge.hello().boot_id != before)
    assert node.run(Act.ANSWER) == result(1)


def test_pipelined_requests_stay_in_order_over_a_crash(node: Node) -> None:
    acts = [Act.ANSWER, Act.SEGFAULT, Act.ANSWER, Act.TRAP, Act.ANSWER, Act.EXIT_3, Act.ANSWER]
    runs = [Run(run_id=number, inputs=(act,)) for number, act in enumerate(acts)]
    replies = list(node.bridge.run_many(runs, window=len(runs)))
    assert [run for run, _ in replies] == runs
    for (run, reply), act in zip(replies, acts, strict=True):
        if act is Act.ANSWER:
            assert reply == result(run.run_id)
        else:
            assert isinstance(reply, Abnormal)
    assert len(node.bridge.boot_ids) >= 3


def test_a_restarted_computer_holds_what_was_loaded(node: Node) -> None:
    node.bridge.load(BlobKind.IMAGE, b"i" * 5000)
    node.bridge.load(BlobKind.INPUTS, b"x" * 300)
    node.bridge.configure("guarded")
    node.bridge.set_temperature(41.5)
    before = node.held()
    assert before == "5000 300 guarded"
    node.run(Act.SEGFAULT)
    assert node.held() == before
    assert node.bridge.telemetry().plant_c == 41.5
    node.run(Act.TRAP)
    assert node.held() == before


def test_a_restart_storm_is_refused_and_ends_with_its_cause(node: Node) -> None:
    node.run(Act.ANSWER)
    (node.storage / "broken").touch()
    assert isinstance(node.run(Act.SEGFAULT), Abnormal)
    with pytest.raises(Refused, match=r"computer does not start.*exit status 7.*this computer is broken"):
        node.run(Act.ANSWER)
    assert node.bridge.hello().state == "down"
    (node.storage / "broken").unlink()
    assert node.run(Act.ANSWER) == result(1), "asking again tries again"


# ---- uploads ----------------------------------------------------------------------------------------------------


def test_an_upload_goes_on_after_the_node_was_killed(make_node: Callable[[], Node]) -> None:
    data = os.urandom(10_000)
    begin = LoadBegin(kind=BlobKind.IMAGE, size=len(data), crc32=crc32(data))
    first = make_node()
    first.collect(first.submit(begin))
    half = first.collect(first.submit(LoadChunk(kind=BlobKind.IMAGE, offset=0, data=data[:6000])))
    assert half == LoadStatus(received=6000, complete=False)
    first.process.kill()
    first.process.wait()
    first.close()
    second = make_node()
    assert second.collect(second.submit(begin)) == LoadStatus(received=6000, complete=False)
    seen: list[int] = []
    assert second.bridge.load(BlobKind.IMAGE, data, lambda done, total: seen.append(done)).complete
    assert seen[0] > 6000
    assert second.held().startswith("10000 ")


def test_what_the_computer_refuses_to_load_is_not_complete(node: Node) -> None:
    with pytest.raises(Refused, match="this image is refused"):
        node.bridge.load(BlobKind.IMAGE, b"refuse")


def test_an_image_that_kills_the_computer_does_not_kill_the_next(node: Node) -> None:
    with pytest.raises(Refused, match="exit status 9"):
        node.bridge.load(BlobKind.IMAGE, b"die")
    assert node.run(Act.ANSWER) == result(1)
    assert node.held().startswith("0 ")


# ---- the line ---------------------------------------------------------------------------------------------------


def test_a_repeated_request_is_done_once(node: Node) -> None:
    before = node.child
    body = codec.encode(Run(run_id=3, inputs=(Act.SEGFAULT,)), 77)
    replies: list[bytes] = []

    def await_replies(count: int) -> None:
        while len(replies) < count:
            replies.extend(reply for reply in node.channel.poll(LONG_S) if codec.decode(reply)[1] == 77)

    for _ in range(3):
        node.channel.send(body)
    await_replies(1)
    node.channel.send(body)
    await_replies(2)
    assert len(set(replies)) == 1
    crashes = node.log.count("signal 11")
    assert crashes == 1
    assert node.child != before


def test_a_line_that_nobody_reads_stalls_neither_computer_nor_watchdog(node: Node) -> None:
    """The host stops reading while long replies fill the terminal; the watchdog still ends a hung computer."""
    node.bridge.configure("long " * 10_000, deadline_ms=150)
    child = node.child
    waiting = [node.submit(TelemetryRequest()) for _ in range(5)]
    spin = node.submit(Run(run_id=1, inputs=(Act.SPIN,)))
    until(lambda: not alive(child))
    until(lambda: select.select([node.channel], [], [], 0)[0])
    for request_id in waiting:
        assert isinstance(node.collect(request_id), Telemetry)
    assert isinstance(node.collect(spin), Abnormal)


def test_a_log_that_nobody_reads_stalls_nothing(tmp_path: Path) -> None:
    master, path = open_pty()
    command = [*STANDIN, "serve", f"pty:{path}", str(tmp_path / "storage")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(REPO)}) as process:
        with Bridge(Channel(master, "host")) as bridge:
            for number in range(3):
                assert bridge.run(Run(run_id=number, inputs=(Act.CHATTER,))) == result(number)
        assert process.wait(LONG_S) == 0
        assert process.stderr is not None
        process.stderr.close()


# ---- the end ----------------------------------------------------------------------------------------------------


def test_the_node_ends_when_its_host_closes_the_terminal(node: Node) -> None:
    child = node.child
    node.bridge.close()
    assert node.process.wait(LONG_S) == 0
    until(lambda: not alive(child))


def test_the_node_ends_with_its_host_though_the_computer_hangs(node: Node) -> None:
    child = node.child
    node.submit(Run(run_id=1, inputs=(Act.SPIN,)))
    while node.bridge.hello().state != "busy":
        pass
    node.bridge.close()
    assert node.process.wait(LONG_S) == 0
    assert not alive(child)


@pytest.mark.parametrize("act", [Act.ANSWER, Act.SPIN])
def test_the_child_disappears_when_its_parent_is_killed(node: Node, act: Act) -> None:
    child = node.child
    node.submit(Run(run_id=1, inputs=(act,)))
    while act is Act.SPIN and node.bridge.hello().state != "busy":
        pass
    node.process.kill()
    until(lambda: not alive(child))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_both_cleanly(node: Node, number: signal.Signals) -> None:
    child = node.child
    node.process.send_signal(number)
    assert node.process.wait(LONG_S) == 0
    until(lambda: not alive(child))
    assert "Traceback" not in node.log


# ---- lines other than a pseudo-terminal of the host -------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def connected(url: str) -> Bridge:
    end_s = time.monotonic() + LONG_S
    while True:
        try:
            return Bridge(Channel(open_transport(url), "host"))
        except PortError:
            assert time.monotonic() < end_s
            time.sleep(0.02)


@pytest.mark.parametrize("once", [False, True])
def test_a_listening_node_takes_the_next_host_unless_once(tmp_path: Path, once: bool) -> None:
    url = f"tcp://127.0.0.1:{free_port()}"
    command = [*STANDIN, "serve", url, str(tmp_path / "storage"), *(["--once"] if once else [])]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(REPO)})
    try:
        with connected(url) as first:
            hello = first.hello()
            first.load(BlobKind.IMAGE, b"kept")
        if once:
            assert process.wait(LONG_S) == 0
            return
        with connected(url) as second:
            assert second.hello().agent_id == hello.agent_id
            assert second.telemetry().state.startswith("4 "), "the computer went on"
    finally:
        process.terminate()
        assert process.wait(LONG_S) == 0


def test_a_serial_port_that_vanishes_is_opened_again(tmp_path: Path) -> None:
    link = tmp_path / "ttyUSB0"
    first_master, path = open_pty()
    link.symlink_to(path)
    command = [*STANDIN, "serve", f"serial://{link}?baud=921600", str(tmp_path / "storage")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(REPO)})
    assert process.stderr is not None
    try:
        with Bridge(Channel(first_master, "host")) as bridge:
            hello = bridge.hello()
        assert select.select([process.stderr], [], [], LONG_S)[0]
        link.unlink()
        second_master, path = open_pty()
        link.symlink_to(path)
        with Bridge(Channel(second_master, "host")) as bridge:
            assert bridge.hello().agent_id == hello.agent_id
    finally:
        process.terminate()
        assert process.wait(LONG_S) == 0
        process.stderr.close()


def test_a_terminal_of_its_own_serves_one_host_after_the_other(tmp_path: Path) -> None:
    command = [*STANDIN, "serve", "pty:", str(tmp_path / "storage")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(REPO)})
    assert process.stderr is not None
    try:
        url = process.stderr.readline().decode().split()[-1]
        agents = set()
        for _ in range(2):
            with Bridge(Channel(open_transport(url), "host")) as bridge:
                agents.add(bridge.hello().agent_id)
        assert len(agents) == 1
    finally:
        process.terminate()
        assert process.wait(LONG_S) == 0
        process.stderr.close()
