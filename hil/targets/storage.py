"""Temporary folders of the nodes that this machine makes; what a killed program left is removed by the next one.

A folder holds the file ``owner``, locked by the program that made it. The system gives the lock free when that program
ends, however that happens, so that whoever gets the lock knows the folder to be nobody's.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

OWNER_FILE = "owner"
NODE_LOCK_FILE = "lock"
"""Locked by a node of its own process, which may outlive its host for a moment."""


class NodeStorage:
    """A new folder for a node, removed by :meth:`close`.

    Parameters
    ----------
    kind : str
        What kind of node it is for; part of the folder's name.
    parent : Path, optional
        Where it is made; the system's folder for temporary files if not given.

    Examples
    --------
    >>> storage = NodeStorage("sim")
    >>> storage.path.is_dir()
    True
    >>> storage.close()
    """

    def __init__(self, kind: str, parent: Path | None = None) -> None:
        prefix = f"flightnode-{kind}-"
        around = parent or Path(tempfile.gettempdir())
        for folder in around.glob(f"{prefix}*"):
            _remove_if_nobodys(folder)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=around))
        # Locked before it has its name: nobody ever sees it without its lock.
        fresh = self.path / f"{OWNER_FILE}.new"
        self._owner = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        fresh.rename(self.path / OWNER_FILE)

    def close(self) -> None:
        """Remove the folder; closing twice is allowed."""
        owner, self._owner = self._owner, -1
        if owner >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(owner)


def _remove_if_nobodys(folder: Path) -> None:
    """Remove a folder that has an owner's file and neither an owner nor a node; leave anything else alone."""
    held: list[int] = []
    try:
        for name in (OWNER_FILE, NODE_LOCK_FILE):
            path = folder / name
            if name == OWNER_FILE or path.exists():
                held.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
                fcntl.flock(held[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # in use, of another user, or gone meanwhile
        return
    finally:
        for descriptor in held:
            os.close(descriptor)
