"""Makes a board into a node: a virtual environment, a service that systemd keeps alive, access to the port.

A plan is made first, which only says what would be written and carried out. Nothing is touched without it being shown
and confirmed.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from firmware_bridge.address import read_address
from firmware_bridge.errors import ConfigError, UsageError
from node.board_packages import REQUIREMENTS_FILE, WHEELS_FOLDER
from node.machine import Machine
from node.uart import MINI_UART, device_name, uart_kind

SERVICE_FILE = "etc/systemd/system/flightnode.service"
RULE_FILE = "etc/udev/rules.d/99-flightnode.rules"
WATCHDOG_FILE = "etc/systemd/system.conf.d/flightnode-watchdog.conf"
DEFAULT_PORT = "serial:///dev/ttyAMA0?baud=921600"
DEFAULT_PREFIX = Path("/opt/flightnode")
SILENCE_S = 30
"""systemd restarts a node whose loop stands still for so long."""
RUNTIME_WATCHDOG_S = 15
"""The board's own watchdog resets it when systemd itself stands still; the chip of a Raspberry Pi takes 16 at most."""

_SERVICE = """\
[Unit]
Description=flightnode: a payload computer behind {port}
{bound}
[Service]
Type=notify
WatchdogSec={silence_s}
ExecStartPre=-+/bin/sh -c 'chgrp dialout {clocks} && chmod g+w {clocks}'
ExecStart={prefix}/bin/flightnode serve --port {port} --storage /var/lib/flightnode
StateDirectory=flightnode
CacheDirectory=flightnode
Environment=XDG_CACHE_HOME=/var/cache
DynamicUser=yes
SupplementaryGroups=dialout video
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""

_CLOCKS = "/sys/devices/system/cpu/cpufreq/policy*/scaling_max_freq"
"""Throttling sets these, so the service's user may. The group video may ask the firmware."""

_RULE = """\
# The line of flightnode: open to the group dialout, known to systemd, left alone by ModemManager.
SUBSYSTEM=="tty", KERNEL=="{name}", GROUP="dialout", MODE="0660", TAG+="systemd", ENV{{ID_MM_DEVICE_IGNORE}}="1"
"""

_WATCHDOG = """\
# The board resets itself when its system stands still.
[Manager]
RuntimeWatchdogSec={seconds}
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an installation would write and carry out.

    ``files`` maps paths below the root to their text; ``commands`` follow once these are written. ``notes`` are for the
    person who decides.
    """

    root: Path
    files: dict[str, str] = field(default_factory=dict)
    commands: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> Iterator[str]:
        """Give the plan as text."""
        for name, text in self.files.items():
            path = self.root / name
            yield f"{'replace' if path.exists() else 'write'} {path}"
            yield from (f"    {line}".rstrip() for line in text.splitlines())
        for command in self.commands:
            yield f"run {' '.join(command)}"
        for note in self.notes:
            yield f"note: {note}"


def plan_installation(
    machine: Machine, *, port: str = DEFAULT_PORT, prefix: Path = DEFAULT_PREFIX, bundle: Path | None = None
) -> Plan:
    """Give what has to be done so that a board serves ``port`` from its next boot on.

    Parameters
    ----------
    machine : Machine
        The board; with another root than ``/`` files are written below it and no command is run.
    port : str
        As for ``flightnode serve --port``.
    prefix : Path
        The virtual environment.
    bundle : Path, optional
        A folder made by ``flightnode bundle``; the environment is filled from it. Without one it must be there.

    Raises
    ------
    UsageError
        The port is no line that a node can serve.
    ConfigError
        The bundle lacks the wheel of this package.
    """
    scheme = port.partition(":")[0]
    if scheme not in ("serial", "tcp") or any(letter.isspace() or letter == "%" for letter in port):
        raise UsageError(f"--port {port}: give serial:///dev/ttyAMA0?baud=921600 or tcp://0.0.0.0:7000")
    address = read_address(port)
    device = Path(address.place).name if scheme == "serial" else ""
    files = {SERVICE_FILE: _service(port, device, prefix)}
    if device:
        files[RULE_FILE] = _RULE.format(name=device_name(machine, device))
    if machine.first_of(("dev/watchdog", "dev/watchdog0")):
        files[WATCHDOG_FILE] = _WATCHDOG.format(seconds=RUNTIME_WATCHDOG_S)
    notes = ["`flightnode doctor` says what else is in the way of the line"]
    if device and uart_kind(machine, device) == MINI_UART:
        notes.insert(
            0, f"/dev/{device} is the mini UART: throttling garbles it; use the PL011 (see `flightnode doctor`)"
        )
    here = machine.root == Path("/")
    if here and device and not Path(address.place).exists():
        notes.insert(0, f"there is no {address.place} yet: the service starts when it appears")
    commands = (*_environment(prefix, bundle), *_start(device)) if here else ()
    return Plan(root=machine.root, files=files, commands=commands, notes=tuple(notes))


def _service(port: str, device: str, prefix: Path) -> str:
    unit = f"dev-{device.replace('-', chr(92) + 'x2d')}.device" if device else ""
    bound = f"BindsTo={unit}\nAfter={unit}\n" if device else "After=network.target\n"
    return _SERVICE.format(port=port, bound=bound, prefix=prefix, silence_s=SILENCE_S, clocks=_CLOCKS)


def _environment(prefix: Path, bundle: Path | None) -> tuple[tuple[str, ...], ...]:
    """Give the commands that make and fill the virtual environment."""
    if bundle is None:
        return ()
    wheels = bundle / WHEELS_FOLDER
    own = sorted(map(str, wheels.glob("flightnode-*.whl")))
    if not own:
        raise ConfigError(f"{bundle}: no {WHEELS_FOLDER}/flightnode-*.whl; make the folder with `flightnode bundle`")
    offline = (f"{prefix}/bin/pip", "install", "--no-index", "--find-links", str(wheels))
    return (
        ("python3", "-m", "venv", str(prefix)),
        (*offline, "-r", str(bundle / REQUIREMENTS_FILE)),
        (*offline, "--no-deps", "--force-reinstall", own[-1]),
    )


def _start(device: str) -> tuple[tuple[str, ...], ...]:
    reload_rules = (
        (("udevadm", "control", "--reload"), ("udevadm", "trigger", "--subsystem-match=tty")) if device else ()
    )
    return (
        *reload_rules,
        ("systemctl", "daemon-reexec"),
        ("systemctl", "enable", "--now", "flightnode.service"),
    )


def install(plan: Plan, *, confirm: Callable[[], bool], run: Callable[[tuple[str, ...]], None]) -> bool:
    """Carry out a plan; False where it was not confirmed, and then nothing was touched.

    Parameters
    ----------
    plan : Plan
        From :func:`plan_installation`.
    confirm : callable
        Asks the person.
    run : callable
        Carries out one command.

    Raises
    ------
    ConfigError
        This user may not write where the plan wants to.
    """
    if plan.root == Path("/") and os.geteuid() != 0:
        raise ConfigError("only root may install a service: call it with sudo, or with --dry-run to see what it does")
    if not confirm():
        return False
    environment = [command for command in plan.commands if command[0] not in ("systemctl", "udevadm")]
    for command in environment:  # first, so that a service is never started from an empty environment
        run(command)
    for name, text in plan.files.items():
        path = plan.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    for command in plan.commands:
        if command not in environment:
            run(command)
    return True


def run_command(command: tuple[str, ...]) -> None:
    """Carry out a command; ConfigError where it fails."""
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(f"`{' '.join(command)}` failed: {error}; nothing after it was done") from None
