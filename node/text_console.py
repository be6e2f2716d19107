"""The node for a person with a terminal program, and for harnesses that speak the dialect of MLPerf Tiny.

Commands are words that end with ``%``; replies are lines, the last of them ``m-ready``. The binary protocol begins
with a zero byte, which no terminal sends: as long as a session is open, text is noise like any other. Words that are
no commands are not answered either, so that boot messages and modem probes stay without reply.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import fields

from firmware_bridge import codec
from firmware_bridge.errors import DataError
from firmware_bridge.messages import (
    Failed,
    Infer,
    Inferred,
    Message,
    Scrub,
    ScrubReport,
    SetTemperature,
    Telemetry,
    TelemetryRequest,
)

END = b"%"
LONGEST = 4096
"""What is longer without an end is no command."""
MAX_INPUT = 1 << 19
FIRST_ID = 0xF000_0000
"""Requests of the console have ids from here on; hosts begin anywhere, but there is no host while there is text."""
_TEXT = frozenset(range(0x20, 0x7F)) | {0x09, 0x0A, 0x0D}

HELP = (
    "name% profile% timestamp%    who is there",
    "db load N%  db HEX..%  db print%    the input, in bytes",
    "infer N W%  results%    N inferences after W to warm up; their last outputs",
    "status%  temp CELSIUS%  scrub%  help%    the node",
)


class TextConsole:
    """Takes bytes, gives requests to the node and lines to the terminal.

    Parameters
    ----------
    submit : callable
        Takes an encoded request; its reply is to come to :meth:`answer`.
    write : callable
        Takes bytes for the terminal.
    name : str
        What the node calls itself.
    """

    def __init__(self, submit: Callable[[bytes], None], write: Callable[[bytes], None], name: str) -> None:
        self._submit = submit
        self._write = write

        self._held = b""
        self._buffer = bytearray()
        self._expected = 0
        self._results: tuple[float, ...] = ()
        self._ids = itertools.count(FIRST_ID)
        self._waiting: dict[int, Message] = {}
        self._commands: dict[str, Callable[[list[str]], bool]] = {
            "name": lambda _: self._say(f"m-name-dut-[{name}]"),
            "profile": lambda _: self._say(f"m-profile-[{name}]", "m-model-[loaded by the host]"),
            "timestamp": lambda _: self._say(f"m-lap-us-{time.monotonic_ns() // 1000}"),
            "db": self._db,
            "infer": self._infer,
            "results": lambda _: self._say(self._results_line()),
            "help": lambda _: self._say(*HELP),
            "status": lambda _: self._ask(TelemetryRequest()),
            "temp": lambda words: self._ask(SetTemperature(celsius=float(words[0]))),
            "scrub": lambda _: self._ask(Scrub()),
        }

    def feed(self, data: bytes) -> None:
        """Take in what came over the line while no session was open."""
        if not _TEXT.issuperset(data):
            self._held = b""
            return
        self._held += data
        while END in self._held:
            command, _, self._held = self._held.partition(END)
            lines = command.decode("ascii").strip().splitlines()
            self._carry_out(lines[-1].split() if lines else [])
        self._held = self._held[-LONGEST:]

    def _carry_out(self, words: list[str]) -> None:
        if not words or words[0] not in self._commands:
            return
        try:
            done = self._commands[words[0]](words[1:])
        except (ValueError, IndexError):
            done = self._say(f"e-[{' '.join(words)[:60]}: cannot be read; help% lists the commands]")
        if done:
            self._ready()

    def waits_for(self, request_id: int) -> bool:
        """Whether a reply with this id is the console's."""
        return request_id in self._waiting

    def answer(self, body: bytes) -> None:
        """Take in the reply to one of the console's requests."""
        reply, request_id = codec.decode(body)
        request = self._waiting.pop(request_id)
        match reply:
            case Inferred() if isinstance(request, Infer):
                self._results = reply.values
                end_us = time.monotonic_ns() // 1000
                self._say(
                    f"m-warmup-start-{request.warm_up}",
                    "m-warmup-done",
                    f"m-infer-start-{request.count}",
                    f"m-lap-us-{end_us - reply.elapsed_us}",
                    f"m-lap-us-{end_us}",
                    "m-infer-done",
                    self._results_line(),
                )
            case Failed():
                self._say(f"e-[{reply.text}]")
            case Telemetry() | ScrubReport():
                self._say(*(f"m-{field.name}-[{getattr(reply, field.name)}]" for field in fields(reply)))
        self._ready()

    def _db(self, words: list[str]) -> bool:
        if words[0] == "load":
            self._expected = int(words[1])
            if not 0 < self._expected <= MAX_INPUT:
                raise ValueError(self._expected)
            self._buffer.clear()
            return self._say(f"m-[Expecting {self._expected} bytes]")
        if words[0] == "print":
            return self._say("m-buffer-" + self._buffer.hex("-"))
        data = bytes.fromhex(words[0])
        if len(self._buffer) + len(data) > self._expected:
            raise ValueError(len(data))
        self._buffer += data
        return self._say("m-load-done") if len(self._buffer) == self._expected else True

    def _infer(self, words: list[str]) -> bool:
        count, warm_up = int(words[0]), int(words[1]) if len(words) > 1 else 0
        return self._ask(Infer(data=bytes(self._buffer), count=count, warm_up=warm_up))

    def _results_line(self) -> str:
        return f"m-results-[{','.join(f'{value:.3f}' for value in self._results)}]"

    def _ask(self, message: Message) -> bool:
        """Hand a request on; the reply ends the command."""
        request_id = next(self._ids)
        try:
            body = codec.encode(message, request_id)
        except DataError as error:
            raise ValueError(str(error)) from error
        self._waiting[request_id] = message
        self._submit(body)
        return False

    def _say(self, *lines: str) -> bool:
        self._write("".join(f"{line}\r\n" for line in lines).encode())
        return True

    def _ready(self) -> None:
        self._say("m-ready")
