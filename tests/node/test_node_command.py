"""``flightnode`` as a user meets it: exit codes, messages without tracebacks, and the real computer behind it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.errors import PortError
from firmware_bridge.loading import BlobKind
from firmware_bridge.messages import Abnormal, AbnormalKind, Fault, FaultKind, Run, RunResult
from firmware_bridge.transport import open_pty
from node import __main__ as command
from node.doors import ListenDoor, door_of
from node.stderr_log import StderrLog

REPO = Path(__file__).parents[2]
HEAVY = ("numpy", "llvmlite", "numba")


def flightnode(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "node", *arguments], capture_output=True, text=True, cwd=REPO, check=False
    )


# ---- mistakes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--port", "serial:///dev/ttyNONE0"], 3, "/dev/ttyNONE0"),
        (["--port", "pty:/dev/pts/999999"], 3, "/dev/pts/999999"),
        (["--port", "smoke://signals"], 2, "is no line that a node can serve"),
        (["--port", "tcp://localhost"], 2, "give tcp://ADDRESS:PORT"),
        (["--port", "pty:", "--storage", "/dev/null/below"], 2, "--storage"),
        ([], 2, "--port"),
        (["--port", "pty:", "--threads", "0"], 2, "--threads"),
        (["--port", "pty:", "--threads", "17"], 2, "give at most 16"),
    ],
)
def test_a_mistake_is_told_in_a_line_with_its_code(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    storage = [] if "--storage" in arguments else ["--storage", str(tmp_path)]
    done = flightnode("serve", *arguments, *storage)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_port_in_use_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with_door = ListenDoor("127.0.0.1", 0)
    try:
        code = command.main(["serve", "--port", with_door.name, "--storage", str(tmp_path)])
    finally:
        with_door.close()
    assert code == 3
    assert "cannot listen" in capfd.readouterr().err


def test_a_storage_in_use_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with command.locked(tmp_path):
        code = command.main(["serve", "--port", "pty:", "--storage", str(tmp_path)])
    assert code == 2
    assert f"another node uses {tmp_path}" in capfd.readouterr().err
    with command.locked(tmp_path):
        pass  # given back


def test_a_listening_door_takes_a_free_port() -> None:
    door = door_of("tcp://127.0.0.1:0")
    try:
        assert not door.name.endswith(":0")
        assert door.open() is None
        assert door.reopens
    finally:
        door.close()


def test_a_port_door_waits_for_its_port_to_come_back(tmp_path: Path) -> None:
    link = tmp_path / "ttyUSB0"
    with pytest.raises(PortError, match="ttyUSB0"):
        door_of(f"serial://{link}")  # at the start a missing port is a mistake
    door = None
    for _ in range(2):
        master, path = open_pty()
        link.symlink_to(path)
        door = door_of(f"serial://{link}") if door is None else door
        with master:
            line = door.open()
            assert line is not None
            line.close()
        link.unlink()
        assert door.open() is None


def test_the_storage_follows_the_xdg_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert command.default_storage() == Path("/somewhere/flightnode")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert command.default_storage() == Path("~/.local/state/flightnode").expanduser()


# ---- small commands ---------------------------------------------------------------------------------------------


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["version"]) == 0
    assert capsys.readouterr().out.startswith("flightnode ")


def test_doctor_fails_exactly_when_something_is_to_be_repaired(capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["doctor"])
    out = capsys.readouterr().out
    assert "crc engine" in out
    assert code == ("->" in out)


# ---- the log ----------------------------------------------------------------------------------------------------


def test_a_full_log_is_dropped_and_counted() -> None:
    reader, writer = os.pipe()
    log = StderrLog(writer)
    for _ in range(100):
        log.raw(b"x" * 10_000)
    os.close(writer)
    arrived = len(os.read(reader, 1_000_000))
    os.close(reader)
    assert arrived + log.dropped_bytes == 1_000_000
    assert arrived > 0 < log.dropped_bytes


def test_a_log_without_reader_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = StderrLog(writer)
    log.line("anyone?")
    os.close(writer)
    log.line("anyone?")
    assert log.dropped_bytes == 2 * len(b"flightnode: anyone?\n")


# ---- the real computer ------------------------------------------------------------------------------------------


def test_the_real_computer_answers_dies_and_answers_the_same(tmp_path: Path) -> None:
    np = pytest.importorskip("numpy")
    hil = pytest.importorskip("hil")
    from hil.workloads import digits

    workload = digits("int8")
    image = hil.compile_model(workload.model_path)
    spec = image.inputs[0]
    inputs = io.BytesIO()
    np.savez(inputs, **{spec.name: np.random.default_rng(5).random((4, *spec.shape[1:])).astype(spec.dtype)})
    master, path = open_pty()
    arguments = [sys.executable, "-m", "node", "serve", "--port", f"pty:{path}", "--storage", str(tmp_path)]
    arguments += ["--threads", "2"]
    with subprocess.Popen(arguments, cwd=REPO, stderr=subprocess.DEVNULL) as process:
        with Bridge(Channel(master, "host")) as bridge:
            bridge.hello()
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            assert [name for name in HEAVY if name in maps] == [], "the parent is light"
            bridge.load(BlobKind.IMAGE, image.to_bytes())
            bridge.load(BlobKind.INPUTS, inputs.getvalue())
            good = Run(run_id=1, inputs=(0, 1, 2, 3))
            first = bridge.run(good)
            kill = Fault(strike=1, region="process", bit=0, kind=FaultKind.INTERRUPT)
            died = bridge.run(Run(run_id=2, inputs=(0,), faults=(kill,)))
            again = bridge.run(good)
        assert process.wait(20) == 0
    assert isinstance(died, Abnormal)
    assert (died.kind, died.detail) == (AbnormalKind.CRASH, "signal 9 (SIGKILL)")
    assert isinstance(first, RunResult)
    assert isinstance(again, RunResult)
    assert [one.output for one in again.inferences] == [one.output for one in first.inferences]
    assert all(one.output for one in first.inferences)
