"""What makes the node slower: the kernel's clock limit where the board has one, pauses elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from firmware_bridge.errors import ConfigError

MIN_PAUSE_S = 200e-6
"""Shorter pauses are saved up: a sleep costs the scheduler 50 to 100 us whatever its length."""

MAX_CREDIT_S = 20e-3
"""A pause that the scheduler overdid is set off against later ones up to this much."""


class Actuator(Protocol):
    """Slows the node to a share of its full clock."""

    name: str

    def limit(self, clock_ratio: float) -> None:
        """Allow this share of the full clock, above 0 and up to 1."""

    def worked(self, busy_s: float) -> float:
        """Take note of computing time between two operators; give the seconds paused."""

    def owe(self, busy_s: float) -> float:
        """Take note of computing time where no pause fits; give the seconds that it is short of, paused for later."""

    def close(self) -> None:
        """Give back what was changed."""


class PauseActuator:
    """Stretches computing time by pauses at operator boundaries, in proportion to the clock that is missing.

    Work that takes t at full clock takes t / ratio at a lower one, so t asks for a pause of t * (1 / ratio - 1).

    Parameters
    ----------
    sleep, clock : callable
        ``time.sleep`` and ``time.perf_counter`` or stand-ins for them. What a sleep really took is what counts.
    """

    name = "pause"

    def __init__(
        self,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._debt_s = 0.0
        self._pause_per_work = 0.0

    def limit(self, clock_ratio: float) -> None:
        """Allow this share of the full clock; what is owed from before is still paid."""
        self._pause_per_work = 1.0 / _checked(clock_ratio) - 1.0

    def worked(self, busy_s: float) -> float:
        """Pause once the pauses owed for the computing time are worth one; give the seconds paused."""
        self.owe(busy_s)
        if self._debt_s < MIN_PAUSE_S:
            return 0.0
        started = self._clock()
        self._sleep(self._debt_s)
        paused_s = self._clock() - started
        self._debt_s = max(self._debt_s - paused_s, -MAX_CREDIT_S)
        return paused_s

    def owe(self, busy_s: float) -> float:
        """Note the pause that the computing time asks for and give it, in seconds."""
        owed_s = busy_s * self._pause_per_work
        self._debt_s += owed_s
        return owed_s

    def close(self) -> None:
        """Forget what is owed."""
        self._debt_s = 0.0


class CpufreqActuator:
    """Lowers ``scaling_max_freq`` of every CPU clock domain of Linux, and puts it back on close.

    A process that is killed leaves the limit where it was; the next start measures from the hardware's own
    highest clock (``cpuinfo_max_freq``), so ratios never compound, and a reboot lifts the limit.

    Parameters
    ----------
    root : Path
        The directory that holds ``sys``; another than ``/`` in tests.

    Raises
    ------
    ConfigError
        Where there is no clock domain, or it cannot be written to.
    """

    name = "cpufreq"

    def __init__(self, root: Path | str = "/") -> None:
        domains = sorted(Path(root, "sys/devices/system/cpu/cpufreq").glob("policy*"))
        if not domains:
            raise ConfigError("cpufreq: this system has no clock to set: use the pauses")
        self._limits = [_ClockLimit(domain) for domain in domains]
        self._clock_ratio: float | None = None

    def limit(self, clock_ratio: float) -> None:
        """Set the highest clock of every domain to this share of its hardware's highest."""
        if _checked(clock_ratio) != self._clock_ratio:
            self._clock_ratio = clock_ratio
            for domain in self._limits:
                domain.set_share(clock_ratio)

    def worked(self, busy_s: float) -> float:  # noqa: ARG002 - the clock itself is slower, nothing is owed
        """Give 0: the hardware is slow by itself."""
        return 0.0

    def owe(self, busy_s: float) -> float:  # noqa: ARG002 - as above
        """Give 0: what was measured was slow already."""
        return 0.0

    def close(self) -> None:
        """Put every limit back to what it was."""
        for domain in self._limits:
            domain.restore()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _ClockLimit:
    """One clock domain's ``scaling_max_freq``, in kHz."""

    def __init__(self, domain: Path) -> None:
        self._file = domain / "scaling_max_freq"
        try:
            self._before = self._file.read_text()
            self._lowest_khz = int((domain / "cpuinfo_min_freq").read_text())
            self._highest_khz = int((domain / "cpuinfo_max_freq").read_text())
            self._file.write_text(self._before)  # the proof that it can be written, and no change
        except OSError as error:
            raise ConfigError(
                f"cpufreq: {error.filename}: {error.strerror}: start as root, or use the pauses"
            ) from error

    def set_share(self, share: float) -> None:
        khz = max(self._lowest_khz, round(share * self._highest_khz))
        self._file.write_text(f"{khz}\n")

    def restore(self) -> None:
        self._file.write_text(self._before)


def choose_actuator(root: Path | str = "/", *, cpufreq: bool | None = None) -> Actuator:
    """Give the actuator that fits this system; its ``name`` says which it is.

    Parameters
    ----------
    root : Path or str
        The directory that holds ``sys`` and ``proc``; another than ``/`` in tests.
    cpufreq : bool or None
        True sets the system's clocks, False leaves them alone. None sets them on a Raspberry Pi alone, where the
        node is the board's purpose, and only if it may.

    Raises
    ------
    ConfigError
        If the clocks were asked for and cannot be set.
    """
    if cpufreq:
        return CpufreqActuator(root)
    if cpufreq is None and is_raspberry_pi(root):
        try:
            return CpufreqActuator(root)
        except ConfigError:
            return PauseActuator()
    return PauseActuator()


def is_raspberry_pi(root: Path | str = "/") -> bool:
    """Say whether the device tree names a Raspberry Pi."""
    model = Path(root, "proc/device-tree/model")
    return model.is_file() and model.read_bytes().startswith(b"Raspberry Pi")


def _checked(clock_ratio: float) -> float:
    if not 0.0 < clock_ratio <= 1.0:
        raise ConfigError(f"clock ratio {clock_ratio}: give a share above 0 and up to 1")
    return clock_ratio
