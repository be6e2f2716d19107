"""A machine as its files show it, so that another folder can stand for it, and what is found there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOST_THREADS = 16
"""Threads that may share a model's operators; boards have four cores."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One finding; ``remedy`` is empty where nothing needs to be done."""

    name: str
    finding: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where to look; another root is another machine.

    Parameters
    ----------
    root : Path
        What stands for ``/``.
    """

    root: Path = Path("/")

    def read(self, name: str) -> str:
        """Give the text of a file, empty where it is missing or closed to us."""
        try:
            return (self.root / name).read_text(errors="replace").replace("\0", " ").strip()
        except OSError:
            return ""

    def head(self, name: str, size: int) -> bytes:
        """Give the first bytes of a file, none where it is missing or closed to us."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(size)
        except OSError:
            return b""

    def find(self, folder: str, patterns: Iterable[str]) -> list[Path]:
        """Give the files of a folder that match, sorted."""
        return sorted({path for pattern in patterns for path in (self.root / folder).glob(pattern)})

    def first_of(self, names: Iterable[str]) -> str:
        """Give the first of these files that exists, empty where none does."""
        return next((name for name in names if (self.root / name).exists()), "")

    @property
    def model(self) -> str:
        """What the device tree calls the board; empty where there is none."""
        return self.read("proc/device-tree/model")
