"""Heat as the computer sees it: a temperature in, a slower clock out, and the sensors of the board beside it."""

from __future__ import annotations

import math
import time

from node.actuator import MIN_PAUSE_S, choose_actuator
from node.governor import PI4B, Governor, ThrottlePolicy
from node.vitals import Sensors, Vitals


class Throttle:
    """Governor, actuator and sensors of one computer, and how long it has computed.

    Two temperatures are kept apart: ``plant_c``, which the host sends and the governor obeys, and the board's own,
    which :meth:`vitals` reads. ``busy_s`` adds up the operators' computing, ``waited_ns`` pauses and idling.

    Parameters
    ----------
    policy : ThrottlePolicy
        Which board's firmware is stood in for.
    """

    def __init__(self, policy: ThrottlePolicy = PI4B) -> None:
        self._actuator = choose_actuator()
        self._governor = Governor(policy, self._actuator)
        self._sensors = Sensors()
        self.plant_c = math.nan
        self.busy_s = 0.0
        self.waited_ns = 0

    @property
    def ratio(self) -> float:
        """Share of the full clock that is allowed."""
        return self._governor.clock_ratio

    @property
    def throttled(self) -> bool:
        """True while less than the full clock is allowed."""
        return self._governor.clock_ratio < 1.0

    @property
    def clock_mhz(self) -> float:
        """The clock that is allowed, in MHz."""
        return self._governor.clock_mhz

    @property
    def flags(self) -> int:
        """The bits of ``get_throttled``, sticky ones included."""
        return int(self._governor.flags)

    @property
    def actuator_name(self) -> str:
        """What makes the node slower: ``cpufreq`` or ``pause``."""
        return self._actuator.name

    def vitals(self) -> Vitals:
        """Read the board's own sensors."""
        return self._sensors.read()

    def set_temperature(self, celsius: float) -> None:
        """Take the plant's temperature, in degrees Celsius."""
        self._governor.update(celsius)
        self.plant_c = celsius

    def set_limits(self, soft_c: float, hard_c: float) -> None:
        """Set where throttling starts and where it is full, in degrees Celsius."""
        self._governor.set_limits(soft_c, hard_c)

    def interleaves(self, inference_s: float) -> bool:
        """True where an inference that computes so long at full clock is stretched by more than one pause.

        A shorter one is better run in one piece: stopping after each operator would cost more than the clock does.
        """
        if not self.throttled:
            return False
        shortfall_s = inference_s * (1.0 / self.ratio - 1.0)
        return self.actuator_name == "pause" and shortfall_s > 2.0 * MIN_PAUSE_S

    def worked(self, busy_s: float) -> None:
        """Account for an operator's computing time, and pause where the clock that is allowed asks for it."""
        self.busy_s += busy_s
        if self.throttled:
            self.waited_ns += round(1e9 * self._actuator.worked(busy_s))

    def spent_ns(self, computed_ns: int) -> int:
        """Give how long computing beside the operators (checks, copies) takes at the clock that is allowed.

        Where pauses stand in for a slower clock, the difference is slept later, after an operator.
        """
        if not self.throttled:
            return computed_ns
        return computed_ns + round(1e9 * self._actuator.owe(computed_ns / 1e9))

    def idle(self, duration_s: float) -> None:
        """Compute nothing for so long."""
        started_ns = time.perf_counter_ns()
        time.sleep(duration_s)
        self.waited_ns += time.perf_counter_ns() - started_ns

    def reset(self) -> None:
        """Forget the temperature and the sticky flags."""
        self._governor.reset()
        self.plant_c = math.nan

    def close(self) -> None:
        """Give the board its clocks back."""
        self._actuator.close()
