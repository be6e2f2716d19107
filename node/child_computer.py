"""The computer as a child process, which may crash, hang or be killed without taking the line with it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence

from firmware_bridge.messages import Message
from node.pipe import MessagePipe
from node.runners import Ended, Event

LAST_WORDS = 20
READ_BYTES = 1 << 16
POLL_S = 0.005
EXIT_GRACE_S = 0.5


class ChildComputer:
    """Starts a command that ends in :func:`node.agent.run_child`, and watches it.

    Parameters
    ----------
    command : sequence of str
        The command line; ``--fd N`` is appended to it.
    log : callable
        Takes what the child writes to its standard output and error.
    """

    def __init__(self, command: Sequence[str], log: Callable[[bytes], None]) -> None:
        self._command = tuple(command)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: MessagePipe | None = None
        self._words: int | None = None
        self._tail: deque[str] = deque(maxlen=LAST_WORDS)
        self._half_line = b""
        self._pipe_ended_s: float | None = None

    # ---- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a fresh process; it says Done when it is ready."""
        self._release()
        self._tail.clear()
        self._half_line = b""
        ours, theirs = socket.socketpair()
        self._words, their_words = os.pipe()
        os.set_blocking(self._words, False)
        self._pipe = MessagePipe(ours)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*self._command, "--fd", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=their_words,
                    stderr=their_words,
                    pass_fds=(theirs.fileno(),),
                    process_group=0,  # an interrupt typed at a terminal is the supervisor's to handle
                )
            finally:
                os.close(their_words)

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None else None

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Let the process end by closing its pipe, and kill it if it does not."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            try:
                self._process.wait(EXIT_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._release()

    def _release(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        if self._words is not None:
            os.close(self._words)
            self._words = None
        self._pipe_ended_s = None

    # ---- traffic ---------------------------------------------------------------------------------------------

    def submit(self, message: Message) -> None:
        """Send a message; one that the child can no longer take shows as its end."""
        if self._pipe is not None:
            self._pipe.send(message)

    @property
    def readers(self) -> Sequence[int]:
        """The pipe and the log, as long as they are open."""
        pipe = [self._pipe.fileno()] if self._pipe is not None and not self._pipe.ended else []
        return pipe + ([self._words] if self._words is not None else [])

    @property
    def patience_s(self) -> float | None:
        """A short time while the pipe is full, or has ended and the process not yet: no descriptor tells of these."""
        full = self._pipe is not None and self._pipe.wants_to_write
        return POLL_S if full or self._pipe_ended_s is not None else None

    def events(self) -> list[Event]:
        """Give the messages that have come, and the end of the process after its last message."""
        if self._process is None:
            return []
        status = self._process.poll()  # before the pipe is read: what comes after this is the next call's
        events: list[Event] = []
        if self._pipe is not None:
            self._pipe.flush()
            events += self._pipe.receive()
            if self._pipe.ended and self._pipe_ended_s is None:
                self._pipe_ended_s = time.monotonic()
        self._read_words()
        if status is not None:
            self._process = None
            self._release()
            events.append(Ended(detail=self._describe(status), last_words=tuple(self._tail)))
        elif self._pipe_ended_s is not None and time.monotonic() - self._pipe_ended_s > EXIT_GRACE_S:
            self._process.kill()
        return events

    def _describe(self, status: int) -> str:
        if status < 0:
            try:
                name = signal.Signals(-status).name
            except ValueError:
                name = "unknown"
            return f"signal {-status} ({name})"
        last = f": {self._tail[-1]}" if status and self._tail else ""
        return f"exit status {status}{last}"

    def _read_words(self) -> None:
        """Pass on what the child logs and remember the last lines."""
        if self._words is None:
            return
        try:
            while data := os.read(self._words, READ_BYTES):
                self._log(data)
                *lines, self._half_line = (self._half_line + data).split(b"\n")
                self._tail.extend(line.decode(errors="replace") for line in lines if line.strip())
        except BlockingIOError:
            return
        os.close(self._words)  # every writer has closed it: it would be readable for ever
        self._words = None
