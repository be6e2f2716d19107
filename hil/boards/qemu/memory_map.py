"""What the pages of the emulated machine's memory are used for, as its own kernel tells it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from firmware_bridge.errors import DataError
from hil.boards.qemu.machine import Machine
from hil.boards.qemu.root_tree import SITE
from hil.strikes import Stream

PAGE_BYTES = 4096
MEMORY_START = 0x4000_0000
"""Where RAM begins in the address space of QEMU's ``virt`` machine."""
QUESTION = f"python3 /{SITE}/memory_map.py"


@dataclass(frozen=True, kw_only=True)
class PageClass:
    """Pages that are used for the same thing, as runs of (first byte of the memory file, bytes)."""

    name: str
    runs: tuple[tuple[int, int], ...]

    @property
    def size_bytes(self) -> int:
        """Bytes in all of it."""
        return sum(size for _, size in self.runs)

    def draw(self, stream: Stream) -> int:
        """Give a bit of the memory file, each bit of the class equally likely."""
        ends = list(accumulate(size for _, size in self.runs))
        byte = stream.below(ends[-1])
        run = bisect_right(ends, byte)
        start, size = self.runs[run]
        return 8 * (start + byte - (ends[run] - size)) + stream.below(8)


def parse_map(text: str, memory_bytes: int) -> tuple[PageClass, ...]:
    r"""Give the classes that the guest's script printed, the largest first.

    Raises
    ------
    DataError
        A line is none of the script's, or lies outside the memory.

    Examples
    --------
    >>> parse_map("free\t262144\t2\nfiles\t262146\t1\nfree\t262147\t1\n", 1 << 20)[0].size_bytes
    12288
    """
    runs: dict[str, list[tuple[int, int]]] = {}
    for line in text.splitlines():
        try:
            name, first, count = line.split("\t")
            start, size = int(first) * PAGE_BYTES - MEMORY_START, int(count) * PAGE_BYTES
        except ValueError:
            raise DataError(f"the emulated board said {line!r} where it describes its memory") from None
        if start < 0 or size <= 0 or start + size > memory_bytes:
            raise DataError(f"the emulated board describes memory that it does not have: {line!r}")
        runs.setdefault(name, []).append((start, size))
    classes = (PageClass(name=name, runs=tuple(found)) for name, found in runs.items())
    return tuple(sorted(classes, key=lambda found: -found.size_bytes))


def memory_map(machine: Machine) -> tuple[PageClass, ...]:
    """Ask a machine what its memory is used for; that takes it some seconds."""
    return parse_map(machine.ask(QUESTION), machine.memory_bytes)
