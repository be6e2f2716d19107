"""Talking to a node by hand."""

import io
import sys
from collections.abc import Iterator

import pytest

import hil
from firmware_bridge import messages as m
from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.errors import PortError
from firmware_bridge.loading import BlobKind
from firmware_bridge.transport import memory_pair
from hil.boards.console import Console
from hil.cli import main
from hil.workloads import digits
from tests.fake_node import FakeNode


class Talk:
    def __init__(self, node: FakeNode, bridge: Bridge) -> None:
        self.node = node
        self.lines: list[str] = []
        self.console = Console(bridge, self.lines.append)

    def say(self, line: str) -> str:
        self.lines.clear()
        assert self.console.do(line)
        return "\n".join(self.lines)


@pytest.fixture
def talk() -> Iterator[Talk]:
    near, far = memory_pair()
    channel = Channel(near, "host")

    def refuse(node: FakeNode, message: m.Message) -> m.Message | None:
        return m.Failed(text="no checkpoint was saved") if isinstance(message, m.Restore) else None

    with FakeNode(far, refuse) as node, Bridge(channel) as bridge:
        channel.wait_established(10)
        yield Talk(node, bridge)


def test_what_can_be_asked(talk: Talk) -> None:
    assert "agent_version       1.2" in talk.say("hello")
    assert "state               ready" in talk.say("status")
    assert "corrected           1" in talk.say("scrub")
    assert "sequence            3" in talk.say("checkpoint")
    assert "within" in talk.say("clock")
    assert "bytes_sent" in talk.say("link")
    assert talk.say("reset") == "done"
    assert talk.node.executed["Reset"] == 1


def test_the_temperature_reaches_the_node(talk: Talk) -> None:
    assert talk.say("temp 61.5") == "done"
    assert talk.node.celsius == 61.5
    assert talk.say("limits 70 80") == "done"
    assert talk.node.executed["SetThrottleLimits"] == 1


def test_a_model_is_loaded_by_its_name_or_its_file(talk: Talk) -> None:
    for model in ("builtin:digits_int8", str(digits("int8").model_path)):
        assert talk.say(f"load {model}").endswith("bytes are loaded")
        assert talk.node.blobs[BlobKind.IMAGE] == hil.compile_model(digits("int8").model_path).to_bytes()


def test_help_names_every_command_and_each_of_them_works(talk: Talk) -> None:
    names = [line.split()[0] for line in talk.say("help").splitlines()]
    assert {"temp", "scrub", "status", "quit"} <= set(names)
    for name in set(names) - {"quit", "help"}:
        assert "no command" not in talk.say(name)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("stauts", "did you mean 'status'?"),
        ("temp", "temp CELSIUS"),
        ("temp hot", "temp CELSIUS"),
        ("limits 1", "limits SOFT HARD"),
        ("load", "load MODEL"),
        ("load nothing.onnx", "nothing.onnx"),
        ("restore", "no checkpoint was saved"),
        ("", ""),
    ],
)
def test_mistakes_are_told_and_the_conversation_goes_on(talk: Talk, line: str, words: str) -> None:
    assert words in talk.say(line)


@pytest.mark.parametrize("line", ["quit", "exit\n"])
def test_the_end(talk: Talk, line: str) -> None:
    assert not talk.console.do(line)


def test_a_line_that_is_gone_ends_it(talk: Talk) -> None:
    talk.node.__exit__(None, None, None)
    with pytest.raises(PortError):
        talk.console.do("status")


def test_a_script_may_talk(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\ntemp 40\nstatus\n"))
    assert main(["console", "memory"]) == 0
    said = capsys.readouterr().out
    assert "agent_id" in said
    assert "plant_c             40.0" in said
