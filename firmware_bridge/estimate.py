"""Two running estimates the link steers by: how long an answer takes, and how long a frame should be."""

from __future__ import annotations

from math import sqrt

from .framing import MAX_BODY

DEFAULT_BODY = 246
"""Body size before anything is known of the line: with the CRC it fits one COBS block."""
MIN_DATA_BODY = 64

_OVERHEAD_BYTES = 22
_PRIOR_BYTES = 4000.0
_MEMORY_BYTES = 32_000.0


class RoundTrip:
    """How long to wait for an acknowledgement: smoothed round trip plus four mean deviations (RFC 6298).

    Parameters
    ----------
    floor_s
        The timeout is never shorter; one frame time plus the latency timer of the USB adapter.
    initial_s
        The timeout before the first measurement.
    """

    def __init__(self, floor_s: float, initial_s: float = 0.2) -> None:
        self._floor_s = floor_s
        self.smoothed_s = 0.0
        self._deviation_s = 0.0
        self.timeout_s = max(floor_s, initial_s)

    def measured(self, round_trip_s: float) -> None:
        """Take in one measured round trip."""
        if self.smoothed_s == 0.0:
            self.smoothed_s, self._deviation_s = round_trip_s, round_trip_s / 2
        else:
            self._deviation_s += (abs(self.smoothed_s - round_trip_s) - self._deviation_s) / 4
            self.smoothed_s += (round_trip_s - self.smoothed_s) / 8
        self.timeout_s = max(self._floor_s, self.smoothed_s + 4 * self._deviation_s)


class FrameSize:
    """The body size that carries most on a line that loses frames in proportion to their length.

    With ``loss`` frames lost per byte sent and h bytes of overhead, goodput (s - h)/s * exp(-loss * s) is greatest
    near s = sqrt(h / loss). The estimate starts where that gives :data:`DEFAULT_BODY`, and forgets old traffic.
    """

    def __init__(self) -> None:
        self._limit = MAX_BODY
        self._sent_bytes = _PRIOR_BYTES
        self._lost_frames = _PRIOR_BYTES * _OVERHEAD_BYTES / DEFAULT_BODY**2
        self.body_bytes = DEFAULT_BODY

    def restrict(self, limit: int) -> None:
        """The other end takes bodies of ``limit`` bytes at most."""
        self._limit = max(MIN_DATA_BODY, min(MAX_BODY, limit))
        self.body_bytes = min(self.body_bytes, self._limit)

    def observed(self, sent_bytes: int, lost_frames: int) -> None:
        """Take in the fate of ``sent_bytes`` of frames of which ``lost_frames`` did not arrive."""
        self._sent_bytes += sent_bytes
        self._lost_frames += lost_frames
        if self._sent_bytes > _MEMORY_BYTES:
            self._sent_bytes /= 2
            self._lost_frames /= 2
        if self._lost_frames * self._limit**2 <= _OVERHEAD_BYTES * self._sent_bytes:
            self.body_bytes = self._limit  # a line clean for long: its loss fades below what can be divided by
            return
        best = sqrt(_OVERHEAD_BYTES * self._sent_bytes / self._lost_frames)
        self.body_bytes = max(MIN_DATA_BODY, int(best))
