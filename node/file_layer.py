"""The few file operations a checkpoint needs, in one replaceable class: tests put a failing disk in its place."""

from __future__ import annotations

import os
from pathlib import Path


class FileLayer:
    """Unbuffered files by number; every method raises ``OSError`` as the system call does."""

    def open(self, path: Path) -> int:
        """Open for reading and writing, making the file where there is none."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def size(self, fd: int) -> int:
        """Give the file's size in bytes."""
        return os.fstat(fd).st_size

    def allocate(self, fd: int, size: int) -> None:
        """Reserve the file's blocks, so that a later write needs no room and no metadata."""
        os.posix_fallocate(fd, 0, size)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Give up to ``size`` bytes."""
        return os.pread(fd, size, offset)

    def write(self, fd: int, data: bytes, offset: int) -> int:
        """Write and give the number of bytes taken, which may be fewer."""
        return os.pwrite(fd, data, offset)

    def sync(self, fd: int) -> None:
        """Return when the file's data is on the medium."""
        os.fdatasync(fd)

    def sync_directory(self, path: Path) -> None:
        """Return when the directory's entries are on the medium."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        """Give the file back."""
        os.close(fd)
