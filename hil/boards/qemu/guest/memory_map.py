"""Prints what each page of this machine's memory is used for: lines of class, first page and number of pages.

Runs inside the guest. Sources: /proc/iomem, /proc/kpageflags and /proc/PID/pagemap of the node's two processes
(Linux, Documentation/admin-guide/mm/pagemap.rst).
"""

import re
from array import array
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
PAGE_FLAGS = Path("/proc/kpageflags")
FRAME = (1 << 55) - 1
PRESENT = 1 << 63
SLAB, LRU, BUDDY, ANONYMOUS, NO_PAGE, PAGE_TABLE, RESERVED = (1 << bit for bit in (7, 5, 10, 12, 20, 26, 32))
BY_FLAG = (
    (NO_PAGE, "no page"),
    (BUDDY, "free"),
    (PAGE_TABLE, "page tables"),
    (SLAB, "kernel objects"),
    (ANONYMOUS, "other processes"),
    (LRU, "files"),
    (RESERVED, "kernel, reserved"),
)
IN_KERNEL = {"Kernel code": "kernel code", "Kernel data": "kernel data"}
PROCESSES = {"serve": "agent", "compute": "computer"}


def words(path: Path, offset: int, count: int) -> "array[int]":
    """Give 64-bit words of a file of the kernel's."""
    found = array("Q")
    with path.open("rb") as file:
        file.seek(8 * offset)
        found.frombytes(file.read(8 * count))
    return found


def ranges(kind: str) -> list[tuple[int, int]]:
    """Give first page and end of each range that /proc/iomem calls so."""
    pattern = rf"([0-9a-f]+)-([0-9a-f]+) : {kind}$"
    text = Path("/proc/iomem").read_text()
    return [(int(a, 16) // PAGE, (int(b, 16) + 1) // PAGE) for a, b in re.findall(pattern, text, re.MULTILINE)]


def processes() -> Iterator[tuple[Path, str]]:
    """Give the folder in /proc of each of the node's processes, with what it is."""
    for folder in Path("/proc").glob("[0-9]*"):
        line = (folder / "cmdline").read_bytes().decode().split("\0")
        if line[1:3] == ["-m", "node"] and line[3] in PROCESSES:
            yield folder, PROCESSES[line[3]]


def mapped(folder: Path, process: str) -> Iterator[tuple[int, str]]:
    """Give the frames that a process has in memory, each with what it is."""
    for line in (folder / "maps").read_text().splitlines():
        span, may, _, _, inode, *file = line.split()
        first, end = (int(text, 16) // PAGE for text in span.split("-"))
        if first >= 1 << 47:  # the kernel's own pages in every process
            continue
        name = f"{process}: {'compiled code' if 'x' in may else 'own memory'}"
        if inode != "0":
            name = "interpreter" if Path(file[0]).name.startswith("python3") else "libraries"
        for entry in words(folder / "pagemap", first, end - first):
            if entry & PRESENT:
                private = inode != "0" and words(PAGE_FLAGS, entry & FRAME, 1)[0] & ANONYMOUS  # written to since
                yield entry & FRAME, f"{process}: own memory" if private else name


def classes() -> dict[int, str]:
    """Give the class of each page, by its number."""
    found: dict[int, str] = {}
    for first, end in ranges("System RAM"):
        for page, flags in enumerate(words(PAGE_FLAGS, first, end - first), first):
            found[page] = next((name for flag, name in BY_FLAG if flags & flag), "kernel, other")
    for kind, name in IN_KERNEL.items():
        for first, end in ranges(f" *{kind}"):
            found.update(dict.fromkeys(range(first, end), name))
    for folder, process in processes():
        for page, name in mapped(folder, process):
            if page in found and not found[page].startswith("kernel"):
                found[page] = name
    return found


def main() -> None:
    """Print runs of pages of one class."""
    pages = classes()
    first = None
    for page, name in sorted(pages.items()):
        first = page if first is None else first
        if pages.get(page + 1) != name:
            print(name, first, page + 1 - first, sep="\t")
            first = None


main()
