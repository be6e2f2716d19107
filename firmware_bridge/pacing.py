"""When a line of a baud rate takes another frame, so that what is urgent never waits behind a full buffer."""

from __future__ import annotations

SLACK_S = 0.003
"""So much is handed over ahead of the line: what covers the delay of waking up keeps the line busy."""

_BITS_PER_BYTE = 10
_CLOCK_TICK_S = 1e-6


class Pace:
    """What the line has still to carry, by its baud rate. Pure; time is an argument.

    Parameters
    ----------
    baud
        Bits per second; None for a line that takes all at once.

    Examples
    --------
    >>> pace = Pace(10_000)
    >>> pace.sent(100, now_s=0.0)
    >>> pace.has_room(0, now_s=0.0), pace.has_room(0, now_s=0.1)
    (False, True)
    """

    __slots__ = ("_byte_s", "_free_s", "limited")

    def __init__(self, baud: float | None) -> None:
        self.limited = baud is not None
        self._byte_s = _BITS_PER_BYTE / baud if baud is not None else 0.0
        self._free_s = 0.0

    def takes_s(self, size: int) -> float:
        """How long the line carries so many bytes."""
        return size * self._byte_s

    def has_room(self, ahead_bytes: int, now_s: float) -> bool:
        """Whether another frame may be handed over now, behind ``ahead_bytes`` not yet counted as sent."""
        if not self.limited:
            return True
        return max(now_s, self._free_s) + ahead_bytes * self._byte_s <= now_s + SLACK_S

    def sent(self, size: int, now_s: float) -> None:
        """Count bytes that are handed over now."""
        if self.limited and size:
            self._free_s = max(now_s, self._free_s) + size * self._byte_s

    @property
    def room_s(self) -> float:
        """From when on there is room for a frame."""
        return self._free_s - SLACK_S + _CLOCK_TICK_S if self.limited else 0.0
