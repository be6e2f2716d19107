"""The node's service in this process: no line, no second process, the same answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self, TypeVar

from firmware_bridge import crc
from firmware_bridge.errors import LinkError, Refused
from firmware_bridge.loading import BlobKind, LoadBegin
from firmware_bridge.measuring import Measure, Measured
from firmware_bridge.messages import (
    Abnormal,
    Configure,
    Done,
    Failed,
    Message,
    Run,
    RunResult,
    SetTemperature,
    Telemetry,
    TelemetryRequest,
)
from hil.targets.session import Answer
from hil.targets.storage import NodeStorage
from node.agent import Resident
from node.blob_store import blob_path
from node.protection import Protection
from node.service import Service

M = TypeVar("M", bound=Message)


class SimSession:
    """A :class:`node.service.Service` driven directly."""

    url = "sim"

    def __init__(self) -> None:
        self._kept = NodeStorage("sim")
        self._storage = self._kept.path
        self._blobs: dict[BlobKind, bytes] = {}
        self._configuration: Configure | None = None
        self._temperature: SetTemperature | None = None
        self._resident = Resident(lambda: Service(self._storage, in_process=True), self._storage)

    def prepare(self, image: bytes, inputs: bytes) -> None:
        """Load a compiled model and the inputs."""
        self._blobs = {BlobKind.IMAGE: image, BlobKind.INPUTS: inputs}
        self._ask(self._load(BlobKind.IMAGE))
        self._ask(self._load(BlobKind.INPUTS))

    def configure(self, protection: Protection, deadline_ms: int) -> None:
        """Set the protection."""
        self._configuration = Configure(protection=protection.to_json(), deadline_ms=deadline_ms)
        self._ask(self._configuration)

    def set_temperature(self, celsius: float) -> None:
        """Tell the node how hot the plant is."""
        self._temperature = SetTemperature(celsius=celsius)
        self._ask(self._temperature)

    def run(self, run: Run) -> Answer:
        """Carry out one run."""
        answer = self._resident.answer(run)
        if isinstance(answer, Abnormal):
            self._load_again()
            return answer
        return _expected(answer, RunResult)

    def run_many(self, runs: Iterable[Run]) -> Iterator[tuple[Run, Answer]]:
        """Carry out runs in order."""
        for run in runs:
            yield run, self.run(run)

    def telemetry(self) -> Telemetry:
        """Ask for temperatures, clocks and counters."""
        return _expected(self._resident.answer(TelemetryRequest()), Telemetry)

    def measure(self, request: Measure) -> Measured:
        """Have the node time what it does."""
        return _expected(self._resident.answer(request), Measured)

    def restart(self) -> bool:
        """Raise: nothing lies between the host and this node, so that silence cannot happen."""
        raise LinkError("the emulated node fell silent inside this process: this is a defect of the emulator")

    def facts(self) -> dict[str, str]:
        """Say what the node says about itself."""
        telemetry = self.telemetry()
        return {
            "crc_engine": telemetry.crc_engine,
            "throttle_actuator": telemetry.throttle_actuator,
            "sensors": telemetry.sensors,
        }

    def counters(self) -> dict[str, int]:
        """Give nothing: there is no link."""
        return {}

    def close(self) -> None:
        """End the node."""
        self._resident.close()
        self._kept.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- inside ------------------------------------------------------------------------------------------------

    def _ask(self, message: Message) -> None:
        _expected(self._resident.answer(message), Done)

    def _load_again(self) -> None:
        """Give a computer that was made anew what the one before held."""
        self._ask(self._load(BlobKind.IMAGE))
        self._ask(self._load(BlobKind.INPUTS))
        for message in (self._configuration, self._temperature):
            if message is not None:
                self._ask(message)

    def _load(self, kind: BlobKind) -> LoadBegin:
        data = self._blobs[kind]
        begin = LoadBegin(kind=kind, size=len(data), crc32=crc.crc32(data))
        blob_path(self._storage, begin).write_bytes(data)
        return begin


def _expected(answer: Message, kind: type[M]) -> M:
    if isinstance(answer, Failed):
        raise Refused(answer.text)
    assert isinstance(answer, kind), f"the service answered {type(answer).__name__}"
    return answer
