"""A conversation with a node, for a person at a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import FlightNodeError, LinkLost, PortError
from firmware_bridge.loading import BlobKind
from firmware_bridge.messages import Message
from hil.toml_file import advice

QUIT = ("quit", "exit")
DONE = "done"


class Console:
    """Carries out one line after the other.

    Parameters
    ----------
    bridge : Bridge
        The node; whoever made the bridge closes it.
    write : callable
        Takes each line for the person.
    """

    def __init__(self, bridge: Bridge, write: Callable[[str], None]) -> None:
        self._bridge = bridge
        self._write = write
        self._commands: dict[str, tuple[str, Callable[[list[str]], None]]] = {
            "help": ("this list", self._help),
            "hello": ("who is there", lambda _: self._say(bridge.hello())),
            "status": ("temperatures, clocks and counters", lambda _: self._say(bridge.telemetry())),
            "load": ("load MODEL: an .onnx file, or one that comes along, such as builtin:digits_int8", self._load),
            "temp": ("temp CELSIUS: tell the node how hot the plant is", self._temperature),
            "limits": ("limits SOFT HARD: where throttling starts, and where it is full", self._limits),
            "scrub": ("check and correct every protected region once", lambda _: self._say(bridge.scrub())),
            "checkpoint": ("save the state", lambda _: self._say(bridge.checkpoint())),
            "restore": ("load the newest checkpoint that verifies", lambda _: self._say(bridge.restore())),
            "reset": ("memory and counters as after loading", self._reset),
            "clock": ("the node's clock against this one", self._clock),
            "link": ("counters of the line", self._link),
        }

    def do(self, line: str) -> bool:
        """Carry out a line; False when it ends the conversation.

        Raises
        ------
        PortError, LinkLost
            The line or the node is gone. Any other error is told to the person.
        """
        words = line.split()
        if not words:
            return True
        name, *arguments = words
        if name in QUIT:
            return False
        if name not in self._commands:
            self._write(f"no command {name!r}; {advice(name, [*self._commands, *QUIT])}")
            return True
        try:
            self._commands[name][1](arguments)
        except ValueError:
            self._write(f"{name}: {self._commands[name][0]}")
        except (PortError, LinkLost):
            raise
        except FlightNodeError as error:
            self._write(str(error))
        return True

    def _help(self, _arguments: list[str]) -> None:
        for name, (meaning, _) in self._commands.items():
            self._write(f"{name:12}{meaning}")
        self._write(f"{'quit':12}end this conversation; the node goes on")

    def _load(self, arguments: list[str]) -> None:
        (model,) = arguments
        image = compiled(model)
        self._bridge.load(BlobKind.IMAGE, image)
        self._write(f"{len(image)} bytes are loaded")

    def _temperature(self, arguments: list[str]) -> None:
        (celsius,) = arguments
        self._bridge.set_temperature(float(celsius))
        self._write(DONE)

    def _limits(self, arguments: list[str]) -> None:
        soft, hard = arguments
        self._bridge.set_throttle_limits(float(soft), float(hard))
        self._write(DONE)

    def _reset(self, _arguments: list[str]) -> None:
        self._bridge.reset()
        self._write(DONE)

    def _clock(self, _arguments: list[str]) -> None:
        found = self._bridge.synchronise()
        self._write(f"offset {found.offset_s:+.6f} s, within {found.uncertainty_s * 1e6:.0f} us")

    def _link(self, _arguments: list[str]) -> None:
        stats = self._bridge.stats
        for field in fields(stats):
            self._write(f"{field.name:20}{getattr(stats, field.name)}")

    def _say(self, message: Message) -> None:
        for field in fields(message):
            self._write(f"{field.name:20}{getattr(message, field.name)}")


def compiled(model: str) -> bytes:
    """Give the flight image of a model, by its file or its name among those that come along."""
    import hil
    from hil.workloads import BUILTIN

    return hil.compile_model(BUILTIN[model].model_path if model in BUILTIN else Path(model)).to_bytes()
