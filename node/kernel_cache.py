"""Where compiled kernels are kept on disk; nothing here loads numba.

The folder is named by a hash of every kernel source, because numba's own index looks at one file alone and would keep
a kernel whose callee in another file has changed. It lies in ``NUMBA_CACHE_DIR`` where that is set, else in
``$XDG_CACHE_HOME/flightnode`` (``~/.cache/flightnode`` without it), else, where that cannot be written, in the
system's temporary folder.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from node.kernel_modules import KERNELS


def kernel_sources() -> tuple[Path, ...]:
    """Give every file whose text decides what is compiled, sorted."""
    beside = [Path(__file__).resolve().with_name(name) for name in ("jit.py", "object_code.py")]
    return tuple(sorted([*KERNELS.rglob("*.py"), *beside]))


def source_hash() -> str:
    """Give 16 hexadecimal digits that change whenever a kernel source changes."""
    digest = hashlib.sha256()
    for path in kernel_sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _cache_bases() -> list[Path]:
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME")
    bases = [Path(given)] if given else []
    if home:
        bases.append(Path(home) / "flightnode")
    elif Path("~").expanduser() != Path("~"):
        bases.append(Path("~/.cache/flightnode").expanduser())
    return [*bases, Path(tempfile.gettempdir()) / f"flightnode-{os.getuid()}"]


def choose_cache_directory() -> Path:
    """Give the first writable cache folder for the present kernel sources, making it.

    Raises
    ------
    OSError
        When not even the temporary folder can be written.
    """
    failure: OSError | None = None
    for base in _cache_bases():
        folder = base / source_hash()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError as error:
            failure = error
    raise OSError(f"no folder for compiled kernels can be written, set NUMBA_CACHE_DIR: {failure}")


def kept(folder: Path) -> int:
    """Give how many compiled kernels lie in such a folder."""
    return sum(1 for path in folder.rglob("*") if path.suffix in (".nbc", ".o"))
