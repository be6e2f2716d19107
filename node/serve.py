"""The loop that waits: for the line, for the computer and for the watchdog, never for one of them alone."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firmware_bridge import codec
from firmware_bridge.channel import Channel
from firmware_bridge.errors import PortError
from firmware_bridge.link import ABANDONED_S
from firmware_bridge.messages import Progress
from firmware_bridge.transport import Transport
from node.agent import Preparation, ServiceFactory
from node.blob_store import BlobStore
from node.doors import RETRY_S, Door, OneLine
from node.runners import InlineComputer, Runner
from node.service_manager import ServiceManager
from node.supervisor import UNASKED, Supervisor
from node.text_console import TextConsole
from node.version import agent_version

HOUSEKEEPING_S = 1.0
"""Period of the telemetry that is sent unasked."""
IDLE_S = 60.0
"""Longest wait; every event of interest ends it sooner."""
SAY_GOODBYE_S = 0.2


class Stop:
    """A flag that also ends a wait: safe to set from a signal handler or another thread."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self.is_set = False

    def set(self) -> None:
        """Ask the loop to end."""
        self.is_set = True
        os.write(self._writer, b"!")

    def fileno(self) -> int:
        """Give the descriptor that becomes readable."""
        return self._reader

    def close(self) -> None:
        """Close both ends."""
        os.close(self._reader)
        os.close(self._writer)


class Server:
    """One node: a door for hosts, a supervisor and its computer.

    Parameters
    ----------
    door : Door
        Where hosts come from; the server closes it.
    runner : Runner
        What carries the computer.
    store : BlobStore
        Where uploads go.
    log : callable
        Takes lines about what is out of the ordinary.
    once : bool
        End when the first host's line ends, whatever the door.
    manager : ServiceManager, optional
        Is told that the node is up and alive.
    """

    def __init__(
        self,
        door: Door,
        runner: Runner,
        store: BlobStore,
        *,
        log: Callable[[str], None],
        once: bool = False,
        manager: ServiceManager | None = None,
    ) -> None:
        self._manager = manager if manager is not None else ServiceManager({})
        self._door = door
        self._runner = runner
        self._log = log
        self._once = once or not door.reopens
        self._channel: Channel | None = None
        self._had_host = False
        self._try_again_s = 0.0
        self._house_kept_s = time.monotonic()
        self._console = TextConsole(self._submit_for_console, self._say, f"flightnode {agent_version()}")
        self._supervisor = Supervisor(runner, store, send=self._send, log=log, send_packet=self._send_packet)
        self._supervisor.uart = door.uart

    def run(self, stop: Stop) -> None:
        """Serve until asked to stop, or until the last line has ended."""
        try:
            self._open()
            self._supervisor.start()
            self._manager.ready()
            busy = True
            while not stop.is_set and not self._finished:
                self._hear(stop, 0.0 if busy else self._wait_s())
                self._keep_house()
                self._manager.alive()
                busy = self._supervisor.advance()
            self._say_goodbye()
        finally:
            self._supervisor.close()
            self._door.close()
            if self._channel is not None:
                self._channel.close()

    def _keep_house(self) -> None:
        """Have telemetry sent at its period, as long as a host listens."""
        if self._somebody_listens and time.monotonic() >= self._house_kept_s + HOUSEKEEPING_S:
            self._house_kept_s = time.monotonic()
            self._supervisor.keep_house()

    @property
    def _somebody_listens(self) -> bool:
        channel = self._channel
        return channel is not None and channel.established and channel.silent_s < ABANDONED_S

    def _say_goodbye(self) -> None:
        """Give the last replies a moment to arrive."""
        if self._channel is not None:
            try:
                self._channel.flush(SAY_GOODBYE_S)
            except PortError as error:
                self._lost(error)

    def pass_on(self, progress: Progress) -> None:
        """Send a progress from inside a computer that works in this thread, and keep the line alive."""
        self._send(codec.encode(progress, UNASKED), False)
        self._hear(None, 0.0)

    @property
    def _finished(self) -> bool:
        return self._channel is None and self._had_host and self._once

    # ---- waiting ---------------------------------------------------------------------------------------------

    def _wait_s(self) -> float:
        now_s = time.monotonic()
        due_s = self._supervisor.next_event_s()
        waits = [IDLE_S if due_s is None else due_s - now_s, self._manager.wait_s]
        if self._somebody_listens:
            waits.append(self._house_kept_s + HOUSEKEEPING_S - now_s)
        if self._runner.patience_s is not None:
            waits.append(self._runner.patience_s)
        if self._channel is None and not self._door.readers:
            waits.append(self._try_again_s - now_s)
        return max(0.0, min(waits))

    def _hear(self, stop: Stop | None, timeout_s: float) -> None:
        """Wait for whatever comes first and hand the host's messages to the supervisor."""
        also = [*self._runner.readers] + ([stop.fileno()] if stop is not None else [])
        if self._channel is None:
            select.select([*also, *self._door.readers], [], [], timeout_s)
            self._open()
            return
        try:
            bodies = self._channel.poll(timeout_s, also)
        except PortError as error:
            self._lost(error)
            return
        text = self._channel.overheard()
        for body in bodies:
            self._supervisor.take(body)
        if text:
            self._console.feed(text)

    def _open(self) -> None:
        now_s = time.monotonic()
        if now_s < self._try_again_s and not self._door.readers:
            return
        self._try_again_s = now_s + RETRY_S
        transport = self._door.open()
        if transport is not None:
            self._had_host = True
            self._channel = Channel(transport, "node")
            self._log(f"serving {self._door.name}")

    def _send(self, body: bytes, urgent: bool) -> None:
        """Give a reply to the line; without one it is dropped, since the host will ask again."""
        if self._console.waits_for(codec.ENVELOPE.unpack_from(body)[1]):
            if codec.MESSAGE_TYPES[body[0]] is not Progress:
                self._console.answer(body)
            return
        if self._channel is None:
            return
        try:
            self._channel.send(body, urgent)
        except PortError as error:
            self._lost(error)

    def _submit_for_console(self, body: bytes) -> None:
        self._supervisor.take(body)

    def _say(self, text: bytes) -> None:
        if self._channel is None:
            return
        try:
            self._channel.say(text)
        except PortError as error:
            self._lost(error)

    def _send_packet(self, packet: bytes) -> None:
        if self._channel is None:
            return
        try:
            self._channel.send_unreliable(packet)
        except PortError as error:
            self._lost(error)

    def _lost(self, error: PortError) -> None:
        self._log(str(error) if self._once else f"{error}; waiting for the next host")
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._try_again_s = time.monotonic() + RETRY_S


@contextmanager
def serve_in_thread(
    transport: Transport,
    factory: ServiceFactory,
    storage: Path,
    *,
    prepare: Preparation | None = None,
    log: Callable[[str], None] = lambda _line: None,
) -> Iterator[None]:
    """Run a whole node in a thread of this process, at the other end of ``transport``.

    Parameters
    ----------
    transport : Transport
        The node's end of the line; the node closes it.
    factory : callable
        Makes a service that raises :class:`~node.errors.PayloadCrash` and :class:`~node.errors.PayloadHang`.
    storage : Path
        The folder of the blobs.
    prepare : callable, optional
        Long work before the first request.
    log : callable, optional
        Takes lines about what is out of the ordinary, in that thread.

    Raises
    ------
    Exception
        At the end, whatever ended the thread before its time.
    """
    computer = InlineComputer(factory, storage, prepare)
    server = Server(OneLine(transport), computer, BlobStore(storage), log=log)
    computer.progress = server.pass_on
    stop = Stop()
    failures: list[Exception] = []

    def work() -> None:
        try:
            server.run(stop)
        except Exception as error:  # noqa: BLE001  # raised again by the thread that asked for the node
            failures.append(error)

    thread = threading.Thread(target=work, name="flightnode", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        stop.close()
        if failures:
            raise failures[0]
