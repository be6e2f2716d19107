"""The node as somebody with a terminal program sees it, and a harness that speaks the dialect of MLPerf Tiny."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import hil
from firmware_bridge import codec
from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.errors import Refused
from firmware_bridge.loading import BlobKind
from firmware_bridge.messages import Failed, Infer, Inferred, Message
from firmware_bridge.transport import Transport, memory_pair
from hil.workloads import digits
from node.computer import Computer
from node.serve import serve_in_thread
from node.service import Service
from node.text_console import FIRST_ID, LONGEST, TextConsole


class Terminal:
    """The console alone, with a node that answers what the test says."""

    def __init__(self) -> None:
        self.written = b""
        self.asked: list[tuple[Message, int]] = []
        self.console = TextConsole(lambda body: self.asked.append(codec.decode(body)), self._write, "node 1.0")

    def _write(self, data: bytes) -> None:
        self.written += data

    def type(self, text: str) -> list[str]:
        self.written = b""
        self.console.feed(text.encode())
        return self.lines()

    def reply(self, message: Message) -> list[str]:
        self.written = b""
        self.console.answer(codec.encode(message, self.asked[-1][1]))
        return self.lines()

    def lines(self) -> list[str]:
        assert not self.written or self.written.endswith(b"\r\n")
        return self.written.decode().split("\r\n")[:-1]


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def test_name_profile_and_help(terminal: Terminal) -> None:
    assert terminal.type("name%") == ["m-name-dut-[node 1.0]", "m-ready"]
    assert terminal.type("profile%")[0] == "m-profile-[node 1.0]"
    assert terminal.type("help%")[-1] == "m-ready"
    assert re.fullmatch(r"m-lap-us-\d+", terminal.type("timestamp%")[0])


def test_a_command_may_come_byte_by_byte_and_several_at_once(terminal: Terminal) -> None:
    assert [terminal.type(letter) for letter in "name"] == [[]] * 4
    assert terminal.type("%")[-1] == "m-ready"
    assert terminal.type("name%name%").count("m-ready") == 2


def test_the_buffer_is_loaded_in_hexadecimal_and_printed(terminal: Terminal) -> None:
    assert terminal.type("db load 5%") == ["m-[Expecting 5 bytes]", "m-ready"]
    assert terminal.type("db 0a0b0C%") == ["m-ready"]
    assert terminal.type("db ff00%") == ["m-load-done", "m-ready"]
    assert terminal.type("db print%") == ["m-buffer-0a-0b-0c-ff-00", "m-ready"]


@pytest.mark.parametrize(
    "text", ["db%", "db load%", "db load x%", "db load 0%", "db load -1%", "db zz%", "db 00%", "infer%", "infer x%"]
)
def test_what_cannot_be_read_is_told(terminal: Terminal, text: str) -> None:
    lines = terminal.type(text)
    assert lines[0].startswith("e-[")
    assert lines[1:] == ["m-ready"]


@pytest.mark.parametrize("text", ["infer 70000 0%", "infer -1 0%", "temp%", "temp hot%"])
def test_values_that_fit_no_message_are_told(terminal: Terminal, text: str) -> None:
    assert terminal.type(text)[0].startswith("e-[")
    assert terminal.asked == []


def test_an_inference_in_the_words_of_the_dialect(terminal: Terminal) -> None:
    terminal.type("db load 2%")
    terminal.type("db 0102%")
    assert terminal.type("infer 10 3%") == [], "nothing before the node has answered"
    assert terminal.asked == [(Infer(data=b"\x01\x02", count=10, warm_up=3), FIRST_ID)]
    assert terminal.console.waits_for(FIRST_ID)
    lines = terminal.reply(Inferred(values=(0.25, 0.75), elapsed_us=1234))
    assert lines[:3] == ["m-warmup-start-3", "m-warmup-done", "m-infer-start-10"]
    start, end = (int(line.removeprefix("m-lap-us-")) for line in lines[3:5])
    assert end - start == 1234
    assert lines[5:] == ["m-infer-done", "m-results-[0.250,0.750]", "m-ready"]
    assert terminal.type("results%") == ["m-results-[0.250,0.750]", "m-ready"]
    assert not terminal.console.waits_for(FIRST_ID)


def test_a_refusal_is_told(terminal: Terminal) -> None:
    terminal.type("scrub%")
    assert terminal.reply(Failed(text="no image is loaded")) == ["e-[no image is loaded]", "m-ready"]


@pytest.mark.parametrize(
    "noise",
    [b"raspberrypi login: ", b"AT\r\n", b"100% done\r\n", b"%%%", b"nam\xffe%", b"\x00name%", b"x" * (LONGEST * 3)],
)
def test_noise_is_not_answered_and_does_no_lasting_harm(terminal: Terminal, noise: bytes) -> None:
    terminal.console.feed(noise)
    assert terminal.written == b""
    assert terminal.type("\r\nname%")[-1] == "m-ready"


# ---- a whole node -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> bytes:
    return hil.compile_model(digits("int8").model_path).to_bytes()


@pytest.fixture
def far_end(tmp_path: Path) -> Iterator[Transport]:
    near, far = memory_pair()
    with near, serve_in_thread(far, lambda: Service(tmp_path, in_process=True), tmp_path):
        yield near


def talk(line: Transport, text: str) -> list[str]:
    line.write(text.encode())
    got, end_s = b"", time.monotonic() + 30
    while not got.endswith(b"m-ready\r\n") and time.monotonic() < end_s:
        got += line.read(timeout_s=1.0)
    return got.decode().split("\r\n")[:-1]


def test_a_terminal_before_any_host(far_end: Transport) -> None:
    assert talk(far_end, "name%")[0].startswith("m-name-dut-[flightnode ")
    assert talk(far_end, "temp 40%") == ["m-ready"]
    assert "m-plant_c-[40.0]" in talk(far_end, "status%")
    assert talk(far_end, "scrub%")[0].startswith("e-[")


def test_a_host_loads_the_model_and_its_own_inference_agrees_with_the_computer(
    far_end: Transport, image: bytes
) -> None:
    compiled = hil.compile_model(digits("int8").model_path)
    picture = np.random.default_rng(3).random((1, 1, 8, 8)).astype(np.float32)
    with Computer(compiled) as computer:
        golden = computer.infer({"image": picture})["logits"].ravel()
    channel = Channel(far_end, "host")
    channel.wait_established(10)
    bridge = Bridge(channel)
    bridge.load(BlobKind.IMAGE, image)
    found = bridge.infer(picture.tobytes(), count=3, warm_up=1)
    assert found.values == pytest.approx(golden.tolist())
    assert found.elapsed_us > 0
    with pytest.raises(Refused, match="an input has 256 bytes"):
        bridge.infer(b"short")


def test_text_is_noise_while_a_host_is_there(far_end: Transport) -> None:
    channel = Channel(far_end, "host")
    channel.wait_established(10)
    bridge = Bridge(channel)
    before = bridge.stats.noise_bytes
    far_end.write(b"name%\0")
    assert bridge.hello().state
    assert bridge.stats.noise_bytes == before, "the node said nothing but frames"
