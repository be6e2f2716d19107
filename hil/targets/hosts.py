"""What keeps a node alive: a thread, a process behind a pseudo-terminal, or nobody (a board on the bench)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from firmware_bridge.bridge import Bridge
from firmware_bridge.channel import Channel
from firmware_bridge.conversation import exchanges, listen
from firmware_bridge.errors import ConfigError, LinkLost
from firmware_bridge.playback import PlayedNode
from firmware_bridge.transcript import read_transcript
from firmware_bridge.transport import Transport, memory_pair, open_pty
from hil.boards.address import LINES
from hil.boards.bench_file import BOOT_S, board_url, find_board, ports_of_this_machine
from hil.boards.power import PowerSwitch
from hil.targets.storage import NodeStorage
from node.serve import serve_in_thread
from node.service import Service

START_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10.0
RECOVER_S = 2.0
"""So long a board's port may be away before what was asked for counts as lost and is asked for anew."""
EXIT_TIMEOUT_S = 5.0
DEATH_GRACE_S = 0.5
"""From a line that breaks to a process that counts as ended, where its end is what broke the line."""
LOG_TAIL_LINES = 5


class Host(Protocol):
    """What keeps a node alive: a process, a thread, or nobody (a board on the bench)."""

    url: str
    boot_s: float
    """So long its node may be silent while it starts again by itself."""

    def connect(self) -> Bridge:
        """Start the node where that is possible, and give a bridge to it."""

    def has_died(self) -> bool | None:
        """Tell whether the node has ended by itself; None where nobody can see that from here."""

    def power_cycle(self) -> bool:
        """Switch the node off and on again; False where nothing here can do that."""

    def close(self) -> None:
        """End the node where this host started it."""


class MemoryHost:
    """The whole node in a thread of this process, at the other end of an in-memory line.

    Parameters
    ----------
    baud : float, optional
        Both ends keep to the pace of a line with so many bits per second.
    """

    url = "memory"
    boot_s = 0.0

    def __init__(self, baud: float | None = None) -> None:
        self._baud = baud
        self._kept = NodeStorage("memory")
        self._storage = self._kept.path
        self._node = ExitStack()

    def connect(self) -> Bridge:
        """Start the node anew and give a bridge to it."""
        self._node.close()
        near, far = memory_pair()
        near.baud = far.baud = self._baud
        storage = self._storage
        self._node.enter_context(serve_in_thread(far, lambda: Service(storage, in_process=True), storage))
        return _bridge(near, CONNECT_TIMEOUT_S)

    def has_died(self) -> bool:
        """Give False: a thread lives as long as this process."""
        return False

    def power_cycle(self) -> bool:
        """Give False: it has no power of its own."""
        return False

    def close(self) -> None:
        """End the node."""
        self._node.close()
        self._kept.close()


class PtyHost:
    """The node as a process of its own, at the other end of a pseudo-terminal: the whole serial stack.

    The node's log goes to a file, whose last lines explain a node that does not come up.
    """

    url = "pty"
    boot_s = 0.0

    def __init__(self) -> None:
        self._kept = NodeStorage("pty")
        self._storage = self._kept.path
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the node, for whoever wants to kill it from outside."""
        return None if self._process is None else self._process.pid

    def connect(self) -> Bridge:
        """Start the node anew and give a bridge to it."""
        self._end()
        master, path = open_pty()
        # A terminal that nobody has open reads as vanished: hold it open until the node has. From then on the
        # node's death shows at once.
        held = os.open(path, os.O_RDWR | os.O_NOCTTY)
        try:
            self._process = self._start(path)
            return _bridge(master, START_TIMEOUT_S)
        except LinkLost as error:
            raise LinkLost(f"{error}; the node's log ends with: {self._log_tail()}") from None
        finally:
            os.close(held)

    def has_died(self) -> bool:
        """Tell whether the process has ended by itself."""
        if self._process is None:
            return False
        try:
            self._process.wait(DEATH_GRACE_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def power_cycle(self) -> bool:
        """Give False: every connection starts the process anew."""
        return False

    def _start(self, path: str) -> subprocess.Popen[bytes]:
        # What a campaign needs of the interpreters, the host has compiled for its golden outputs; a code is compiled
        # when it is configured. All others would cost a new user most of a minute.
        serve = (sys.executable, "-m", "node", "serve", "--no-warm-up", "--temporary")
        command = (*serve, "--port", f"pty:{path}", "--storage", str(self._storage))
        with self._log_path.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def _log_path(self) -> Path:
        return self._storage / "node.log"

    def _log_tail(self) -> str:
        lines = self._log_path.read_text(errors="replace").splitlines()
        return " / ".join(lines[-LOG_TAIL_LINES:]) or "nothing"

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        """End the node and remove its storage."""
        self._end()
        self._kept.close()


class Board:
    """A node that somebody else keeps alive: it is only ever connected to, and its power cycled.

    Parameters
    ----------
    url : str
        Where it is.
    boot_s : float
        How long it may take to boot.
    switch : PowerSwitch, optional
        What takes its power away.
    """

    def __init__(self, url: str, *, boot_s: float = BOOT_S, switch: PowerSwitch | None = None) -> None:
        self.url = url
        self.boot_s = boot_s
        self._switch = switch

    def connect(self) -> Bridge:
        """Give a bridge to the node, which outlives a port that is gone for a moment."""
        return Bridge.connect(self.url, CONNECT_TIMEOUT_S, recover_s=RECOVER_S)

    def has_died(self) -> None:
        """Give None: nothing of it is seen from here but its answers."""

    def power_cycle(self) -> bool:
        """Carry out the power hooks of the bench file, if there are any."""
        if self._switch is None:
            return False
        self._switch.cycle()
        return True

    def close(self) -> None:
        """Leave the board as it is."""


class Played:
    """A node that gives the answers of a transcript, to a host that asks what was asked then."""

    boot_s = 0.0

    def __init__(self, path: Path) -> None:
        self.url = f"transcript:{path}"
        self._recorded = exchanges(listen(read_transcript(path)))
        self._node = ExitStack()

    def connect(self) -> Bridge:
        """Give a bridge to a node at the beginning of the transcript."""
        self._node.close()
        near, far = memory_pair()
        self._node.enter_context(PlayedNode(far, self._recorded))
        return _bridge(near, CONNECT_TIMEOUT_S)

    def has_died(self) -> bool:
        """Give False: a transcript does not die."""
        return False

    def power_cycle(self) -> bool:
        """Give False: it has no power of its own."""
        return False

    def close(self) -> None:
        """End the node."""
        self._node.close()


def host_of(target: str, folders: Iterable[Path] = ()) -> Host:
    """Give what keeps the node behind a target alive.

    Parameters
    ----------
    target : str
        A target with a link.
    folders : iterable of Path
        Where ``bench.toml`` is looked for.

    Raises
    ------
    ConfigError
        No such target, or one without a link.
    PortError
        The board is known, and no port of this machine is its.
    """
    scheme, _, rest = target.partition(":")
    match scheme:
        case "memory":
            return MemoryHost()
        case "pty":
            return PtyHost()
        case "qemu":
            from hil.targets.qemu_host import QemuHost

            return QemuHost()
        case "transcript" if rest:
            return Played(Path(rest))
        case _ if target.startswith(LINES):
            return Board(target)
        case "bench":
            board = find_board(target, folders)
            url = board_url(board, ports_of_this_machine)
            if url.startswith(LINES):
                return Board(url, boot_s=board.boot_s, switch=board.switch())
            return host_of(url)
    raise ConfigError(
        f"target {target!r}: no node behind a line; choose from memory, pty, qemu, serial:///dev/..., tcp://host:port, "
        "bench:NAME"
    )


def _bridge(transport: Transport, timeout_s: float) -> Bridge:
    channel = Channel(transport, "host")
    try:
        channel.wait_established(timeout_s)
    except BaseException:
        channel.close()
        raise
    return Bridge(channel)
