"""A temperature sensor that may fail: what the host tells the node is no longer what the plant is."""

from __future__ import annotations

from firmware_bridge.errors import ConfigError
from hil.strikes.streams import Stream

SENSOR_FAULTS = ("none", "stuck", "wild", "missing")
COLDEST_C, HOTTEST_C = -40.0, 125.0
"""Where wild readings lie: the range of common digital sensors."""


class Sensor:
    """Readings of a plant's temperature, right until a fault sets in.

    Parameters
    ----------
    fault : str
        ``none``; ``stuck`` (the last right reading comes again and again); ``wild`` (anything of -40 to 125 C, each
        time anew, the same in every run); ``missing`` (no reading at all).
    from_s : float
        When it sets in, in seconds of the caller's clock.

    Examples
    --------
    >>> sensor = Sensor("stuck", 5.0)
    >>> [sensor.reading(second, 20.0 + second) for second in (0.0, 4.0, 5.0, 9.0)]
    [20.0, 24.0, 24.0, 24.0]
    """

    def __init__(self, fault: str = "none", from_s: float = 0.0) -> None:
        if fault not in SENSOR_FAULTS:
            raise ConfigError(f"sensor: fault = {fault!r}: choose from {', '.join(SENSOR_FAULTS)}")
        self._fault = fault
        self._from_s = from_s
        self._last_c: float | None = None
        self._chance = Stream("wild sensor")

    def reading(self, wall_s: float, temperature_c: float) -> float | None:
        """Give what the sensor says of a temperature; None where it says nothing."""
        if self._fault == "none" or wall_s < self._from_s:
            self._last_c = temperature_c
            return temperature_c
        if self._fault == "wild":
            return COLDEST_C + self._chance.uniform() * (HOTTEST_C - COLDEST_C)
        if self._fault == "missing":
            return None
        if self._last_c is None:  # stuck from the beginning: at what it read first
            self._last_c = temperature_c
        return self._last_c
