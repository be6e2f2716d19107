"""What the emulated board is made of: Debian packages for arm64 and wheels for aarch64, downloaded once.

The system's own package lists are left alone: apt works in a folder of ours, with the system's sources and keys, for
another architecture.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

from firmware_bridge.errors import ConfigError
from hil.boards.qemu.tools import call

USERLAND = ("python3", "busybox-static", "libstdc++6")
KERNEL = "linux-image-cloud-arm64"
"""Debian's kernel for virtual machines: a PL011 and ext4 built in, few drivers, so that it starts fast."""
BOARD_PACKAGES = ("numpy", "numba", "llvmlite", "pyserial", "crcmod-plus")
GLIBC_OF_WHEELS = range(17, 37)
"""The minor versions of glibc 2 that wheels are taken for (Debian 12 has 2.36)."""
COMPLETE = "complete"
"""Stands in a folder of downloads that has everything."""


class DebianPackages:
    """Debian's packages for arm64.

    Parameters
    ----------
    folder : Path
        Where lists and packages are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archives = folder / "archives"
        self._kernels = folder / "kernel"

    def fetch(self) -> None:
        """Download the userland and the kernel, unless both are here.

        Raises
        ------
        ConfigError
            No apt here, or its sources have no arm64 packages or cannot be reached.
        """
        if (self._folder / COMPLETE).exists():
            return
        for path in (self._folder / "state/lists/partial", self._archives / "partial", self._kernels):
            path.mkdir(parents=True, exist_ok=True)
        (self._folder / "state" / "status").touch()
        self._apt("apt-get", "update")
        self._apt("apt-get", "autoclean")  # an older version left by a download that was interrupted
        self._apt("apt-get", "install", "--download-only", *USERLAND)
        self._fetch_kernel()
        (self._folder / COMPLETE).touch()

    @property
    def userland(self) -> list[Path]:
        """The packages of the root file system."""
        return sorted(self._archives.glob("*.deb"))

    @property
    def kernel(self) -> Path:
        """The kernel's package."""
        return next(self._kernels.glob("*.deb"))

    def _fetch_kernel(self) -> None:
        depends = self._apt("apt-cache", "depends", KERNEL)
        found = re.search(r"Depends: (linux-image-[\w.+-]+)", depends)
        if found is None:
            raise ConfigError(f"{KERNEL} depends on no kernel; do apt's sources have packages for arm64?")
        for old in self._kernels.glob("*.deb"):
            old.unlink()
        self._apt("apt-get", "download", found[1])

    def _apt(self, tool: str, *arguments: str) -> str:
        places = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Dir::State": str(self._folder / "state"),
            "Dir::State::status": str(self._folder / "state" / "status"),
            "Dir::Cache": str(self._folder),
            "Debug::NoLocking": "true",
        }
        options = [word for key, value in places.items() for word in ("-o", f"{key}={value}")]
        quiet = ["-qq", "-y"] if tool == "apt-get" else []
        doing = f"fetching Debian packages for arm64 ({tool} {arguments[0]})"
        return call([tool, *options, *quiet, *arguments], doing, cwd=self._kernels)


def python_version(userland: list[Path]) -> str:
    """Give the version of Python among Debian's packages.

    Examples
    --------
    >>> python_version([Path("python3_3.11.2-1_arm64.deb"), Path("python3.11-minimal_3.11.2-6_arm64.deb")])
    '3.11'
    """
    versions = [found[1] for path in userland if (found := re.match(r"python(3\.\d+)-minimal_", path.name))]
    if len(versions) != 1:
        raise ConfigError(f"Debian's packages hold {len(versions)} Pythons, not one; build again with --fresh")
    return versions[0]


def fetch_wheels(folder: Path, python: str) -> list[Path]:
    """Download what the node imports, for aarch64, unless it is here.

    Versions are those of this process, so that the node and the host compute with the same numpy and numba.

    Raises
    ------
    ConfigError
        The registry cannot be reached or has no such wheel.
    """
    wanted = [f"{name}=={version(name)}" for name in BOARD_PACKAGES]
    place = folder / "-".join([f"cp{python}", *(text.partition("==")[2] for text in wanted)])
    if not (place / COMPLETE).exists():
        place.mkdir(parents=True, exist_ok=True)
        platforms = ["--platform=manylinux2014_aarch64"]
        platforms += [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC_OF_WHEELS]
        choice = ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "download",
            "-q",
            "-d",
            place,
        ]
        call([*pip, *choice, *platforms, *wanted], f"fetching wheels for aarch64 and Python {python}")
        (place / COMPLETE).touch()
    return sorted(place.glob("*.whl"))
