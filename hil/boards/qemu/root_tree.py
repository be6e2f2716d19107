"""The root file system of the emulated board, as a folder: Debian's userland, the wheels, the node and its kernels."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

import firmware_bridge
import node
from hil.boards.qemu.stamps import stamps
from hil.boards.qemu.tools import call
from node.version import agent_version

SITE = "opt/flightnode"
"""Where the wheels and the node lie in the guest."""
KERNEL_CACHE = "opt/kernels"
"""Where the compiled kernels lie in the guest: what XDG_CACHE_HOME names there."""
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", f"{SITE}/numba/tests")
MOUNT_POINTS = ("proc", "sys", "dev", "tmp", "run", "var/lib/flightnode")
NODE_PACKAGES = (firmware_bridge, node)
GUEST_FILES = Path(__file__).with_name("guest")


def node_files() -> dict[str, Path]:
    """Give every file of the node by its path below the folder of packages, sorted."""
    found: dict[str, Path] = {}
    for package in NODE_PACKAGES:
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            found[f"{root.name}/{path.relative_to(root)}"] = path
    return found


def unpack_debian(packages: Iterable[Path], tree: Path) -> None:
    """Unpack packages into a folder, without running their scripts."""
    tree.mkdir(parents=True, exist_ok=True)
    for package in packages:
        call(["dpkg-deb", "--extract", package, tree], f"unpacking {package.name}")


def install(wheels: Iterable[Path], tree: Path) -> None:
    """Lay wheels and the folders that the guest mounts into a tree, and leave out what it never reads."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tree / SITE)
    for name in MOUNT_POINTS:
        (tree / name).mkdir(parents=True, exist_ok=True)
    for name in UNUSED:
        shutil.rmtree(tree / name, ignore_errors=True)


def install_node(tree: Path) -> None:
    """Lay the node and the guest's scripts into a tree; each file of the node has the time of :mod:`.stamps`."""
    files = node_files()
    for name, stamp_s in stamps(files).items():
        place = _lay(files[name], tree / SITE / name)
        os.utime(place, (stamp_s, stamp_s))
    version = agent_version()
    about = tree / SITE / f"flightnode-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: flightnode\nVersion: {version}\n")
    for script in sorted(GUEST_FILES.iterdir()):
        _lay(script, tree / SITE / script.name).chmod(0o755)


def _lay(source: Path, place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    return shutil.copyfile(source, place)


def make_disk(tree: Path, disk: Path) -> None:
    """Make an ext4 file system of a tree, read only once it is in use: no journal, little room to spare."""
    size = sum(path.lstat().st_size for path in tree.rglob("*"))
    blocks_kib = round(size * 1.15 / 1024) + 16_384
    part = disk.with_suffix(".part")
    part.unlink(missing_ok=True)
    command: list[str | Path] = [
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-O",
        "^has_journal",
        "-m",
        "0",
        "-d",
        tree,
        part,
        f"{blocks_kib}k",
    ]
    call(command, "making the guest's disk")
    part.replace(disk)
