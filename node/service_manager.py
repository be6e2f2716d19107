"""Tells the service manager that started the node that it is up and alive (systemd's ``sd_notify`` protocol).

A unit with ``Type=notify`` and ``WatchdogSec`` then restarts a node whose loop stands still; one whose computer hangs
does not stand still, since the supervisor's own watchdog deals with that.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping


class ServiceManager:
    """The socket that the environment names; without one nothing is said.

    Parameters
    ----------
    environment : mapping, optional
        ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` as systemd sets them.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period_s = math.inf
        meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        if self._address and meant and environment.get("WATCHDOG_USEC", "").isdecimal():
            self._period_s = int(environment["WATCHDOG_USEC"]) / 2e6
        self._due_s = time.monotonic()

    def ready(self) -> None:
        """Say that hosts can come."""
        self._say(b"READY=1")

    def alive(self) -> None:
        """Say that the loop goes round, if it is time to."""
        now_s = time.monotonic()
        if self._period_s < math.inf and now_s >= self._due_s:
            self._due_s = now_s + self._period_s
            self._say(b"WATCHDOG=1")

    @property
    def wait_s(self) -> float:
        """How long :meth:`alive` may wait."""
        return math.inf if self._period_s == math.inf else max(0.0, self._due_s - time.monotonic())

    def _say(self, text: bytes) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0.1)
            try:
                sender.sendto(text, self._address)
            except OSError:
                return  # a manager that does not listen must not end the node
