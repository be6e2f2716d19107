"""A node that campaigns talk to, whatever lies in between.

``sim`` calls the node's service in this process. All others speak over a link: ``memory`` to an agent in a thread,
``pty`` to a process of its own behind a pseudo-terminal, ``serial://`` and ``tcp://`` to a board.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, Self

from firmware_bridge.measuring import Measure, Measured
from firmware_bridge.messages import Abnormal, Run, RunResult, Telemetry
from node.protection import Protection

Answer = RunResult | Abnormal


class Session(Protocol):
    """One live node."""

    url: str

    def prepare(self, image: bytes, inputs: bytes) -> None:
        """Load a compiled model and the inputs; the node keeps both over a restart of its computer."""

    def configure(self, protection: Protection, deadline_ms: int) -> None:
        """Set the protection, and how long one request may take before the watchdog calls it a hang."""

    def set_temperature(self, celsius: float) -> None:
        """Tell the node how hot the plant is."""

    def run(self, run: Run) -> Answer:
        """Carry out one run."""

    def run_many(self, runs: Iterable[Run]) -> Iterator[tuple[Run, Answer]]:
        """Carry out runs in order; over a link several are under way at once."""

    def telemetry(self) -> Telemetry:
        """Ask for temperatures, clocks and counters."""

    def measure(self, request: Measure) -> Measured:
        """Have the node time what it does."""

    def restart(self) -> bool:
        """Get the node back after silence; True where it had died, False where only the line was lost."""

    def facts(self) -> dict[str, str]:
        """What the node says about itself."""

    def counters(self) -> dict[str, int]:
        """What the link counted; empty without a link."""

    def close(self) -> None:
        """End the session, and the node where this session started it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
