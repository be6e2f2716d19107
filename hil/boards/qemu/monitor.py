"""QEMU's monitor: commands and events as lines of JSON on a local socket (QMP)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firmware_bridge.errors import PortError

ANSWER_S = 30.0
START_S = 20.0
RETRY_S = 0.02


class Monitor:
    """The monitor of one machine. A context manager.

    Parameters
    ----------
    path : Path
        The socket that QEMU makes when it starts.

    Raises
    ------
    PortError
        QEMU does not make it in time.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end_s = time.monotonic() + START_S
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > end_s:
                    self._socket.close()
                    raise PortError(f"QEMU made no monitor at {path}: {error.strerror}") from None
                time.sleep(RETRY_S)
        self._socket.settimeout(ANSWER_S)
        self._lines = self._socket.makefile("rb")
        self._next()  # the greeting
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: object) -> Any:
        """Carry out a command and give what it returns.

        Raises
        ------
        PortError
            QEMU refuses, is gone or gives no answer.
        """
        request = {"execute": command, "arguments": arguments}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while True:
                answer = self._next()
                if "error" in answer:
                    raise PortError(f"QEMU refuses {command}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]
        except OSError as error:
            raise PortError(f"QEMU's monitor gives no answer to {command}: {error}") from None

    def _next(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise PortError("QEMU has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Hang up; the machine goes on."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
