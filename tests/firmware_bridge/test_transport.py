import ast
import errno
import os
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from random import Random

import pytest
import serial

import firmware_bridge
from firmware_bridge import terminal
from firmware_bridge.address import read_address
from firmware_bridge.errors import PortError, UsageError
from firmware_bridge.transport import listen_tcp, memory_pair, open_pty, open_transport

ALL_BYTES = bytes(range(256)) * 3


def tcp_pair():
    with listen_tcp() as listener:
        near = open_transport(f"tcp://127.0.0.1:{listener.port}")
        return near, listener.accept(5.0)


def pty_pair():
    master, path = open_pty()
    return open_transport(f"pty:{path}"), master


def named_memory_pair():
    return open_transport("memory:here"), open_transport("memory:here")


def looped_pair():
    """Two ports that only pyserial can read: threads carry their bytes, which come back."""
    return open_transport("loop://?baud=3000000"), open_transport("loop://?baud=3000000")


@pytest.fixture(params=[tcp_pair, pty_pair, memory_pair, named_memory_pair])
def ends(request):
    near, far = request.param()
    with near, far:
        yield near, far


def read_all(transport, count, timeout_s=5.0):
    got = b""
    deadline_s = time.monotonic() + timeout_s
    while len(got) < count and time.monotonic() < deadline_s:
        got += transport.read(timeout_s=0.1)
    return got


# ---- what every transport does -----------------------------------------------------------------------------------


def test_all_bytes_pass_both_ways(ends):
    near, far = ends
    near.write(ALL_BYTES)
    assert read_all(far, len(ALL_BYTES)) == ALL_BYTES
    far.write(ALL_BYTES)
    assert read_all(near, len(ALL_BYTES)) == ALL_BYTES


def test_nothing_is_sent_back(ends):
    near, far = ends
    near.write(b"echo?\r\n\x03\x04")
    assert read_all(far, 9) == b"echo?\r\n\x03\x04"
    assert near.read(timeout_s=0.05) == b""


def test_silence_is_an_empty_answer_after_the_timeout(ends):
    near, _ = ends
    start_s = time.monotonic()
    assert near.read(timeout_s=0.1) == b""
    assert 0.09 < time.monotonic() - start_s < 2.0
    assert near.read() == b""


def test_a_read_gives_what_is_there_and_no_more(ends):
    near, far = ends
    near.write(b"abcdef")
    assert far.read(4, 1.0) == b"abcd"
    assert far.read(timeout_s=1.0) == b"ef"


def test_megabytes_pass_while_the_other_side_reads(ends):
    near, far = ends
    data = Random(1).randbytes(1 << 20)
    writer = threading.Thread(target=near.write, args=(data,))
    writer.start()
    got = read_all(far, len(data), 20.0)
    writer.join()
    assert got == data


def test_a_write_nobody_reads_gives_up(ends):
    near, _ = ends
    with pytest.raises(PortError, match="takes no more"):
        near.write(bytes(20 << 20), timeout_s=0.2)


def test_a_hang_up_is_noticed(ends):
    near, far = ends
    near.write(b"last words")
    near.read(timeout_s=0.01)
    assert read_all(far, 10) == b"last words"
    near.close()
    with pytest.raises(PortError, match="vanished"):
        read_all(far, 1)


def test_a_closed_end_says_so(ends):
    near, _ = ends
    near.close()
    near.close()
    assert near.fileno() == -1
    with pytest.raises(PortError, match="closed"):
        near.read()
    with pytest.raises(PortError, match="closed"):
        near.write_some(b"x")


def test_a_thousand_lines_opened_and_closed_under_load_leave_nothing_behind():
    before = sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count()
    for make, cycles in ((tcp_pair, 300), (pty_pair, 300), (memory_pair, 380), (looped_pair, 20)):
        for _ in range(cycles):
            near, far = make()
            near.write(ALL_BYTES)
            far.write(ALL_BYTES)
            assert near.read(timeout_s=5.0)
            near.close()
            far.close()
    assert (sum(1 for _ in Path("/proc/self/fd").iterdir()), threading.active_count()) == before


def test_a_trickle_does_not_put_the_end_off(ends):
    """Each byte that comes ends one wait; the deadline of the whole stays where it was."""
    near, far = ends
    stop = threading.Event()

    def trickle():
        while not stop.wait(0.05):
            far.write(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    started_s = time.monotonic()
    got = read_all(near, 1000, timeout_s=0.2)
    took_s = time.monotonic() - started_s
    stop.set()
    thread.join()
    assert 0 < len(got) < 100
    assert took_s < 2.0


# ---- terminals ------------------------------------------------------------------------------------------------


def test_a_cooked_terminal_is_made_raw():
    master, slave = os.openpty()
    path = os.ttyname(slave)
    assert termios.tcgetattr(slave)[3] & termios.ICANON
    with open_transport(f"pty:{path}") as near:
        os.write(master, ALL_BYTES)
        assert read_all(near, len(ALL_BYTES)) == ALL_BYTES
        near.write(ALL_BYTES)
        assert os.read(master, 4096) == ALL_BYTES
        assert not termios.tcgetattr(slave)[2] & termios.HUPCL
    os.close(slave)
    os.close(master)


def test_a_terminal_that_keeps_changing_bytes_is_refused(monkeypatch):
    master, slave = os.openpty()
    monkeypatch.setattr(terminal.termios, "tcsetattr", lambda *_: None)
    with pytest.raises(PortError, match="raw mode"):
        terminal.make_raw(slave, "/dev/ttyX")
    os.close(slave)
    os.close(master)


def test_a_file_is_no_terminal(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(PortError, match=str(path)):
        open_transport(f"serial://{path}")
    with path.open() as handle, pytest.raises(PortError, match="no serial port"):
        terminal.make_raw(handle.fileno(), "somewhere")


def test_a_new_pty_tells_its_path():
    with open_transport("pty:") as master:
        path = master.name.removeprefix("pty:")
        assert Path(path).is_char_device()
        assert master.read(timeout_s=0.05) == b"", "nobody there yet is no hang-up"
        with open_transport(f"pty:{path}") as near:
            near.write(b"hello")
            assert read_all(master, 5) == b"hello"


def test_a_persistent_pty_takes_one_host_after_the_other():
    master, path = open_pty(persistent=True)
    with master:
        for word in (b"first", b"second"):
            with open_transport(f"pty:{path}") as near:
                near.write(word)
                assert read_all(master, len(word)) == word
        assert master.read(timeout_s=0.05) == b""


def test_the_master_vanishing_is_noticed_in_reads_and_writes():
    near, master = pty_pair()
    master.close()
    with near:
        with pytest.raises(PortError, match="vanished"):
            near.read(timeout_s=0.5)
        with pytest.raises(PortError, match="vanished"):
            near.write(b"x")


def test_a_port_is_opened_once():
    master, path = open_pty()
    with master, open_transport(f"pty:{path}"):
        with pytest.raises(PortError, match=f"{path} is busy: process {os.getpid()}"):
            open_transport(f"pty:{path}")
        other = "import sys; from firmware_bridge.transport import open_transport; open_transport(sys.argv[1])"
        process = subprocess.run(
            [sys.executable, "-c", other, f"serial://{path}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == 1
        assert f"process {os.getpid()} has it open" in process.stderr
    with pytest.raises(PortError, match="no port"):
        open_transport(f"pty:{path}")


OPENER = """
import sys
from firmware_bridge.errors import PortError
from firmware_bridge.transport import open_transport
sys.stdin.readline()
try:
    with open_transport(sys.argv[1]):
        print("won", flush=True)
        sys.stdin.readline()
except PortError as error:
    print(error, flush=True)
"""


def test_of_processes_that_race_for_a_port_one_wins_and_the_others_are_told_its_pid():
    master, path = open_pty(persistent=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with master:
        racers = [subprocess.Popen([sys.executable, "-c", OPENER, f"pty:{path}"], **pipes) for _ in range(3)]
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = {racer: racer.stdout.readline().strip() for racer in racers}
        for racer in racers:
            racer.communicate("end\n", timeout=20)
    (winner,) = (racer for racer in racers if said[racer] == "won")
    told = [said[racer] for racer in racers if racer is not winner]
    assert all(f"{path} is busy: process {winner.pid} has it open" in text for text in told), told


def test_a_program_that_takes_no_lock_is_named_too(monkeypatch):
    """Many terminal programs only ask for exclusive use, which is what the system then refuses with."""
    other = "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    master, path = open_pty(persistent=True)
    with master:
        assert terminal.holder(path) is None
        with subprocess.Popen([sys.executable, "-c", other, path], **pipes) as process:
            process.stdout.readline()
            assert terminal.holder(path) == process.pid
            process.communicate()


def test_a_lock_on_another_file_of_the_same_number_is_not_taken_for_ours(monkeypatch):
    master, path = open_pty()
    port = Path(path).stat()
    locks = [f"1: FLOCK  ADVISORY  WRITE 77 ff:ff:{port.st_ino} 0 EOF"]
    read_text = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self: "\n".join(locks) if str(self) == "/proc/locks" else read_text(self)
    )
    with master:
        assert terminal.holder(path) is None
        locks.append(locks[0].replace("ff:ff", f"{os.major(port.st_dev):02x}:{os.minor(port.st_dev):02x}"))
        assert terminal.holder(path) == 77


def test_a_port_that_was_closed_can_be_opened_again():
    master, path = open_pty(persistent=True)
    with master:
        for _ in range(3):
            open_transport(f"pty:{path}").close()


def test_the_baud_rate_of_the_address_is_set():
    master, slave = os.openpty()
    with open_transport(f"serial://{os.ttyname(slave)}?baud=921600") as near:
        assert near.baud == 921_600
        assert termios.tcgetattr(slave)[5] == termios.B921600
    with open_transport(f"serial://{os.ttyname(slave)}") as near:
        assert near.baud == 115_200
    os.close(master)
    os.close(slave)


# ---- what pyserial opens ---------------------------------------------------------------------------------------


def test_a_port_that_only_pyserial_can_read():
    with open_transport("loop://?baud=3000000") as line:
        assert line.baud == 3_000_000
        line.write(ALL_BYTES)
        assert read_all(line, len(ALL_BYTES)) == ALL_BYTES


def test_a_watched_port_is_locked_and_raw_and_what_passes_is_written_down(tmp_path):
    master, slave = os.openpty()
    path, log = os.ttyname(slave), tmp_path / "log"
    with open_transport(f"spy://{path}?baud=921600&file={log}") as line:
        assert termios.tcgetattr(slave)[5] == termios.B921600
        assert not termios.tcgetattr(slave)[3] & termios.ICANON
        with pytest.raises(PortError, match=f"{path} is busy: process {os.getpid()}"):
            open_transport(f"serial://{path}")
        os.write(master, ALL_BYTES)
        assert read_all(line, len(ALL_BYTES)) == ALL_BYTES
        line.write(b"seen")
        assert os.read(master, 100) == b"seen"
    assert "seen" in log.read_text()
    open_transport(f"serial://{path}").close()
    os.close(slave)
    os.close(master)


def test_a_socket_is_read_as_tcp_is():
    with listen_tcp() as listener, open_transport(f"socket://127.0.0.1:{listener.port}") as near:
        assert near.name.startswith("tcp://")
        with listener.accept(5.0) as far:
            far.write(ALL_BYTES)
            assert read_all(near, len(ALL_BYTES)) == ALL_BYTES


def test_a_description_that_no_port_has_says_what_there_is():
    with pytest.raises(PortError, match=r"hwgrep://no such adapter: .*(ports found: /dev/|no serial ports found)"):
        open_transport("hwgrep://no such adapter&baud=921600")


@pytest.mark.parametrize(
    ("url", "place", "baud"),
    [
        ("hwgrep://0403:6001&skip_busy", "hwgrep://0403:6001&skip_busy", 115_200),
        ("hwgrep://FT4&baud=9600", "hwgrep://FT4", 9600),
        ("spy:///dev/ttyUSB0?baud=9600&color", "spy:///dev/ttyUSB0?color", 9600),
        ("spy:///dev/ttyUSB0?color&baud=9600&raw", "spy:///dev/ttyUSB0?color&raw", 9600),
        ("loop://", "loop://", 115_200),
    ],
)
def test_the_baud_rate_is_taken_out_of_pyserials_urls(url, place, baud):
    address = read_address(url)
    assert (address.scheme, address.place, address.baud) == ("pyserial", place, baud)


# ---- addresses that cannot be opened ------------------------------------------------------------------------------


def test_a_missing_port_is_named_with_what_there_is():
    with pytest.raises(PortError, match=r"no port /dev/ttyNOPE; .*(ports found: /dev/|no serial ports found)"):
        open_transport("serial:///dev/ttyNOPE?baud=9600")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ttyUSB0",
        "foo:bar",
        "serial:",
        "tcp://host",
        "tcp://",
        "memory:",
        "serial:///dev/x?bauds=1",
        "serial:///dev/x?baud=fast",
        "serial:///dev/x?baud=0",
        "serial:///dev/x?baud=-1",
        "serial:///dev/x?baud=99999999999999",
        "serial:///dev/x?dtr=maybe",
        "loop://?baud=fast",
        "serial://dev/x",
        "tcp://host:99999",
    ],
)
def test_what_is_no_address_is_the_callers_mistake(url):
    with pytest.raises(UsageError):
        open_transport(url)


def test_a_baud_rate_that_the_port_refuses_is_the_ports_fault(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Failed to set custom baud rate (12345)")

    monkeypatch.setattr("serial.Serial", refuse)
    with pytest.raises(PortError, match=r"/dev/null cannot run at 12345 baud.*choose another"):
        open_transport("serial:///dev/null?baud=12345")


def test_whoever_is_not_root_is_told_who_has_the_port_too(monkeypatch):
    master, path = open_pty()

    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(errno.EBUSY, "Device or resource busy")

    with master, open_transport(f"pty:{path}"):
        monkeypatch.setattr("serial.Serial", refuse)
        with pytest.raises(PortError, match=f"{path} is busy: process {os.getpid()} has it open"):
            open_transport(f"pty:{path}")


def test_a_refused_connection_names_the_address():
    with listen_tcp() as listener:
        port = listener.port
    with pytest.raises(PortError, match=f"tcp://127.0.0.1:{port}"):
        open_transport(f"tcp://127.0.0.1:{port}")


def test_listening_twice_and_waiting_in_vain():
    with listen_tcp() as listener:
        with pytest.raises(PortError, match="cannot listen"):
            listen_tcp("127.0.0.1", listener.port)
        with pytest.raises(PortError, match="nobody connected"):
            listener.accept(0.05)


@pytest.mark.parametrize(
    ("options", "lines"), [("", (True, True)), ("?dtr=off", (False, True)), ("?rts=off", (True, False))]
)
def test_a_port_is_opened_with_the_lines_asked_for_and_without_delay(monkeypatch, options, lines):
    """A pseudo-terminal has neither of these lines nor a latency timer, so pyserial's own calls are watched."""
    seen = []

    class Watched(serial.Serial):
        def open(self):
            super().open()
            seen.append((self.dtr, self.rts))

        def set_low_latency_mode(self, low_latency_settings):
            seen.append(low_latency_settings)
            super().set_low_latency_mode(low_latency_settings)

    monkeypatch.setattr(serial, "Serial", Watched)
    master, path = open_pty()
    with master, open_transport(f"serial://{path}{options}"):
        assert seen == [lines, True]


# ---- rules ----------------------------------------------------------------------------------------------------


def test_slow_calls_of_pyserial_are_not_used():
    """``read_until`` and ``readline`` read byte by byte; ``inter_byte_timeout`` does nothing on POSIX."""
    for path in Path(firmware_bridge.__file__).parent.glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"read_until", "readline", "inter_byte_timeout", "cancel_read"}, path


def test_the_package_loads_without_heavy_imports():
    code = (
        "import sys, firmware_bridge.bridge, firmware_bridge.line; "
        "print([name for name in ('numpy', 'numba', 'serial', 'onnx') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60) == "[]\n"
