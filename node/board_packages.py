"""What the board needs besides this package, and the wheels of it for an offline installation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from firmware_bridge.errors import ConfigError, UsageError

BOARD_PACKAGES = ("numpy>=2.0", "numba>=0.61", "pyserial>=3.5", "crcmod-plus>=2.3")
"""The same lines as in ``requirements-board.txt``."""
REQUIREMENTS_FILE = "requirements-board.txt"
WHEELS_FOLDER = "wheels"
SCRIPT_FILE = "install.sh"

PLATFORMS = ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
"""Any of these runs on a 64-bit Raspberry Pi OS since 2021 (glibc 2.28 or newer)."""

_SCRIPT = """\
#!/bin/sh
# Install flightnode from this folder; no network is needed. Arguments go to `flightnode install`.
set -e
here=$(cd "$(dirname "$0")" && pwd)
exec env PYTHONPATH="$(echo "$here"/{wheels}/flightnode-*.whl)" python3 -m node install --bundle "$here" "$@"
"""


def make_bundle(out: Path, *, python: str, source: Path | None = None) -> Path:
    """Fill a folder with everything that a board without a network needs, and give it.

    Parameters
    ----------
    out : Path
        The folder; made if missing.
    python : str
        Version of Python on the board, such as ``3.11``.
    source : Path, optional
        Wheel or source tree of this package; the tree that this module lies in, if not given.

    Raises
    ------
    UsageError
        ``python`` is no version, or there is no source tree to build a wheel from.
    ConfigError
        pip does not find what is needed.
    """
    major, _, minor = python.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise UsageError(f"--python {python}: give the board's version as `python3 --version` says it, such as 3.11")
    wheels = out / WHEELS_FOLDER
    wheels.mkdir(parents=True, exist_ok=True)
    (out / REQUIREMENTS_FILE).write_text("\n".join(BOARD_PACKAGES) + "\n")
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    interpreter = ("--implementation", "cp", "--python-version", f"{major}.{minor}")
    abis = ("--abi", f"cp{major}{minor}", "--abi", "abi3", "--abi", "none")
    _pip("download", "--only-binary", ":all:", *platforms, *interpreter, *abis, "--dest", wheels, *BOARD_PACKAGES)
    _pip("wheel", "--no-deps", "--wheel-dir", wheels, source or _source_tree())
    script = out / SCRIPT_FILE
    script.write_text(_SCRIPT.format(wheels=WHEELS_FOLDER))
    script.chmod(0o755)
    return out


def _source_tree() -> Path:
    tree = Path(__file__).resolve().parents[1]
    if not (tree / "pyproject.toml").exists():
        raise UsageError("no source tree here to build the wheel from: give --source WHEEL_OR_TREE")
    return tree


def _pip(*words: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        raise ConfigError(f"pip {words[0]}: {last[-1]}; check the network, and that --python has wheels for aarch64")
