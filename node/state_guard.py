"""Check bits for state, which every inference reads, and writes anew with its last steps."""

from __future__ import annotations

import time
from collections.abc import Callable

from node.ecc import DecodeReport, ProtectedRegion


class StateGuard:
    """Checks the state just before it is overwritten, and encodes it just after.

    What struck the state during an inference may have been read by it, and would be gone, or have become part of
    the new state, by the next scrub. So the old state is looked at once more before the first step that writes the
    new one. Where a word had to be corrected, the inference is done again from its beginning, on the right state.
    Where one cannot be corrected, ``sound`` is False and the check bits stay those of the old state, so that the next
    scrub finds the error too, whoever asks.

    Parameters
    ----------
    region : ProtectedRegion
        The state and its check bits.
    again : callable
        Writes the inputs once more and runs the steps up to the first that writes state; gives the nanoseconds that
        they computed.
    """

    def __init__(self, region: ProtectedRegion, again: Callable[[], int]) -> None:
        self._region = region
        self._again = again
        self._report = DecodeReport()
        self._spent_ns = 0
        self.sound = True

    def before_writing(self) -> int:
        """Check the old state; give the nanoseconds of computing that were done again."""
        started_ns = time.perf_counter_ns()
        report = self._region.correct()
        self._spent_ns += time.perf_counter_ns() - started_ns
        self._report += report
        self.sound = report.detected == 0
        return self._again() if report.corrected and self.sound else 0

    def after_writing(self) -> None:
        """Encode the new state, unless nobody knows whether it is right."""
        if self.sound:
            started_ns = time.perf_counter_ns()
            self._region.encode()
            self._spent_ns += time.perf_counter_ns() - started_ns

    def taken(self) -> tuple[DecodeReport, int]:
        """Give what was found since this was last asked, and the nanoseconds that it took."""
        report, spent_ns = self._report, self._spent_ns
        self._report, self._spent_ns = DecodeReport(), 0
        return report, spent_ns
