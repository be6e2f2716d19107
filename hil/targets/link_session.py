"""A node at the other end of a link: every target but ``sim``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Self

from firmware_bridge.bridge import Bridge
from firmware_bridge.errors import LinkLost, PortError
from firmware_bridge.loading import BlobKind
from firmware_bridge.measuring import Measure, Measured
from firmware_bridge.messages import Progress, Run, Telemetry
from hil.progress import ProgressEvent, ProgressSink
from hil.targets.hosts import Host
from hil.targets.session import Answer
from node.protection import Protection

RETURN_TIMEOUT_S = 10.0
"""So long a port that vanished may take to come back."""
WAIT_STAGE = "wait for the node"


class LinkSession:
    """A bridge, the node behind it, and what has to be said again when the node comes back.

    Parameters
    ----------
    host : Host
        What keeps the node alive.
    progress : callable
        Told about uploads and kernels that the node compiles.
    """

    def __init__(self, host: Host, progress: ProgressSink) -> None:
        self.url = host.url
        self._host = host
        self._progress = progress
        self._blobs: dict[BlobKind, bytes] = {}
        self._past_counters: dict[str, int] = {}
        self._power_cycles = 0
        try:
            self._bridge, self._agent_id = self._connect()
        except BaseException:
            host.close()
            raise

    def prepare(self, image: bytes, inputs: bytes) -> None:
        """Load a compiled model and the inputs; what the node still holds is not sent again."""
        self._blobs = {BlobKind.IMAGE: image, BlobKind.INPUTS: inputs}
        self._load(self._bridge)

    def _connect(self) -> tuple[Bridge, int]:
        """Give a bridge to a node that holds what was loaded before, and the id of its agent."""
        bridge = self._host.connect()
        bridge.progress = self._heard
        try:
            agent_id = bridge.hello().agent_id
            self._load(bridge)
        except BaseException:
            bridge.close()
            raise
        return bridge, agent_id

    def _load(self, bridge: Bridge) -> None:
        for kind, data in self._blobs.items():
            bridge.load(kind, data, progress=self._loaded)

    def _loaded(self, done: int, total: int) -> None:
        self._progress(ProgressEvent(stage="load", done=done, total=total))

    def _heard(self, progress: Progress) -> None:
        amount = f" {progress.done}/{progress.total}" if progress.total else ""
        self._progress(ProgressEvent(stage=WAIT_STAGE, done=0, total=0, note=f"{progress.stage}{amount}"))

    def configure(self, protection: Protection, deadline_ms: int) -> None:
        """Set the protection and the watchdog's deadline."""
        self._bridge.configure(protection.to_json(), deadline_ms)

    def set_temperature(self, celsius: float) -> None:
        """Tell the node how hot the plant is."""
        self._bridge.set_temperature(celsius)

    def run(self, run: Run) -> Answer:
        """Carry out one run."""
        return self._bridge.run(run)

    def run_many(self, runs: Iterable[Run]) -> Iterator[tuple[Run, Answer]]:
        """Carry out runs in order, several under way at once."""
        return self._bridge.run_many(runs)

    def telemetry(self) -> Telemetry:
        """Ask for temperatures, clocks and counters."""
        return self._bridge.telemetry()

    def measure(self, request: Measure) -> Measured:
        """Have the node time what it does."""
        return self._bridge.measure(request)

    @property
    def agent_id(self) -> int:
        """Which run of the node's agent this is a session with."""
        return self._agent_id

    def restart(self) -> bool:
        """Get the node back after silence; True where it had died, False where only the line was lost.

        A host that starts its node anew says itself whether the node had died. Of a board the id of its agent tells.
        A board that stays silent for longer than it needs to boot has its power cycled, once.
        """
        self._add_counters()
        died = self._host.has_died()  # before the line is closed, since a node without a host ends by itself
        self._bridge.close()
        try:
            self._bridge, agent_id = self._wait_for_node(RETURN_TIMEOUT_S)
        except (LinkLost, PortError) as error:
            if not self._host.power_cycle():
                raise
            self._power_cycles += 1
            self._progress(ProgressEvent(stage=WAIT_STAGE, done=0, total=0, note=f"power was cycled, since {error}"))
            self._bridge, agent_id = self._wait_for_node(max(RETURN_TIMEOUT_S, self._host.boot_s))
        if died is None:
            died = agent_id != self._agent_id
        self._agent_id = agent_id
        return died

    def _wait_for_node(self, port_s: float) -> tuple[Bridge, int]:
        """Connect as often as it takes until the node is there again, or has had all the time it needs.

        ``port_s`` is how long the port itself may be away.
        """
        started_s = time.monotonic()
        while True:
            try:
                return self._connect()
            except (LinkLost, PortError) as error:
                # An open port with nobody behind it may be a board that boots; a port that is gone is a cable.
                patience_s = port_s if isinstance(error, PortError) else self._host.boot_s
                if time.monotonic() - started_s > patience_s:
                    raise
                self._progress(ProgressEvent(stage=WAIT_STAGE, done=0, total=0, note=str(error)))
                time.sleep(0.1)

    def facts(self) -> dict[str, str]:
        """Say what the node says about itself."""
        hello, telemetry = self._bridge.hello(), self._bridge.telemetry()
        clock = self._bridge.synchronise()
        return {
            "agent_version": hello.agent_version,
            **({"uart": hello.uart} if hello.uart else {}),
            "clock_sync": f"known within {clock.uncertainty_s * 1e6:.0f} us ({clock.samples} samples)",
            "crc_engine": telemetry.crc_engine,
            "throttle_actuator": telemetry.throttle_actuator,
            "sensors": telemetry.sensors,
        }

    def counters(self) -> dict[str, int]:
        """Give what the link counted, over every reconnection, and how often the power was cycled, if it was."""
        now = asdict(self._bridge.stats)
        counted = {name: count for name, count in now.items() if isinstance(count, int)}
        total = {name: self._past_counters.get(name, 0) + count for name, count in counted.items()}
        return total | ({"power_cycles": self._power_cycles} if self._power_cycles else {})

    def _add_counters(self) -> None:
        """Keep what a bridge counted that is about to be replaced."""
        self._past_counters = self.counters()

    def close(self) -> None:
        """Close the link, and end the node where this session started it."""
        self._bridge.close()
        self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
