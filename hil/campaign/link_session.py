"""A node at the other end of a link: every target but ``sim``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Self

from firmware_bridge.errors import LinkLost, PortError
from firmware_bridge.messages import BlobKind, Run, Telemetry
from hil.campaign.hosts import Host
from hil.campaign.progress import ProgressEvent, ProgressSink
from hil.campaign.session import Answer
from node.protection import Protection

RETURN_TIMEOUT_S = 10.0


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
        self._bridge = host.connect()
        self._agent_id = self._bridge.hello().agent_id

    def prepare(self, image: bytes, inputs: bytes) -> None:
        """Load a compiled model and the inputs; what the node still holds is not sent again."""
        self._blobs = {BlobKind.IMAGE: image, BlobKind.INPUTS: inputs}
        for kind, data in self._blobs.items():
            self._bridge.load(kind, data, progress=self._loaded)

    def _loaded(self, done: int, total: int) -> None:
        self._progress(ProgressEvent(stage="load", done=done, total=total))

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

    def restart(self) -> bool:
        """Get the node back after silence; True where its agent had died, False where only the line was lost."""
        self._add_counters()
        self._bridge.close()
        deadline_s = time.monotonic() + RETURN_TIMEOUT_S
        while True:
            try:
                self._bridge = self._host.connect()
                agent_id = self._bridge.hello().agent_id
                break
            except (LinkLost, PortError):
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
        died = agent_id != self._agent_id
        self._agent_id = agent_id
        for kind, data in self._blobs.items():
            self._bridge.load(kind, data, progress=self._loaded)
        return died

    def facts(self) -> dict[str, str]:
        """Say what the node says about itself."""
        hello, telemetry = self._bridge.hello(), self._bridge.telemetry()
        return {
            "agent_version": hello.agent_version,
            "crc_engine": telemetry.crc_engine,
            "throttle_actuator": telemetry.throttle_actuator,
        }

    def counters(self) -> dict[str, int]:
        """Give what the link counted, over every reconnection."""
        now = asdict(self._bridge.stats)
        return {name: self._past_counters.get(name, 0) + count for name, count in now.items() if isinstance(count, int)}

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
