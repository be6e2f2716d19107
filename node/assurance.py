"""Word to the host that a long job goes on: a computer that compiles cannot say so itself."""

from __future__ import annotations

from firmware_bridge.messages import Progress

PERIOD_S = 5.0
"""Much shorter than any host waits for a reply."""


class Assurance:
    """When word is due, and what it says. Pure; time is an argument.

    Examples
    --------
    >>> assurance = Assurance()
    >>> assurance.begin(100.0)
    >>> assurance.word(101.0), assurance.word(105.0).stage
    (None, 'loading or compiling for 5 s')
    >>> assurance.end()
    >>> assurance.due_s is None
    True
    """

    def __init__(self) -> None:
        self._began_s = 0.0
        self.due_s: float | None = None

    def begin(self, now_s: float) -> None:
        """Take note that a job begins which may take minutes."""
        self._began_s, self.due_s = now_s, now_s + PERIOD_S

    def end(self) -> None:
        """Take note that it is done."""
        self.due_s = None

    def word(self, now_s: float) -> Progress | None:
        """Give what is to be said now, or None."""
        if self.due_s is None or now_s < self.due_s:
            return None
        self.due_s = now_s + PERIOD_S
        return Progress(stage=f"loading or compiling for {now_s - self._began_s:.0f} s", done=0, total=0)
