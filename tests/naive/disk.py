"""A disk in memory that can be stopped at any operation and then shows every state a power cut may leave."""

import errno
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from node.file_layer import FileLayer

SECTOR_BYTES = 512


class PowerCut(BaseException):
    """The machine stops here; no handler of the program runs."""


class Disk(FileLayer):
    """Files as byte arrays: what reads give, what is on the medium, and which sectors wait for a sync.

    ``stop_before`` is the number of the operation that no longer happens, ``fail_at`` maps numbers of operations to the
    errno they raise, ``most_bytes`` limits what one write takes.
    """

    def __init__(self, medium=None, stop_before=None, fail_at=None, most_bytes=None):
        self.medium = dict(medium or {})
        self.files = {name: bytearray(content) for name, content in self.medium.items()}
        self.waiting = {}
        self.names = {}
        self.stop_before = stop_before
        self.fail_at = fail_at or {}
        self.most_bytes = most_bytes
        self.log = []

    def _step(self, what, fd):
        number = len(self.log)
        if number == self.stop_before:
            raise PowerCut
        self.log.append((what, self.names.get(fd, fd)))
        if number in self.fail_at:
            raise OSError(self.fail_at[number], errno.errorcode[self.fail_at[number]])

    def open(self, path):
        name = Path(path).name
        fd = len(self.names) + 3
        self.names[fd] = name
        self.files.setdefault(name, bytearray())
        self.medium.setdefault(name, b"")
        return fd

    def size(self, fd):
        return len(self.files[self.names[fd]])

    def allocate(self, fd, size):
        """Metadata is on the medium at once: slots are made before anything is acknowledged."""
        self._step("allocate", fd)
        name = self.names[fd]
        self.files[name].extend(bytes(size - len(self.files[name])))
        self.medium[name] = bytes(self.medium[name]).ljust(size, b"\0")

    def read(self, fd, size, offset):
        return bytes(self.files[self.names[fd]][offset : offset + size])

    def write(self, fd, data, offset):
        self._step("write", fd)
        name = self.names[fd]
        taken = data[: self.most_bytes]
        self.files[name][offset : offset + len(taken)] = taken
        touched = range(offset // SECTOR_BYTES, (offset + len(taken) - 1) // SECTOR_BYTES + 1)
        self.waiting.setdefault(name, set()).update(touched)
        return len(taken)

    def sync(self, fd):
        self._step("sync", fd)
        name = self.names[fd]
        self.medium[name] = bytes(self.files[name])
        self.waiting.pop(name, None)

    def sync_directory(self, path):
        self._step("sync", str(path))

    def close(self, fd):
        del self.names[fd]

    def after_power_cut(self) -> Iterator[dict[str, bytes]]:
        """Give every medium that a power cut may leave: each waiting sector is old, new, half of each, or noise."""
        waiting = [(name, sector) for name, sectors in self.waiting.items() for sector in sorted(sectors)]
        for fates in product(("old", "new", "torn", "noise"), repeat=len(waiting)):
            medium = {name: bytearray(content) for name, content in self.medium.items()}
            for (name, sector), fate in zip(waiting, fates, strict=True):
                part = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
                medium[name][part] = _mixed(bytes(medium[name][part]), bytes(self.files[name][part]), fate)
            yield {name: bytes(content) for name, content in medium.items()}


def _mixed(old: bytes, new: bytes, fate: str) -> bytes:
    if fate == "old":
        return old
    if fate == "new":
        return new
    if fate == "torn":
        # Within the header (48 bytes at the start) as well as in the middle of the sector.
        return new[:20] + old[20 : SECTOR_BYTES // 2] + new[SECTOR_BYTES // 2 :]
    return bytes((97 * i + 13) % 256 for i in range(len(old)))
