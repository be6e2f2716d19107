"""What answers requests in the computing process, and that process's loop.

The supervisor sends one message at a time. :class:`~firmware_bridge.LoadBegin` tells the computer to
load the blob that now lies in the storage folder; everything else goes to the service as it is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from firmware_bridge.errors import FlightNodeError
from firmware_bridge.loading import BlobKind, LoadBegin
from firmware_bridge.messages import Abnormal, AbnormalKind, Done, Failed, Message, Progress
from node.blob_store import blob_path
from node.errors import PayloadCrash, PayloadHang
from node.pipe import MessagePipe

PR_SET_PDEATHSIG = 1  # linux/prctl.h
ORPHANED = 3


class Service(Protocol):
    """What the agent needs of a ``node.service.Service``."""

    def handle(self, message: Message) -> Message:
        """Carry out one request and give its reply."""

    def load_image(self, path: Path) -> None:
        """Load a flight image."""

    def load_inputs(self, path: Path) -> None:
        """Load the inputs that runs refer to."""

    @property
    def background_wait_s(self) -> float | None:
        """Seconds until there is work to do beside requests, 0 where there is; None: never."""

    def work_in_background(self) -> None:
        """Do a short piece of it."""

    def close(self) -> None:
        """Give files and clocks back."""


ServiceFactory = Callable[[], Service]
ProgressSink = Callable[[Progress], None]
Preparation = Callable[[ProgressSink], None]


class Resident:
    """One service and its successors: a payload that traps is replaced by a fresh one.

    A trap (a struck step that points outside the memory) is caught before it does harm, so the process lives
    on while the computer is made anew, as after a reboot. The reply says so with ``boot_id`` 0: who owns the
    boot id fills it in and loads again what was held.

    Parameters
    ----------
    factory : callable
        Makes a service.
    storage : Path
        The folder of the blobs.
    """

    def __init__(self, factory: ServiceFactory, storage: Path) -> None:
        self._factory = factory
        self._storage = storage
        self._service = factory()

    def answer(self, message: Message) -> Message:
        """Carry out one request; an error of the project is the reply, any other one passes through."""
        try:
            if isinstance(message, LoadBegin):
                return self._load(message)
            return self._service.handle(message)
        except PayloadCrash as trap:
            return self._made_anew(AbnormalKind.CRASH, trap)
        except PayloadHang as hang:
            return self._made_anew(AbnormalKind.HANG, hang)
        except FlightNodeError as error:
            return Failed(text=str(error))

    def _load(self, begin: LoadBegin) -> Done:
        path = blob_path(self._storage, begin)
        if begin.kind is BlobKind.IMAGE:
            self._service.load_image(path)
        else:
            self._service.load_inputs(path)
        return Done()

    def _made_anew(self, kind: AbnormalKind, cause: FlightNodeError) -> Abnormal:
        self._service.close()
        self._service = self._factory()
        return Abnormal(kind=kind, detail=str(cause), boot_id=0)

    @property
    def background_wait_s(self) -> float | None:
        """Seconds until there is work to do beside requests; None: never."""
        return self._service.background_wait_s

    def work_in_background(self) -> None:
        """Do a short piece of it where it is due."""
        if self._service.background_wait_s == 0.0:
            self._service.work_in_background()

    def close(self) -> None:
        """Close the service."""
        self._service.close()


def run_child(descriptor: int, storage: Path, factory: ServiceFactory, prepare: Preparation | None = None) -> int:
    """Serve the supervisor at the other end of a socket until it closes it, then give exit status 0.

    Parameters
    ----------
    descriptor : int
        The socket, inherited.
    storage : Path
        The folder of the blobs.
    factory : callable
        Makes the service.
    prepare : callable, optional
        Long work before the first request, such as compiling; it says how far it got.

    Notes
    -----
    The first message sent is :class:`~firmware_bridge.messages.Done`: the computer is ready. Nothing but the
    socket carries messages, so what is printed here is only ever a log.
    """
    die_with_parent()
    with MessagePipe(socket.socket(fileno=descriptor)) as pipe:
        if prepare is not None:
            prepare(pipe.send)
        resident = Resident(factory, storage)
        pipe.send(Done())
        while True:
            messages = pipe.wait(resident.background_wait_s)
            if not messages and pipe.ended:
                break
            for message in messages:
                pipe.send(resident.answer(message))
                pipe.drain()
                resident.work_in_background()
            if not messages:
                resident.work_in_background()
        resident.close()
    return 0


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, busy or not (Linux; elsewhere nothing is done).

    Without it a hung computer would outlive a killed supervisor, since it never looks at its pipe.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended in between
        os._exit(ORPHANED)
