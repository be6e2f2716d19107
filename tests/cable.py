"""A USB adapter that can be pulled and comes back under another name, with a node at its far end."""

from __future__ import annotations

import select
import threading
from types import TracebackType

from firmware_bridge.errors import PortError
from firmware_bridge.ports import PortInfo
from firmware_bridge.transport import Transport, open_pty

SERIAL_NUMBER = "FT4VXLDK"
USB_PATH = "1-1.4"


class Cable:
    """Joins a node's line to a pseudo-terminal that is a new one each time it is plugged in. A context manager."""

    def __init__(self, node_end: Transport) -> None:
        self._node_end = node_end
        self._adapter: Transport | None = None
        self._path = ""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._pump, name="cable", daemon=True)

    def ports(self) -> tuple[PortInfo, ...]:
        """What a listing of this machine's ports would show."""
        other = PortInfo(device="/dev/null", description="another one", serial_number="X", usb_path="9-9")
        if self._adapter is None:
            return (other,)
        return (other, PortInfo(device=self._path, description="", serial_number=SERIAL_NUMBER, usb_path=USB_PATH))

    @property
    def path(self) -> str:
        """Where the adapter is, or was last."""
        return self._path

    def plug(self) -> None:
        with self._lock:
            self._adapter, self._path = open_pty(persistent=True)

    def unplug(self) -> None:
        with self._lock:
            if self._adapter is not None:
                self._adapter.close()
            self._adapter = None

    def __enter__(self) -> Cable:
        self.plug()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.unplug()
        self._node_end.close()

    def _pump(self) -> None:
        while not self._ended.wait(0.0002):  # let a hand that wants to pull get at the lock
            with self._lock:
                adapter = self._adapter
                ends = [self._node_end] + ([adapter] if adapter is not None else [])
                select.select(ends, [], [], 0.002)
                try:
                    to_host = self._node_end.read()
                    if adapter is not None:  # what nobody hears is lost
                        self._pass(to_host, adapter)
                        self._pass(adapter.read(), self._node_end)
                except PortError:
                    return  # the node has gone

    def _pass(self, data: bytes, sink: Transport) -> None:
        while data and not self._ended.is_set():
            data = data[sink.write_some(data) :]
            if data and sink is self._adapter:
                return  # an overrun: the host does not read
