"""The emulated machine: a process of QEMU, its power, its UART and its memory in a file."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from firmware_bridge.errors import ConfigError, PortError
from hil.boards.qemu.image import BoardImage
from hil.boards.qemu.kernels import PROCESSOR
from hil.boards.qemu.monitor import Monitor

MEMORY_MIB = 512
PROCESSORS = 2
UART = "uart"
BAUD = 921_600
COMMAND_LINE = "console=hvc0 rdinit=/init quiet panic=1 mitigations=off"
"""What the kernel is told. A panic restarts the machine, as a watchdog would; the UART is the node's alone."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's folder of files in memory
OFF_S = 10.0
SHELL_S = 180.0
"""So long a question may take inside: its Python starts slowly on a host that is busy."""
LOG_TAIL_LINES = 5


class Machine:
    """One emulated board. Close it: QEMU and its folder go.

    Parameters
    ----------
    image : BoardImage
        What it starts from.
    memory_mib : int
        Its RAM.

    Raises
    ------
    ConfigError
        QEMU is not here.
    """

    def __init__(self, image: BoardImage, memory_mib: int = MEMORY_MIB) -> None:
        if shutil.which("qemu-system-aarch64") is None:
            raise ConfigError("the emulated board needs qemu-system-aarch64; run `apt-get install qemu-system-arm`")
        self.image = image
        self.memory_bytes = memory_mib << 20
        self.folder = Path(tempfile.mkdtemp(prefix="flightnode-qemu-", dir=_roomy_folder(2 * self.memory_bytes)))
        self._process: subprocess.Popen[bytes] | None = None
        self.monitor: Monitor | None = None

    @property
    def memory_path(self) -> Path:
        """The file that is the machine's RAM."""
        return self.folder / "memory"

    @property
    def console_path(self) -> Path:
        """What kernel and node write beside the UART."""
        return self.folder / "console.log"

    @property
    def pid(self) -> int | None:
        """Process id of QEMU, None while the power is off."""
        return None if self._process is None else self._process.pid

    @property
    def is_on(self) -> bool:
        """Whether it runs: a machine that restarts itself ends, see :meth:`on`."""
        return self._process is not None and self._process.poll() is None

    def on(self, *, incoming: bool = False) -> None:
        """Give it power. What was in its memory is lost, as in a real one.

        Parameters
        ----------
        incoming : bool
            Do not boot: leave the memory file as it is, and wait for the state of the processors.

        Raises
        ------
        PortError
            QEMU does not start.
        """
        self.off()
        if not incoming:
            self.memory_path.unlink(missing_ok=True)
        monitor = self.folder / "monitor"
        monitor.unlink(missing_ok=True)
        with (self.folder / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_dying_with_us(), *self._command(monitor), *(["-incoming", "defer"] if incoming else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the campaign
            )
        try:
            self.monitor = Monitor(monitor)
        except PortError as error:
            self.off()
            raise PortError(f"{error}; QEMU's last words: {self._log_tail()}") from None

    def off(self) -> None:
        """Take its power away; nothing happens where it has none."""
        if self.monitor is not None:
            self.monitor.close()
            self.monitor = None
        if self._process is not None:
            self._process.kill()
            self._process.wait(OFF_S)
            self._process = None

    def cycle(self) -> None:
        """Take its power away and give it back."""
        self.off()
        self.on()

    @property
    def url(self) -> str:
        """The host's end of the UART, as a target."""
        if self.monitor is None:
            raise PortError("the emulated board has no power")
        for device in self.monitor.do("query-chardev"):
            if device["label"] == UART:
                path = str(device["filename"]).removeprefix("pty:")
                return f"serial://{path}?baud={BAUD}"
        raise PortError("QEMU gave the board no pseudo-terminal")

    def memory(self) -> mmap.mmap:
        """Give the RAM of a machine that is on: what is written there, the machine reads."""
        with self.memory_path.open("r+b") as file:
            return mmap.mmap(file.fileno(), self.memory_bytes)

    def ask(self, command: str) -> str:
        """Have a shell inside the machine carry out a command, and give what it printed.

        Raises
        ------
        PortError
            The machine gives no answer: it is off, boots or is broken.
        """
        # An answer that comes too late, or the question's own echo, must not be taken for the answer.
        token = secrets.token_hex(8)
        begin, end = f"begin-{token}\n".encode(), f"end-{token}".encode()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(SHELL_S)
            try:
                line.connect(str(self.folder / "shell"))
                line.sendall(f"echo begin-{token}; {command}; echo end-{token}\n".encode())
                said = b""
                while end not in said.partition(begin)[2]:
                    part = line.recv(65_536)
                    if not part:
                        raise PortError(f"the emulated board ended while it was asked to {command!r}")
                    said += part
            except OSError as error:
                raise PortError(f"the emulated board does not answer to {command!r}: {error}") from None
        return said.partition(begin)[2].partition(end)[0].decode(errors="replace")

    def close(self) -> None:
        """Switch it off for good."""
        self.off()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _command(self, monitor: Path) -> list[str]:
        memory = f"memory-backend-file,id=ram,size={self.memory_bytes},mem-path={self.memory_path},share=on"
        return [
            "qemu-system-aarch64",
            *("-M", "virt,memory-backend=ram", "-cpu", PROCESSOR, "-smp", str(PROCESSORS)),
            *("-m", str(self.memory_bytes >> 20), "-object", memory, "-accel", "tcg,thread=multi"),
            *("-nodefaults", "-nographic", "-no-reboot"),
            *("-kernel", str(self.image.kernel), "-initrd", str(self.image.initramfs), "-append", COMMAND_LINE),
            *("-drive", f"if=none,id=disk,format=raw,readonly=on,file={self.image.disk}"),
            *("-device", "virtio-blk-device,drive=disk"),
            *("-chardev", f"file,id=console,append=on,path={self.console_path}"),
            *("-chardev", f"socket,id=shell,server=on,wait=off,path={self.folder / 'shell'}"),
            *("-device", "virtio-serial-device,max_ports=3"),
            *("-device", "virtconsole,chardev=console", "-device", "virtconsole,chardev=shell"),
            *("-chardev", f"pty,id={UART}", "-serial", f"chardev:{UART}"),
            *("-qmp", f"unix:{monitor},server=on,wait=off"),
        ]

    def _log_tail(self) -> str:
        lines = (self.folder / "qemu.log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-LOG_TAIL_LINES:]) or "none"


def _roomy_folder(needed_bytes: int) -> Path | None:
    """Give a folder in memory where there is room for a machine's RAM, else None: the usual temporary folder."""
    try:
        room = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return SHARED_MEMORY if room.f_bavail * room.f_frsize > needed_bytes else None


def _dying_with_us() -> list[str]:
    """Give what is put before a command so that the kernel ends it when this process is killed."""
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
