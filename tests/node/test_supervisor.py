"""The supervisor's decisions, with a scripted computer and a clock that is turned by hand."""

import zlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from firmware_bridge import codec
from firmware_bridge.loading import BlobKind, LoadBegin, LoadChunk, LoadStatus
from firmware_bridge.messages import (
    Abnormal,
    AbnormalKind,
    Configure,
    Delivery,
    Done,
    Failed,
    Hello,
    HelloRequest,
    Inference,
    Message,
    Progress,
    Reset,
    Run,
    RunResult,
    Scrub,
    SetTemperature,
    TelemetryRequest,
)
from firmware_bridge.streams import MAX_MESSAGE
from node.assurance import PERIOD_S
from node.blob_store import BlobStore
from node.runners import Ended, Event
from node.supervisor import MAX_FAILED_STARTS, MAX_WAITING, PREPARATION_S, UNASKED, Supervisor

IMAGE = b"the image" * 10


class ScriptedRunner:
    """Does nothing by itself: the test says what the computer says."""

    readers: Sequence[int] = ()
    patience_s: float | None = None

    def __init__(self) -> None:
        self.starts = 0
        self.kills = 0
        self.closed = False
        self.given: list[Message] = []
        self._events: list[Event] = []

    def start(self) -> None:
        self.starts += 1

    def submit(self, message: Message) -> None:
        self.given.append(message)

    def says(self, *events: Event) -> None:
        self._events += events

    def events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def kill(self) -> None:
        self.kills += 1
        self.says(Ended(detail="signal 9 (SIGKILL)"))

    def close(self) -> None:
        self.closed = True


class Bench:
    """A supervisor with everything around it played by the test."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 100.0
        self.runner = ScriptedRunner()
        self.sent: list[tuple[Message, int]] = []
        self.log: list[str] = []
        self.supervisor = Supervisor(
            self.runner,
            BlobStore(folder),
            send=lambda body, urgent: self.sent.append(codec.decode(body)),
            log=self.log.append,
            clock=lambda: self.now_s,
        )

    def settle(self) -> None:
        while self.supervisor.advance():
            pass

    def boot(self) -> None:
        self.supervisor.start()
        self.says(Done())
        self.sent.clear()

    def ask(self, message: Message, request_id: int) -> None:
        self.supervisor.take(codec.encode(message, request_id))
        self.settle()

    def says(self, *events: Event) -> None:
        self.runner.says(*events)
        self.settle()

    def later(self, seconds: float) -> None:
        self.now_s += seconds
        self.settle()

    def replies(self) -> list[tuple[Message, int]]:
        """Everything with a request id since the last call."""
        replies = [(message, request_id) for message, request_id in self.sent if request_id != UNASKED]
        self.sent.clear()
        return replies

    def load(self, data: bytes = IMAGE, kind: BlobKind = BlobKind.IMAGE, first_id: int = 500) -> LoadBegin:
        begin = LoadBegin(kind=kind, size=len(data), crc32=zlib.crc32(data))
        self.ask(begin, first_id)
        self.ask(LoadChunk(kind=kind, offset=0, data=data), first_id + 1)
        self.says(Done())
        return begin


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def ready(bench: Bench) -> Bench:
    bench.boot()
    return bench


def run(number: int) -> Run:
    return Run(run_id=number, inputs=(0,))


def result(run_id: int, inferences: tuple[Inference, ...]) -> RunResult:
    counts = {field.name: 0 for field in fields(RunResult)}
    return RunResult(**{**counts, "run_id": run_id, "inferences": inferences, "readbacks": ()})


def hello_of(bench: Bench, request_id: int) -> Hello:
    bench.ask(HelloRequest(), request_id)
    ((hello, answered),) = bench.replies()
    assert isinstance(hello, Hello)
    assert answered == request_id
    return hello


# ---- order ------------------------------------------------------------------------------------------------------


def test_hello_is_answered_while_the_computer_starts(bench: Bench) -> None:
    bench.supervisor.start()
    hello = hello_of(bench, 1)
    assert hello.state == "starting"
    assert hello.boot_id == bench.supervisor.boot_id != 0
    assert hello.agent_id not in (0, hello.boot_id)


def test_hello_tells_the_state(ready: Bench) -> None:
    assert hello_of(ready, 1).state == "ready"
    ready.ask(Scrub(), 2)
    assert hello_of(ready, 3).state == "busy"


def test_requests_wait_until_the_computer_is_ready(bench: Bench) -> None:
    bench.supervisor.start()
    bench.ask(Scrub(), 1)
    assert bench.runner.given == []
    bench.says(Done())
    assert bench.runner.given == [Scrub()]


def test_requests_are_given_one_at_a_time_in_order(ready: Bench) -> None:
    for number in range(4):
        ready.ask(run(number), 10 + number)
    assert ready.runner.given == [run(0)]
    for number in range(4):
        ready.says(Failed(text=f"reply {number}"))
    assert ready.runner.given == [run(number) for number in range(4)]
    assert ready.replies() == [(Failed(text=f"reply {number}"), 10 + number) for number in range(4)]


def test_a_repeated_request_gets_the_remembered_reply(ready: Bench) -> None:
    ready.ask(run(1), 7)
    ready.says(Failed(text="once"))
    ready.ask(run(1), 7)
    assert ready.runner.given == [run(1)], "it was not done twice"
    assert ready.replies() == [(Failed(text="once"), 7)] * 2


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_repeated_request_in_hand_is_answered_once(ready: Bench, ahead: int) -> None:
    for number in range(ahead):
        ready.ask(Scrub(), 100 + number)
    ready.ask(run(1), 7)
    ready.ask(run(1), 7)
    for _ in range(ahead):
        ready.says(Done())
    ready.says(Failed(text="once"))
    assert ready.runner.given.count(run(1)) == 1
    assert [request_id for _, request_id in ready.replies()].count(7) == 1


def test_a_reply_too_long_for_the_link_becomes_a_refusal(ready: Bench) -> None:
    ready.ask(run(1), 5)
    longest = Inference(delivery=Delivery.DELIVERED, output=bytes(MAX_MESSAGE))
    ready.says(result(1, inferences=(longest,)))
    [(reply, request_id)] = ready.replies()
    assert request_id == 5
    assert isinstance(reply, Failed)
    assert "ask for less" in reply.text


def test_too_many_waiting_requests_are_refused(ready: Bench) -> None:
    for number in range(MAX_WAITING + 2):
        ready.ask(run(number), 1 + number)
    ((reply, request_id),) = ready.replies()
    assert request_id == MAX_WAITING + 2
    assert isinstance(reply, Failed)
    assert "wait for replies" in reply.text


def test_a_message_of_another_protocol_is_refused_by_its_id(ready: Bench) -> None:
    ready.supervisor.take(b"\xfe\x00\x00\x00\x09rest")
    ready.supervisor.take(b"\xfe")
    ((reply, request_id),) = ready.replies()
    assert request_id == 9
    assert isinstance(reply, Failed)
    assert len(ready.log) == 2


def test_telemetry_overtakes_what_waits(ready: Bench) -> None:
    for number in range(3):
        ready.ask(run(number), 1 + number)
    ready.ask(TelemetryRequest(), 9)
    ready.says(Done())
    assert ready.runner.given == [run(0), TelemetryRequest()]


def test_telemetry_waits_for_what_a_restart_repeats(ready: Bench) -> None:
    image = ready.load()
    ready.says(Ended(detail="signal 9 (SIGKILL)"))
    ready.ask(run(1), 1)
    ready.says(Done())
    ready.ask(TelemetryRequest(), 2)
    ready.says(Done())
    assert ready.runner.given == [image, image, TelemetryRequest()]


# ---- loading ----------------------------------------------------------------------------------------------------


def test_a_load_is_complete_only_when_the_computer_has_it(ready: Bench) -> None:
    begin = LoadBegin(kind=BlobKind.IMAGE, size=len(IMAGE), crc32=zlib.crc32(IMAGE))
    ready.ask(begin, 1)
    ready.ask(LoadChunk(kind=BlobKind.IMAGE, offset=0, data=IMAGE[:40]), 2)
    assert ready.replies() == [
        (LoadStatus(received=0, complete=False), 1),
        (LoadStatus(received=40, complete=False), 2),
    ]
    ready.ask(LoadChunk(kind=BlobKind.IMAGE, offset=40, data=IMAGE[40:]), 3)
    assert ready.replies() == []
    assert ready.runner.given == [begin]
    ready.says(Done())
    assert ready.replies() == [(LoadStatus(received=len(IMAGE), complete=True), 3)]


def test_what_the_computer_finds_wrong_with_a_blob_is_the_reply(ready: Bench) -> None:
    ready.ask(LoadBegin(kind=BlobKind.IMAGE, size=1, crc32=zlib.crc32(b"x")), 1)
    ready.ask(LoadChunk(kind=BlobKind.IMAGE, offset=0, data=b"x"), 2)
    ready.says(Failed(text="not an image"))
    assert ready.replies()[-1] == (Failed(text="not an image"), 2)


def test_a_held_blob_is_loaded_at_its_announcement(ready: Bench) -> None:
    begin = ready.load()
    ready.replies()
    ready.ask(begin, 9)
    ready.says(Done())
    assert ready.replies() == [(LoadStatus(received=len(IMAGE), complete=True), 9)]


def test_a_bad_upload_is_refused(ready: Bench) -> None:
    ready.ask(LoadBegin(kind=BlobKind.IMAGE, size=4, crc32=1), 1)
    ready.ask(LoadChunk(kind=BlobKind.IMAGE, offset=0, data=b"bits"), 2)
    reply, _ = ready.replies()[-1]
    assert isinstance(reply, Failed)
    assert "another CRC" in reply.text


# ---- abnormal ends ----------------------------------------------------------------------------------------------


def test_a_death_at_work_is_a_crash_with_a_new_boot_id(ready: Bench) -> None:
    before = ready.supervisor.boot_id
    ready.ask(run(1), 1)
    ready.says(Ended(detail="signal 11 (SIGSEGV)"))
    after = ready.supervisor.boot_id
    assert after != before
    assert ready.replies() == [(Abnormal(kind=AbnormalKind.CRASH, detail="signal 11 (SIGSEGV)", boot_id=after), 1)]
    assert hello_of(ready, 2).boot_id == after
    assert ready.runner.starts == 2


def test_what_waits_behind_a_crash_is_done_by_the_next_computer(ready: Bench) -> None:
    for number in range(3):
        ready.ask(run(number), 1 + number)
    ready.says(Ended(detail="exit status 1"))
    assert ready.runner.given == [run(0)]
    ready.says(Done())
    ready.says(Done())
    ready.says(Done())
    assert ready.runner.given == [run(0), run(1), run(2)]
    assert [request_id for _, request_id in ready.replies()] == [1, 2, 3]


def test_a_restarted_computer_is_told_what_it_held(ready: Bench) -> None:
    image = ready.load()
    configure = Configure(protection="{}", deadline_ms=500)
    ready.ask(configure, 1)
    ready.says(Done())
    ready.ask(SetTemperature(celsius=30.0), 2)
    ready.says(Done())
    inputs = ready.load(b"inputs", BlobKind.INPUTS, first_id=600)
    ready.ask(SetTemperature(celsius=40.0), 3)
    ready.says(Done())
    ready.runner.given.clear()
    ready.ask(run(1), 4)
    ready.ask(run(2), 5)
    ready.replies()
    ready.says(Ended(detail="exit status 1"))
    ready.says(*[Done()] * 1)
    for _ in range(4):
        ready.says(Done())
    told = [image, configure, inputs, SetTemperature(celsius=40.0)]
    assert ready.runner.given == [run(1), *told, run(2)], "each in its last version, in the order last given"
    assert [request_id for _, request_id in ready.replies()] == [4], "the host hears nothing of it"


def test_a_refused_setting_is_not_repeated(ready: Bench) -> None:
    ready.ask(Configure(protection="nonsense", deadline_ms=1), 1)
    ready.says(Failed(text="unknown key"))
    ready.runner.given.clear()
    ready.says(Ended(detail="exit status 1"))
    ready.says(Done())
    assert ready.runner.given == []
    ready.ask(run(1), 2)
    ready.later(1.0)
    assert ready.runner.kills == 0, "nor is its deadline used"


def test_a_second_death_while_it_is_told_starts_over(ready: Bench) -> None:
    image = ready.load()
    inputs = ready.load(b"inputs", BlobKind.INPUTS, first_id=600)
    ready.ask(run(1), 1)
    ready.runner.given.clear()
    ready.says(Ended(detail="exit status 1"))
    ready.says(Done())
    ready.says(Ended(detail="exit status 1"))
    for _ in range(3):
        ready.says(Done())
    assert ready.runner.given == [image, image, inputs], "once more from the start, and each once"
    ready.replies()
    assert hello_of(ready, 2).state == "ready"


def test_a_death_at_rest_is_announced_unasked(ready: Bench) -> None:
    ready.says(Ended(detail="signal 9 (SIGKILL)"))
    ready.says(Done())
    (unasked,) = ready.sent
    assert unasked[1] == UNASKED
    assert isinstance(unasked[0], Hello)
    assert unasked[0].boot_id == ready.supervisor.boot_id


def test_a_trap_inside_the_process_is_a_reboot_without_a_start(ready: Bench) -> None:
    image = ready.load()
    ready.replies()
    before = ready.supervisor.boot_id
    ready.ask(run(1), 1)
    ready.says(Abnormal(kind=AbnormalKind.CRASH, detail="step 3 points outside", boot_id=0))
    after = ready.supervisor.boot_id
    assert after != before
    assert ready.replies() == [(Abnormal(kind=AbnormalKind.CRASH, detail="step 3 points outside", boot_id=after), 1)]
    assert ready.runner.starts == 1
    assert ready.runner.given == [image, run(1), image]


# ---- the watchdog -----------------------------------------------------------------------------------------------


def configured(bench: Bench, deadline_ms: int) -> None:
    bench.ask(Configure(protection="{}", deadline_ms=deadline_ms), 900)
    bench.says(Done())
    bench.replies()


def test_silence_beyond_the_deadline_is_a_hang(ready: Bench) -> None:
    configured(ready, 500)
    ready.ask(run(1), 1)
    ready.later(0.499)
    assert ready.runner.kills == 0
    ready.later(0.001)
    assert ready.runner.kills == 1
    ((reply, _),) = ready.replies()
    assert reply == Abnormal(kind=AbnormalKind.HANG, detail="no answer within 500 ms", boot_id=ready.supervisor.boot_id)


def test_the_deadline_counts_from_when_the_computer_takes_the_request(ready: Bench) -> None:
    configured(ready, 500)
    ready.ask(run(1), 1)
    ready.ask(run(2), 2)
    ready.later(0.4)
    ready.says(Done())
    ready.later(0.4)
    assert ready.runner.kills == 0
    ready.later(0.1)
    assert ready.runner.kills == 1


def test_progress_pushes_the_deadline_and_reaches_the_host(ready: Bench) -> None:
    configured(ready, 500)
    ready.ask(run(1), 1)
    for done in range(5):
        ready.later(0.4)
        ready.says(Progress(stage="compiling", done=done, total=5))
    assert ready.runner.kills == 0
    assert ready.replies() == [(Progress(stage="compiling", done=done, total=5), 1) for done in range(5)]
    ready.later(0.5)
    assert ready.runner.kills == 1


def test_progress_of_a_start_comes_unasked(bench: Bench) -> None:
    bench.supervisor.start()
    bench.says(Progress(stage="compiling", done=1, total=9))
    assert bench.sent == [(Progress(stage="compiling", done=1, total=9), UNASKED)]


def test_a_restarted_computer_keeps_the_deadline(ready: Bench) -> None:
    configured(ready, 500)
    ready.ask(run(1), 1)
    ready.later(0.5)
    ready.says(Done())
    ready.says(Done())
    ready.ask(run(2), 2)
    ready.later(0.5)
    assert ready.runner.kills == 2


@pytest.mark.parametrize("message", [Configure(protection="{}", deadline_ms=5), SetTemperature(celsius=1.0)])
def test_preparing_may_take_longer_than_a_request(ready: Bench, message: Message) -> None:
    configured(ready, 10)
    ready.ask(message, 1)
    ready.later(PREPARATION_S - 1)
    assert ready.runner.kills == 0
    ready.later(1)
    assert ready.runner.kills == 1


@pytest.mark.parametrize("message", [Configure(protection=""), SetTemperature(celsius=20.0)])
def test_a_host_hears_of_what_may_have_to_compile_every_few_seconds(ready: Bench, message: Message) -> None:
    """And the watchdog barks when it would have all the same."""
    ready.ask(message, 7)
    ready.sent.clear()
    while not ready.runner.kills:
        assert ready.supervisor.next_event_s() <= ready.now_s + PERIOD_S
        ready.later(ready.supervisor.next_event_s() - ready.now_s)
    told = [progress for progress, request_id in ready.sent if request_id == 7 and isinstance(progress, Progress)]
    assert len(told) > PREPARATION_S / PERIOD_S - 3
    ready.settle()
    ((abnormal, _),) = [(each, number) for each, number in ready.sent if isinstance(each, Abnormal)]
    assert abnormal.detail.startswith(f"no answer within {1000 * PREPARATION_S:.0f} ms; if it was compiling")
    assert told[3].stage == f"loading or compiling for {4 * PERIOD_S:.0f} s"


def test_of_a_run_it_hears_nothing_but_its_end(ready: Bench) -> None:
    ready.ask(run(1), 7)
    ready.later(59.0)
    assert ready.sent == []
    ready.says(Done())
    ready.later(1000.0)
    assert [request_id for _, request_id in ready.sent] == [7]


def test_a_start_that_hangs_is_tried_again(bench: Bench) -> None:
    bench.supervisor.start()
    bench.later(PREPARATION_S)
    assert (bench.runner.kills, bench.runner.starts) == (1, 2)


def test_no_deadline_at_rest(ready: Bench) -> None:
    assert ready.supervisor.next_event_s() is None
    ready.later(1e6)
    assert ready.runner.kills == 0
    configured(ready, 500)
    ready.ask(run(1), 1)
    assert ready.supervisor.next_event_s() == pytest.approx(ready.now_s + 0.5)


def test_a_reply_that_beats_the_deadline_in_the_same_moment_counts(ready: Bench) -> None:
    configured(ready, 500)
    ready.ask(run(1), 1)
    ready.now_s += 1.0
    ready.says(Done())
    assert ready.runner.kills == 0
    assert ready.replies() == [(Done(), 1)]


def test_a_reply_after_the_kill_gives_no_further_work_to_the_dying(ready: Bench) -> None:
    configured(ready, 500)
    ready.ask(run(1), 1)
    ready.ask(run(2), 2)
    ready.runner.kill = lambda: None  # type: ignore[method-assign]  # it takes a moment
    ready.later(0.5)
    ready.says(Done())
    assert run(2) not in ready.runner.given
    ready.says(Ended(detail="signal 9 (SIGKILL)"))
    ready.says(Done())
    ready.says(Done())
    assert ready.runner.given[-1] == run(2)
    assert ready.replies() == [(Done(), 1)]


# ---- a computer that does not start -----------------------------------------------------------------------------


def die_at_start(bench: Bench, times: int) -> None:
    for number in range(times):
        bench.says(Ended(detail=f"exit status {number}", last_words=("ImportError: no numba",)))


def test_a_restart_storm_ends_and_says_why(bench: Bench) -> None:
    bench.supervisor.start()
    bench.ask(run(1), 1)
    bench.ask(run(2), 2)
    die_at_start(bench, MAX_FAILED_STARTS)
    assert bench.runner.starts == MAX_FAILED_STARTS
    replies = bench.replies()
    assert [request_id for _, request_id in replies] == [1, 2]
    for reply, _ in replies:
        assert isinstance(reply, Failed)
        assert "computer does not start" in reply.text
        assert "ImportError: no numba" in reply.text
    assert hello_of(bench, 3).state == "down"


def test_after_a_storm_the_next_request_tries_again_with_nothing_held(ready: Bench) -> None:
    ready.load()
    ready.runner.given.clear()
    die_at_start(ready, MAX_FAILED_STARTS)
    starts = ready.runner.starts
    ready.replies()
    ready.ask(Reset(), 1)
    assert ready.runner.starts == starts + 1
    ready.says(Done())
    assert ready.runner.given == [Reset()], "what was held may have been the cause"


def test_crashes_of_answered_requests_are_no_storm(ready: Bench) -> None:
    for number in range(3 * MAX_FAILED_STARTS):
        ready.ask(run(number), 1 + number)
        ready.says(Ended(detail="signal 11 (SIGSEGV)"))
        ready.says(Done())
    replies = ready.replies()
    assert [request_id for _, request_id in replies] == list(range(1, 1 + 3 * MAX_FAILED_STARTS))
    assert all(isinstance(reply, Abnormal) for reply, _ in replies)
    assert hello_of(ready, 1000).state == "ready"


def test_deaths_between_answered_requests_are_no_storm(ready: Bench) -> None:
    for number in range(3 * MAX_FAILED_STARTS):
        ready.says(Ended(detail="signal 9 (SIGKILL)"))
        ready.says(Done())
        ready.ask(Scrub(), 1 + number)
        ready.says(Done())
    assert [reply for reply, _ in ready.replies()] == [Done()] * 3 * MAX_FAILED_STARTS
    assert not [line for line in ready.log if "does not start" in line]


def test_a_load_that_kills_the_computer_is_not_repeated(ready: Bench) -> None:
    ready.ask(LoadBegin(kind=BlobKind.IMAGE, size=1, crc32=zlib.crc32(b"x")), 1)
    ready.ask(LoadChunk(kind=BlobKind.IMAGE, offset=0, data=b"x"), 2)
    ready.runner.given.clear()
    ready.says(Ended(detail="signal 11 (SIGSEGV)"))
    ready.says(Done())
    assert isinstance(ready.replies()[-1][0], Abnormal)
    assert ready.runner.given == []


def test_long_last_words_fit_a_message(ready: Bench) -> None:
    ready.ask(TelemetryRequest(), 1)
    ready.says(Ended(detail="exit status 1: " + "x" * 100_000))
    ((reply, _),) = ready.replies()
    assert isinstance(reply, Abnormal)
    assert reply.detail.startswith("exit status 1: xxx")


def test_close_ends_the_computer(ready: Bench) -> None:
    ready.supervisor.close()
    assert ready.runner.closed
