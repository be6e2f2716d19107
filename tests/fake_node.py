"""A node of a few lines that answers every command, for tests of the host's side; it also misbehaves on order."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType

from firmware_bridge import codec
from firmware_bridge import messages as m
from firmware_bridge.channel import Channel
from firmware_bridge.crc import crc32
from firmware_bridge.errors import LinkError
from firmware_bridge.loading import BlobKind, LoadBegin, LoadChunk, LoadStatus
from firmware_bridge.responder import Replies
from firmware_bridge.transport import Listener, Transport

Behaviour = Callable[["FakeNode", m.Message], "m.Message | None"]


class FakeNode:
    """Serves one transport in a thread. A context manager.

    ``behaviour`` may answer a request itself; what it answers with None is answered as usual. ``executed`` counts
    the requests carried out, which is how tests see that none was carried out twice.
    """

    def __init__(self, transport: Transport, behaviour: Behaviour | None = None) -> None:
        self._behaviour = behaviour
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.channel = Channel(transport, "node")
        self.replies = Replies()
        self.agent_id = 11
        self.boot_id = 22
        self.protocol = m.PROTOCOL_VERSION
        self.executed: Counter[str] = Counter()
        self.blobs = {kind: bytearray() for kind in BlobKind}
        self.announced: dict[BlobKind, LoadBegin] = {}
        self.celsius = 0.0
        self.ended_with: LinkError | None = None

    def __enter__(self) -> FakeNode:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(5)
        self.channel.close()

    def send(self, message: m.Message, request_id: int = 0) -> None:
        self.channel.send(codec.encode(message, request_id))

    def _serve(self) -> None:
        try:
            while not self._stop.is_set():
                for data in self.channel.poll(0.05):
                    self._on_message(data)
        except LinkError as error:
            self.ended_with = error

    def _on_message(self, data: bytes) -> None:
        message, request_id = codec.decode(data)
        if self.replies.admit(request_id):
            self.executed[type(message).__name__] += 1
            answer = (self._behaviour and self._behaviour(self, message)) or self._carry_out(message)
            self.replies.finish(request_id, codec.encode(answer, request_id))
        reply = self.replies.answer(request_id)
        if reply is not None:
            self.channel.send(reply)

    def _carry_out(self, message: m.Message) -> m.Message:
        match message:
            case m.HelloRequest():
                return m.Hello(
                    protocol=self.protocol,
                    agent_version="1.2",
                    agent_id=self.agent_id,
                    boot_id=self.boot_id,
                    state="ready",
                )
            case LoadBegin():
                if self.announced.get(message.kind) != message:
                    self.announced[message.kind] = message
                    self.blobs[message.kind] = bytearray()
                return self._load_status(message.kind)
            case LoadChunk():
                blob = self.blobs[message.kind]
                if message.offset == len(blob):
                    blob += message.data
                return self._load_status(message.kind)
            case m.Inject():
                return m.Injected(readbacks=tuple(m.Readback(before=1, after=2) for _ in message.faults))
            case m.Run():
                return run_result(message)
            case m.Scrub():
                return m.ScrubReport(words=10, corrected=1, detected=0, elapsed_us=5)
            case m.Checkpoint() | m.Restore():
                return m.CheckpointReport(sequence=3, size_bytes=100, elapsed_us=5, verify_us=2)
            case m.TelemetryRequest():
                return telemetry(self.celsius)
            case m.TimeRequest():
                now_ns = time.monotonic_ns()
                return m.TimeReport(received_ns=now_ns, replied_ns=now_ns)
            case m.SetTemperature():
                self.celsius = message.celsius
        return m.Done()

    def _load_status(self, kind: BlobKind) -> LoadStatus:
        blob, announced = bytes(self.blobs[kind]), self.announced[kind]
        complete = len(blob) == announced.size and crc32(blob) == announced.crc32
        return LoadStatus(received=len(blob), complete=complete)


def run_result(run: m.Run) -> m.RunResult:
    """An answer that depends on the request, so that a mix-up shows."""
    inferences = tuple(
        m.Inference(delivery=m.Delivery.DELIVERED, output=index.to_bytes(4, "big") * 10) for index in run.inputs
    )
    return m.RunResult(
        run_id=run.run_id,
        inferences=inferences,
        readbacks=tuple(m.Readback(before=0, after=1) for _ in run.faults),
        checked_words=0,
        corrected_words=0,
        detected_words=0,
        reloads=0,
        rollbacks=0,
        lost_inferences=0,
        saves=0,
        alarms=0,
        recomputed_steps=0,
        elapsed_us=1,
        busy_us=1,
        protect_us=0,
        save_us=0,
        verify_us=0,
        restore_us=0,
        respond_us=0,
        clock_mhz=1500.0,
        throttled=0,
        plant_c=25.0,
        board_c=30.0,
        board_mhz=1500.0,
        board_throttled=0,
    )


def telemetry(plant_c: float) -> m.Telemetry:
    return m.Telemetry(
        uptime_ms=1,
        state="ready",
        plant_c=plant_c,
        board_c=30.0,
        clock_mhz=1500.0,
        clock_ratio=1.0,
        throttled=0,
        throttle_actuator="pauses",
        load=0.5,
        inferences=1,
        corrected_words=0,
        detected_words=0,
        reloads=0,
        alarms=0,
        recomputed_steps=0,
        crc_engine="crcmod C",
        sensors="temperature: none",
    )


def serve_fake(listener: Listener) -> None:
    """Be a node for the next host that connects, for a moment."""
    with FakeNode(listener.accept(10.0)):
        time.sleep(0.3)
