"""The emulated board's programs as a folder of the host: Debian's userland, the wheels, the node, and compiled kernels.

The board's disk is made of it. Without any disk, QEMU's emulation of single programs runs its Python here, so that
what a board computes can be compared with what this processor computes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.errors import ConfigError
from hil.boards.qemu import root_tree
from hil.boards.qemu.kernels import NUMBA_PROCESSOR, PROCESSOR, GuestPython
from hil.boards.qemu.packages import DebianPackages, fetch_wheels, python_version
from hil.progress import ProgressEvent, ProgressSink
from node.kernel_cache import source_hash

BUILD = "hil board build-aarch64"
ALONE = "aarch64"
"""Name of the folder that is kept to run programs from; the disk's is removed once the disk is made."""
ABOUT = "aarch64.about"
"""The file beside the folder that says of which sources and Python it is."""


@dataclass(frozen=True, kw_only=True)
class Userland:
    """A folder that stands for ``/`` of the board.

    Parameters
    ----------
    tree : Path
        The folder.
    python : str
        Version of its Python, such as ``"3.11"``.
    """

    tree: Path
    python: str

    def kernels(self, processor: str = PROCESSOR) -> Path:
        """Give the folder of the host for kernels compiled for a processor: what XDG_CACHE_HOME names there.

        Those of earlier sources now go by the name of the present ones: what has to be compiled anew is told by the
        times of the files.
        """
        cache = self.tree.with_name("kernels" if processor == PROCESSOR else f"kernels-{processor}")
        present = cache / "flightnode" / source_hash()
        present.parent.mkdir(parents=True, exist_ok=True)
        for earlier in present.parent.glob("*"):  # there is one at most
            earlier.rename(present)
        return cache

    def interpreter(self, processor: str = PROCESSOR) -> GuestPython:
        """Give its Python as a program of the host, for one of :data:`~hil.boards.qemu.kernels.FEATURES`."""
        return GuestPython(self.tree, self.python, {"XDG_CACHE_HOME": str(self.kernels(processor))}, processor)


def default_folder() -> Path:
    """Give the folder of everything about the emulated board (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "flightnode" / "qemu"


def sources_digest() -> str:
    """Give 16 hexadecimal digits that change with any file of the node or of the guest's scripts."""
    digest = hashlib.sha256()
    files = root_tree.node_files() | {path.name: path for path in sorted(root_tree.GUEST_FILES.iterdir())}
    for name, path in files.items():
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def fetch_packages(place: Path, progress: ProgressSink) -> tuple[DebianPackages, list[Path]]:
    """Download what is not here yet; give Debian's packages and the wheels.

    Raises
    ------
    ConfigError
        A program is missing, or packages cannot be fetched.
    """
    place.mkdir(parents=True, exist_ok=True)
    progress(ProgressEvent(stage="fetch packages", done=0, total=1))
    debian = DebianPackages(place / "debian")
    debian.fetch()
    wheels = fetch_wheels(place / "wheels", python_version(debian.userland))
    progress(ProgressEvent(stage="fetch packages", done=1, total=1))
    return debian, wheels


def lay_userland(place: Path, name: str, debian: DebianPackages, wheels: list[Path]) -> Userland:
    """Lay a new tree of that name into the folder, without kernels."""
    tree = place / name
    shutil.rmtree(tree, ignore_errors=True)
    root_tree.unpack_debian(debian.userland, tree)
    root_tree.install(wheels, tree)
    root_tree.install_node(tree)
    variables = {"PYTHONPATH": f"/{root_tree.SITE}", "XDG_CACHE_HOME": "/tmp/cache"} | NUMBA_PROCESSOR  # noqa: S108
    lines = [f"export {name}='{value}'\n" for name, value in variables.items()]
    lines.append(f"KERNELS=/{root_tree.KERNEL_CACHE}\n")
    (tree / root_tree.SITE / "environment").write_text("".join(lines))
    return Userland(tree=tree, python=python_version(debian.userland))


def build_userland(progress: ProgressSink, folder: Path | None = None) -> Userland:
    """Make the folder to run programs from, unless it is there for the present sources; give it.

    Raises
    ------
    ConfigError
        A program is missing, or packages cannot be fetched.
    """
    place = default_folder() if folder is None else folder
    try:
        return find_userland(place)
    except ConfigError:
        debian, wheels = fetch_packages(place, progress)
    (place / ABOUT).unlink(missing_ok=True)
    sources = sources_digest()  # of what is laid into the tree now
    userland = lay_userland(place, ALONE, debian, wheels)
    (place / ABOUT).write_text(f"{sources} {userland.python}")  # comes last: half a tree is none
    return userland


def find_userland(folder: Path | None = None) -> Userland:
    """Give the folder that :func:`build_userland` made of the present sources.

    Raises
    ------
    ConfigError
        There is none, or only one of other sources.
    """
    place = default_folder() if folder is None else folder
    about = place / ABOUT
    if not about.exists():
        raise ConfigError(f"no Python for aarch64 in {place / ALONE}; make one with `{BUILD}`")
    sources, python = about.read_text().split()
    if sources != sources_digest():
        raise ConfigError(f"{place / ALONE} holds a node of other sources than these; make it anew with `{BUILD}`")
    return Userland(tree=place / ALONE, python=python)
