"""Programs of the host that build and run the emulated board, called so that a missing one says what to install."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from firmware_bridge.errors import ConfigError

PACKAGES = {
    "apt-get": "apt",
    "apt-cache": "apt",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "qemu-aarch64-static": "qemu-user-static",
    "qemu-system-aarch64": "qemu-system-arm",
}
"""The Debian package that each program comes in."""
LAST_LINES = 5


def missing_tools() -> list[str]:
    """Give the programs that are not here, each with the Debian package that it comes in."""
    return [f"{tool} (package {package})" for tool, package in PACKAGES.items() if shutil.which(tool) is None]


def check_tools() -> None:
    """Raise ConfigError, naming what to install, unless every program is there."""
    missing = missing_tools()
    if missing:
        wanted = " ".join(sorted({PACKAGES[text.split()[0]] for text in missing}))
        raise ConfigError(f"the emulated board needs {', '.join(missing)}; run `apt-get install {wanted}`")


def call(
    command: Sequence[str | Path], doing: str, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and give what it wrote to standard output.

    Parameters
    ----------
    command : sequence of str or Path
        The program and its arguments.
    doing : str
        What it is run for, as an error says it.
    cwd : Path, optional
        Where it is run.
    env : mapping, optional
        Its whole environment; this process's own where not given.

    Raises
    ------
    ConfigError
        The program is missing or fails; the message ends with its last words.
    """
    try:
        ended = subprocess.run(
            [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        check_tools()
        raise ConfigError(f"{doing}: {command[0]} is missing; install it") from None
    if ended.returncode != 0:
        words = (ended.stderr or ended.stdout).strip().splitlines()[-LAST_LINES:]
        raise ConfigError(f"{doing}: {Path(command[0]).name} ended with {ended.returncode}: {' / '.join(words)}")
    return ended.stdout
