"""The node's clock seen from the host: offset by four timestamps, with a bound that holds whatever the line does.

A request leaves at t1 and its reply comes back at t4 (host's clock); the node got the request at t2 and let the
reply go at t3 (node's clock). Then ((t2 - t1) + (t3 - t4)) / 2 is the offset of the node's clock, wrong by half of
(t4 - t1) - (t3 - t2) at most, however differently the two ways took (D. L. Mills, RFC 5905, section 8). The sample
that waited least says most; what the clocks may have drifted apart since is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import DataError

DRIFT = 100e-6
"""Relative difference of two crystals that is allowed for: twice the worst of the usual ones."""


@dataclass(frozen=True, kw_only=True)
class ClockSample:
    """Four timestamps in seconds: ``sent_s`` and ``returned_s`` of the host's clock, the others of the node's."""

    sent_s: float
    received_s: float
    replied_s: float
    returned_s: float

    def __post_init__(self) -> None:
        if self.returned_s < self.sent_s or self.replied_s < self.received_s:
            raise DataError(f"a clock went back while it was compared: {self}")

    @property
    def round_trip_s(self) -> float:
        """Time on the line and in buffers, both ways."""
        return max(0.0, (self.returned_s - self.sent_s) - (self.replied_s - self.received_s))

    @property
    def offset_s(self) -> float:
        """What to add to the host's clock to get the node's."""
        return ((self.received_s - self.sent_s) + (self.replied_s - self.returned_s)) / 2


@dataclass(frozen=True, kw_only=True)
class ClockSync:
    """The node's clock is the host's plus ``offset_s``, within ``uncertainty_s`` either way."""

    offset_s: float
    uncertainty_s: float
    round_trip_s: float
    samples: int

    def to_node_s(self, host_s: float) -> float:
        """The node's time at a time of the host."""
        return host_s + self.offset_s

    def to_host_s(self, node_s: float) -> float:
        """The host's time at a time of the node."""
        return node_s - self.offset_s


def synchronise(samples: Sequence[ClockSample], now_s: float) -> ClockSync:
    """The offset at the host's time ``now_s``, from the sample that bounds it best.

    Raises
    ------
    DataError
        Without any sample.

    Examples
    --------
    >>> sample = ClockSample(sent_s=1.0, received_s=101.25, replied_s=101.25, returned_s=1.5)
    >>> synchronise([sample], now_s=1.5).offset_s
    100.0
    """
    if not samples:
        raise DataError("clocks cannot be compared without a sample: take at least one")

    def bound_s(sample: ClockSample) -> float:
        return sample.round_trip_s / 2 + DRIFT * max(abs(now_s - sample.sent_s), abs(now_s - sample.returned_s))

    best = min(samples, key=bound_s)
    return ClockSync(
        offset_s=best.offset_s,
        uncertainty_s=bound_s(best),
        round_trip_s=best.round_trip_s,
        samples=len(samples),
    )
