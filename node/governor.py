"""Temperature to allowed clock, as the Raspberry Pi's firmware decides it: a plain state machine without a clock.

Raspberry Pi documentation, "Frequency management and thermal control": between 80 and 85 C the cores are
throttled step by step, from 85 C on fully; the limit can be set lower, never higher. The model 3B+ has a soft
limit of 60 C besides. Under-voltage (4.63 V) takes the clock to its lowest step too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntFlag
from itertools import pairwise

from firmware_bridge.errors import ConfigError, DataError
from node.actuator import Actuator

ROOM_C = 25.0
"""Taken to be the temperature until one is given."""

_STICKY_SHIFT = 16


class ThrottleFlag(IntFlag):
    """The bits of ``vcgencmd get_throttled``; the upper four stay set until a reset.

    Source: Raspberry Pi documentation, "OS: vcgencmd, get_throttled".

    Examples
    --------
    >>> [flag.name for flag in ThrottleFlag(0x50000)]
    ['HAS_BEEN_UNDER_VOLTAGE', 'HAS_BEEN_THROTTLED']
    """

    UNDER_VOLTAGE = 1 << 0
    CAPPED = 1 << 1
    THROTTLED = 1 << 2
    SOFT_LIMIT = 1 << 3
    HAS_BEEN_UNDER_VOLTAGE = 1 << 16
    HAS_BEEN_CAPPED = 1 << 17
    HAS_BEEN_THROTTLED = 1 << 18
    HAS_BEEN_SOFT_LIMIT = 1 << 19


@dataclass(frozen=True, kw_only=True)
class ThrottlePolicy:
    """At which temperature a board allows which clock.

    Parameters
    ----------
    name : str
        The board.
    clocks_mhz : tuple of float
        The clocks it can run at, full speed first, each lower than the one before.
    throttle_c, hard_c : float
        Where throttling starts and where the lowest clock is reached. The clocks between the full and the lowest
        one share the span between the two equally.
    soft_limit_c, soft_limit_mhz : float or None
        From this temperature on the clock is held at or under this value (the 3B+ alone has it).
    hysteresis_k : float
        A limit once passed is left only when it is this much cooler, so that a temperature resting on a limit
        does not make the clock chatter. Our choice: the firmware's own is not published.
    """

    name: str
    clocks_mhz: tuple[float, ...]
    throttle_c: float = 80.0
    hard_c: float = 85.0
    soft_limit_c: float | None = None
    soft_limit_mhz: float | None = None
    hysteresis_k: float = 0.5

    def __post_init__(self) -> None:
        clocks = self.clocks_mhz
        if len(clocks) < 2 or clocks[-1] <= 0 or any(a <= b for a, b in pairwise(clocks)):
            raise ConfigError(f"throttle policy {self.name}: clocks_mhz = {clocks}: give falling positive clocks")
        if not self.throttle_c < self.hard_c < math.inf:
            raise ConfigError(
                f"throttle policy {self.name}: throttling from {self.throttle_c} to {self.hard_c} C: "
                "give a start below the end"
            )
        if (self.soft_limit_c is None) != (self.soft_limit_mhz is None):
            raise ConfigError(f"throttle policy {self.name}: give both or none of soft_limit_c and soft_limit_mhz")
        if self.hysteresis_k < 0:
            raise ConfigError(f"throttle policy {self.name}: hysteresis_k = {self.hysteresis_k}: give 0 or more")

    def step(self, temperature_c: float) -> int:
        """Give how many steps of ``clocks_mhz`` a temperature takes off: 0 below ``throttle_c``, all at ``hard_c``."""
        if temperature_c < self.throttle_c:
            return 0
        last = len(self.clocks_mhz) - 1
        share = (temperature_c - self.throttle_c) / (self.hard_c - self.throttle_c)
        return min(last, 1 + math.floor(share * (last - 1)))


PI4B = ThrottlePolicy(name="pi4b", clocks_mhz=(1500, 1000, 750, 600))
"""Raspberry Pi 4B: no soft limit; operating points of its DVFS table (kernel ``cpufreq`` list 600 to 1500 MHz)."""

PI3B_PLUS = ThrottlePolicy(
    name="pi3b_plus",
    clocks_mhz=(1400, 1200, 1000, 800, 700, 600),
    soft_limit_c=60.0,
    soft_limit_mhz=1200,
)
"""Raspberry Pi 3B+: 1.4 to 1.2 GHz at the soft limit of 60 C (Raspberry Pi documentation).

The steps below 1200 MHz bracket what a model 3B of the same core was measured at: 657 to 765 MHz at 83.8 to
84.9 C (logs of ThomasKaiser/sbc-bench).
"""

PI5 = ThrottlePolicy(name="pi5", clocks_mhz=tuple(float(mhz) for mhz in range(2400, 1400, -100)))
"""Raspberry Pi 5: 1500 to 2400 MHz in steps of 100 MHz (Raspberry Pi documentation, frequency management)."""

POLICIES = {policy.name: policy for policy in (PI4B, PI3B_PLUS, PI5)}


class Governor:
    """Keeps the clock that a temperature allows, tells the actuator, and remembers what has happened.

    Parameters
    ----------
    policy : ThrottlePolicy
        The board's limits.
    actuator : Actuator
        What makes the node slower; it stays the caller's to close.

    Examples
    --------
    >>> from node.actuator import PauseActuator
    >>> governor = Governor(PI4B, PauseActuator())
    >>> governor.update(83.0)
    >>> governor.clock_mhz, governor.flags
    (750, <ThrottleFlag.CAPPED|HAS_BEEN_CAPPED: 131074>)
    """

    _temperature_c: float
    _step: int
    _soft: bool
    _under_voltage: bool
    _sticky: ThrottleFlag

    def __init__(self, policy: ThrottlePolicy, actuator: Actuator) -> None:
        self._given = policy
        self.policy = policy
        self.actuator = actuator
        self.reset()

    def update(self, temperature_c: float, *, under_voltage: bool = False) -> None:
        """Take note of a temperature and set clock, flags and actuator accordingly.

        Raises
        ------
        DataError
            For a temperature that is not a finite number above absolute zero.
        """
        if not -273.15 <= temperature_c < math.inf:
            raise DataError(f"temperature {temperature_c} C: give a finite number of degrees Celsius")
        self._temperature_c = temperature_c
        policy, cooler = self.policy, temperature_c + self.policy.hysteresis_k
        self._step = max(policy.step(temperature_c), min(self._step, policy.step(cooler)))
        soft_limit_c = math.inf if policy.soft_limit_c is None else policy.soft_limit_c
        self._soft = temperature_c >= soft_limit_c or (self._soft and cooler > soft_limit_c)
        self._under_voltage = under_voltage
        self._apply()

    def set_limits(self, soft_c: float, hard_c: float) -> None:
        """Set where throttling starts and where it is full, in degrees Celsius; the flags stay.

        Raises
        ------
        ConfigError
            For a limit above the board's own, which its firmware refuses too, or a start not below the end.
        """
        own = self._given
        if not (soft_c <= own.throttle_c and hard_c <= own.hard_c):
            raise ConfigError(
                f"throttle limits {soft_c} and {hard_c} C: {own.name} has {own.throttle_c} and {own.hard_c} C, "
                "which can be lowered and not raised"
            )
        self.policy = replace(own, throttle_c=soft_c, hard_c=hard_c)
        self._step = 0
        self.update(self._temperature_c, under_voltage=self._under_voltage)

    def reset(self) -> None:
        """Forget temperature and sticky flags and run at full clock; the limits stay."""
        self._temperature_c = ROOM_C
        self._step = 0
        self._soft = False
        self._under_voltage = False
        self._sticky = ThrottleFlag(0)
        self._apply()

    @property
    def clock_mhz(self) -> float:
        """The clock that is allowed now."""
        policy = self.policy
        if self._under_voltage:
            return policy.clocks_mhz[-1]
        allowed = policy.clocks_mhz[self._step]
        if self._soft and policy.soft_limit_mhz is not None:
            return min(allowed, policy.soft_limit_mhz)
        return allowed

    @property
    def clock_ratio(self) -> float:
        """The allowed clock as a share of the full one, above 0 and up to 1."""
        return self.clock_mhz / self.policy.clocks_mhz[0]

    @property
    def flags(self) -> ThrottleFlag:
        """What holds now and, in the upper bits, what has held since the last reset.

        Between start and end of throttling the clock is *capped*; from the end on, and under-voltage, it is
        *throttled*, as the firmware's authors use the two words.
        """
        return self._current() | self._sticky

    def _current(self) -> ThrottleFlag:
        now = ThrottleFlag(0)
        lowest = self._step == len(self.policy.clocks_mhz) - 1
        if self._under_voltage:
            now |= ThrottleFlag.UNDER_VOLTAGE
        if self._step > 0 and not lowest:
            now |= ThrottleFlag.CAPPED
        if lowest or self._under_voltage:
            now |= ThrottleFlag.THROTTLED
        if self._soft:
            now |= ThrottleFlag.SOFT_LIMIT
        return now

    def _apply(self) -> None:
        self._sticky |= ThrottleFlag(self._current() << _STICKY_SHIFT)
        self.actuator.limit(self.clock_ratio)
