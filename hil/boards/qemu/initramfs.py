"""The first file system of the guest, a cpio archive: busybox, five drivers and a script that finds the disk."""

from __future__ import annotations

import gzip
import stat
from collections.abc import Mapping
from pathlib import Path

MODULES = (
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_mmio.ko",
    "drivers/block/virtio_blk.ko",
    "drivers/char/virtio_console.ko",
)
"""In the order in which they are loaded."""
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module; done
while ! [ -b /dev/vda ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 -o ro /dev/vda /disk
/bin/busybox mount --move /dev /disk/dev
exec /bin/busybox switch_root /disk {init}
"""
DIRECTORY = stat.S_IFDIR | 0o755
EXECUTABLE = stat.S_IFREG | 0o755
DEVICE = stat.S_IFCHR | 0o600
CONSOLE_NUMBER = (5, 1)


def initramfs(busybox: bytes, modules: Mapping[str, bytes], init: str) -> bytes:
    """Give a compressed initramfs.

    Parameters
    ----------
    busybox : bytes
        A static busybox for the guest.
    modules : mapping of str to bytes
        Drivers by file name, in the order in which they are to be loaded.
    init : str
        What becomes the first process, by its path on the disk.
    """
    script = INIT.format(modules=" ".join(modules), init=init)
    archive = b"".join(
        [
            *(_entry(name, DIRECTORY) for name in ("bin", "dev", "disk", "modules")),
            _entry("dev/console", DEVICE, device=CONSOLE_NUMBER),
            _entry("bin/busybox", EXECUTABLE, busybox),
            *(_entry(f"modules/{name}", EXECUTABLE, data) for name, data in modules.items()),
            _entry("init", EXECUTABLE, script.encode()),
            _entry("TRAILER!!!", 0),
        ]
    )
    return gzip.compress(archive, 6, mtime=0)


def drivers(tree: Path) -> dict[str, bytes]:
    """Give the drivers of :data:`MODULES` by file name, from an unpacked kernel package."""
    (root,) = tree.glob("lib/modules/*/kernel")
    return {Path(name).name: (root / name).read_bytes() for name in MODULES}


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """Give one entry of a cpio archive of the format "newc" (Linux, Documentation/driver-api/early-userspace)."""
    path = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields)
    return _padded(header + path) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
