"""What a long piece of work says about itself while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """How far one stage has come.

    Parameters
    ----------
    stage : str
        What is being done, as a user reads it: ``"compile"``, ``"load"``, ``"strike"``. A new stage starts a new bar.
    done, total : int
        Steps done and steps in all; ``total`` 0 means that nobody knows yet.
    note : str
        What is special right now (``"node restarted"``); empty most of the time.
    failing : tuple of (str, int, int), optional
        Of which protection how many trials failed so far, and out of how many.
    """

    stage: str
    done: int
    total: int
    note: str = ""
    failing: tuple[str, int, int] | None = None


ProgressSink = Callable[[ProgressEvent], None]


def silent(_event: ProgressEvent) -> None:
    """Ignore every event: for callers that show nothing."""
