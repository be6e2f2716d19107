"""Whether to look for bytes at once before going to sleep, where answers come within microseconds.

Going to sleep and being woken takes longer than a short answer does, above all on a processor with nothing else to
do. A wait that follows a short one is therefore tried for a while without sleeping. Where that is in vain, as on a
machine with other work to do, it is left off at once and tried again only after more and more short waits in a row.
"""

from __future__ import annotations

LONGEST_TRY_S = 400e-6

_SHORTEST_TRY_S = 30e-6
_DETERRENCE = 4
_MOST_REFRAINING = 4096


class ShortWaits:
    """Learns from each wait for how long the next may be tried. Pure; the caller waits and measures.

    Parameters
    ----------
    longest_try_s
        No try lasts longer, and a wait of up to half of it is a short one. With 0 nothing is ever tried.

    Attributes
    ----------
    try_s
        For how long the next wait may be tried without sleeping; 0 to sleep at once.

    Examples
    --------
    >>> waits = ShortWaits()
    >>> waits.slept(20e-6)
    >>> waits.try_s
    4e-05
    >>> waits.tried(45e-6, found=False)
    >>> waits.try_s
    0.0
    """

    __slots__ = ("_longest_try_s", "_missing", "_refraining", "try_s")

    def __init__(self, longest_try_s: float = LONGEST_TRY_S) -> None:
        self._longest_try_s = longest_try_s
        self._refraining = 1
        self._missing = 1
        self.try_s = 0.0

    def slept(self, wait_s: float) -> None:
        """Take in a wait that ended with bytes, and for which the caller slept."""
        if 2 * wait_s > self._longest_try_s:
            self._missing = self._refraining
            return
        self._missing -= 1
        if self._missing <= 0:
            self._allow(wait_s)

    def tried(self, wait_s: float, found: bool) -> None:
        """Take in a try. One that took too long, since others got the processor, was in vain even with bytes."""
        if found and wait_s <= self._longest_try_s:
            self._refraining = max(1, self._refraining - 1)
            self._allow(wait_s)
            return
        self._refraining = self._missing = min(_DETERRENCE * self._refraining, _MOST_REFRAINING)
        self.try_s = 0.0

    def _allow(self, wait_s: float) -> None:
        self.try_s = min(self._longest_try_s, max(_SHORTEST_TRY_S, 2 * wait_s))
