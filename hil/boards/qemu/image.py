"""The image of the emulated board: a kernel, its first file system and a disk, built once for the present sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_bridge.errors import ConfigError
from hil.boards.qemu import root_tree
from hil.boards.qemu.initramfs import drivers, initramfs
from hil.boards.qemu.kernels import compile_kernels, kernel_modules
from hil.boards.qemu.tools import check_tools
from hil.boards.qemu.userland import default_folder, fetch_packages, lay_userland, sources_digest
from hil.progress import ProgressEvent, ProgressSink

BUILD = "hil board build-qemu"
INIT = f"/{root_tree.SITE}/init"
MANIFEST = "image.json"


@dataclass(frozen=True, kw_only=True)
class BoardImage:
    """What the emulated machine starts from; nothing of it is changed while it is in use."""

    folder: Path

    @property
    def kernel(self) -> Path:
        """Debian's kernel."""
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        """The first file system."""
        return self.folder / "initramfs.gz"

    @property
    def disk(self) -> Path:
        """The root file system, ext4."""
        return self.folder / "disk.ext4"

    @property
    def manifest(self) -> dict[str, str | list[str]]:
        """What it was made of."""
        described: dict[str, str | list[str]] = json.loads((self.folder / MANIFEST).read_text())
        return described


def find_image(folder: Path | None = None) -> BoardImage:
    """Give the image of the present sources.

    Raises
    ------
    ConfigError
        There is none, or only one of other sources.
    """
    place = (default_folder() if folder is None else folder) / "image"
    if not (place / MANIFEST).exists():
        raise ConfigError(f"no image of the emulated board in {place}; make one with `{BUILD}`")
    image = BoardImage(folder=place)
    if image.manifest["sources"] != sources_digest():
        raise ConfigError(f"{place} holds a node of other sources than these; bring it up to date with `{BUILD}`")
    return image


def build_image(
    progress: ProgressSink, folder: Path | None = None, *, fresh: bool = False, usual_only: bool = False
) -> BoardImage:
    """Make the image, or bring it up to date; what an interrupted build has done is kept.

    Parameters
    ----------
    progress : callable
        Told which stage has been reached.
    folder : Path, optional
        Where; :func:`default_folder` if not given.
    fresh : bool
        Forget what was downloaded and compiled before.
    usual_only : bool
        Compile only what most models need; a node compiles the rest itself when it comes to it, which takes minutes.

    Raises
    ------
    ConfigError
        A program is missing, or packages cannot be fetched.
    """
    check_tools()
    place = default_folder() if folder is None else folder
    if fresh:
        shutil.rmtree(place, ignore_errors=True)
    debian, wheels = fetch_packages(place, progress)
    sources = sources_digest()  # of what is laid into the tree now, whatever changes while it is compiled
    userland = lay_userland(place, "tree", debian, wheels)
    tree = userland.tree

    def told(done: int, total: int) -> None:
        progress(ProgressEvent(stage="compile kernels", done=done, total=total))

    compile_kernels(userland.interpreter(), tree, kernel_modules(usual_only=usual_only), told)
    shutil.copytree(userland.kernels(), tree / root_tree.KERNEL_CACHE)
    progress(ProgressEvent(stage="make the disk", done=0, total=1))
    packages = [path.stem for path in (*debian.userland, debian.kernel, *wheels)]
    manifest: dict[str, str | list[str]] = {"sources": sources, "kernel": debian.kernel.stem, "packages": packages}
    image = _write(place / "image", tree, debian.kernel, manifest)
    shutil.rmtree(tree)
    progress(ProgressEvent(stage="make the disk", done=1, total=1))
    return image


def _write(place: Path, tree: Path, kernel: Path, manifest: Mapping[str, str | list[str]]) -> BoardImage:
    """Put the image together; the manifest comes last, so that half an image is none."""
    place.mkdir(exist_ok=True)
    (place / MANIFEST).unlink(missing_ok=True)
    image = BoardImage(folder=place)
    linux = tree.with_name("linux")
    shutil.rmtree(linux, ignore_errors=True)
    root_tree.unpack_debian([kernel], linux)
    (vmlinuz,) = linux.glob("boot/vmlinuz-*")
    shutil.copyfile(vmlinuz, image.kernel)
    image.initramfs.write_bytes(initramfs((tree / "bin/busybox").read_bytes(), drivers(linux), INIT))
    shutil.rmtree(linux)
    root_tree.make_disk(tree, image.disk)
    (place / MANIFEST).write_text(json.dumps(manifest, indent=1))
    return image
