"""Processes that want the same board have it in turns."""

from __future__ import annotations

import fcntl
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hil.boards.address import OWN_NODES, targets_of


@contextmanager
def turn(target: str) -> Iterator[None]:
    """Wait until no other process of this user is within a turn with a board of ``target``, and keep others waiting.

    Nodes that a session itself makes need no turns. A process that ends gives its turn up.
    """
    with ExitStack() as held:
        for node in sorted(set(targets_of(target)) - set(OWN_NODES)):  # in one order, so that nobody waits in a ring
            name = f"flightnode-{os.getuid()}-{zlib.crc32(node.encode()):08x}.lock"
            file = held.enter_context((Path(tempfile.gettempdir()) / name).open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
