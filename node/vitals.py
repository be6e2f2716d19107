"""The board's own sensors: temperature, clock and throttle flags, each with its source.

Under throttling the kernel's ``scaling_cur_freq`` tells what was asked for, not what the firmware gives (a Pi 3B
asked for 1200 MHz ran at 657 to 765 MHz: logs of ThomasKaiser/sbc-bench), so ``vcgencmd measure_clock arm`` goes
first where it exists.
"""

from __future__ import annotations

import math
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RunCommand = Callable[[Sequence[str]], str]

NONE = "none"
COMMAND_PERIOD_S = 1.0
COMMAND_TIMEOUT_S = 1.0
_CPU_ZONE = re.compile(r"cpu|soc|pkg", re.IGNORECASE)
_VCGENCMD_PATHS = ("usr/bin/vcgencmd", "opt/vc/bin/vcgencmd")


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """One reading. A figure without a sensor is NaN (the flags: None) and its source is ``none``."""

    temperature_c: float
    temperature_source: str
    clock_mhz: float
    clock_source: str
    throttled: int | None
    throttled_source: str

    @property
    def sources(self) -> dict[str, str]:
        """What each figure was read from."""
        return {
            "temperature": self.temperature_source,
            "clock": self.clock_source,
            "throttle flags": self.throttled_source,
        }


class Sensors:
    """Reads the board's sensors; what exists is looked up once, so that a reading costs microseconds.

    Parameters
    ----------
    root : Path or str
        The directory that holds ``sys`` and ``usr``; another than ``/`` in tests.
    run_command : callable
        Runs a program with arguments and gives what it printed; raises OSError or SubprocessError.
    clock : callable
        Monotonic seconds; ``vcgencmd`` costs milliseconds and is asked at most once in ``COMMAND_PERIOD_S``.

    Examples
    --------
    >>> Sensors("/nonexistent").read().temperature_source
    'none'
    """

    def __init__(
        self,
        root: Path | str = "/",
        run_command: RunCommand | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_command = run_command or _run
        self._clock = clock
        self._zone = _cpu_zone(Path(root))
        clocks = sorted(Path(root).glob("sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq"))
        self._clock_file = clocks[0] if clocks else None
        programs = (Path(root, path) for path in _VCGENCMD_PATHS)
        self._vcgencmd = next((path for path in programs if path.exists()), None)
        self._asked_at = -math.inf
        self._measured_mhz: float | None = None
        self._throttled: int | None = None

    def read(self) -> Vitals:
        """Give the vitals now; figures of ``vcgencmd`` are up to ``COMMAND_PERIOD_S`` old."""
        if self._vcgencmd is not None and self._clock() - self._asked_at >= COMMAND_PERIOD_S:
            self._asked_at = self._clock()
            self._ask_firmware(self._vcgencmd)
        temperature_c = _thousandth(self._zone)
        clock_mhz, clock_source = _thousandth(self._clock_file), "scaling_cur_freq"
        if self._measured_mhz is not None:
            clock_mhz, clock_source = self._measured_mhz, "vcgencmd measure_clock arm"
        zone = NONE if self._zone is None else self._zone.parent.name
        return Vitals(
            temperature_c=temperature_c,
            temperature_source=NONE if math.isnan(temperature_c) else zone,
            clock_mhz=clock_mhz,
            clock_source=NONE if math.isnan(clock_mhz) else clock_source,
            throttled=self._throttled,
            throttled_source=NONE if self._throttled is None else "vcgencmd get_throttled",
        )

    def _ask_firmware(self, vcgencmd: Path) -> None:
        hertz = self._answer(vcgencmd, ("measure_clock", "arm"), r"frequency\(\d+\)=(\d+)")
        self._measured_mhz = None if hertz is None else int(hertz) / 1e6
        flags = self._answer(vcgencmd, ("get_throttled",), r"throttled=0x([0-9a-fA-F]+)")
        self._throttled = None if flags is None else int(flags, 16)

    def _answer(self, vcgencmd: Path, arguments: tuple[str, ...], pattern: str) -> str | None:
        """Give the figure in an answer; None for a program without rights to the firmware's mailbox."""
        try:
            found = re.search(pattern, self._run_command((str(vcgencmd), *arguments)))
        except (OSError, subprocess.SubprocessError):
            return None
        return found.group(1) if found else None


def _cpu_zone(root: Path) -> Path | None:
    """Give the temperature file of the zone whose type names the CPU, or else of the first zone."""
    files = sorted(root.glob("sys/class/thermal/thermal_zone*/temp"))
    kinds = {path: path.with_name("type") for path in files}
    named = [path for path, kind in kinds.items() if kind.exists() and _CPU_ZONE.search(kind.read_text())]
    return next(iter(named or files), None)


def _thousandth(path: Path | None) -> float:
    """Give a sysfs figure in thousandths (milli C, kHz) as C or MHz, NaN where it cannot be read."""
    if path is None:
        return math.nan
    try:
        with path.open("rb", buffering=0) as file:
            return int(file.read()) / 1000.0
    except (OSError, ValueError):  # a sensor that is switched off answers EAGAIN, EIO or nothing
        return math.nan


def _run(arguments: Sequence[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    return done.stdout
