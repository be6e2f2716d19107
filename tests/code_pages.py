"""Makes docs/codes.md: what each code is, and what becomes of faults that strike many cells in a pattern.

``python -m tests.code_pages`` writes the page; a test holds it against the codes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from functools import reduce
from operator import xor
from pathlib import Path

import numpy as np

from node.ecc import CODES
from node.ecc.vertical import VerticalCode
from node.kernels.codes.matrices import FIG6_COLUMNS, LAID_COLUMNS

PAGE = Path(__file__).parents[1] / "docs" / "codes.md"
SIZE = 4 * 4096
STRIDES = [1 << k for k in range(1, 13)]

HEAD = """# Codes

What each code of `node.CODES` promises, and what it makes of faults that strike many cells at once. This page is
made by `python -m tests.code_pages`, and a test holds it against the codes.

Patterns, in random data of 16 KiB:

- **byte**: one byte, all bits inverted; 256 places.
- **row**: 64 bytes from a multiple of 64 on, all bits inverted; all 256 rows.
- **burst**: 505 neighbouring bits from any bit on; 256 starts.
- **column**: the same bit of all 64 rows of 64 bytes of a block of 4 KiB; all 512 bits of a row.
- **alternate**: the same of every second row; all 512 bits.
- **stuck**: the same bit of all 64 rows reads as one, so that about half of them are wrong, or as zero; all 512 bits,
  in turn at one and at zero.
- **stride**: one bit of every 2nd, 4th, ... 4096th byte of all 16 KiB: 12 strides, 8 bits each.

A cell of the table is *restored / detected / silent*: patterns after which all data were right again, after which
they were not and the code said so, and after which they were not and it said nothing.
"""

BLOCKS = """The digests are part of each overhead below and of all speeds that `make bench` prints: a check compares the
two of each block, an encoding makes them, a repair is held against them. The other codes judge each word by itself.

A column that is stuck strikes about half of its rows, at random. Such a pattern down a single bit is silent in one of
two cases under `vertical_parity`, of 2^8 under `vertical_hsiao`, of 2^9 under `vertical_ssc` and of 2^17 under
`vertical_chipkill`: check rows that agree leave nothing to correct, hence no digest to ask.
"""


def patterns() -> dict[str, list[np.ndarray]]:
    """Give for each kind of pattern the numbers of the bits that are struck."""
    rng = np.random.default_rng(20)
    bytes_struck = rng.choice(SIZE, 256, replace=False)
    starts = rng.choice(8 * SIZE - 505, 256, replace=False)
    columns = np.arange(512)
    rows = np.arange(64) * 512
    return {
        "byte": [8 * place + np.arange(8) for place in bytes_struck],
        "row": [512 * row + np.arange(512) for row in range(SIZE // 64)],
        "burst": [start + np.arange(505) for start in starts],
        "column": [column + rows for column in columns],
        "alternate": [column + rows[column % 2 :: 2] for column in columns],
        "stuck": [column + rows for column in columns],
        "stride": [8 * np.arange(0, SIZE, stride) + bit for stride in STRIDES for bit in range(8)],
    }


def fates(name: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Strike a code with every pattern; give restored, detected and silent ones of each kind."""
    code = CODES[name]
    golden = np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8)
    golden = code.fitted(golden)
    whole = code.encode(golden)
    data = golden.copy()
    for kind, struck in patterns().items():
        counts = [0, 0, 0]
        for bits in struck:
            mask = np.zeros(8 * SIZE, np.uint8)
            mask[bits] = 1
            struck_bytes = np.packbits(mask, bitorder="little")
            if kind == "stuck":
                data[:] = golden & ~struck_bytes if bits[0] % 2 else golden | struck_bytes
            else:
                data[:] = golden ^ struck_bytes
            check = whole.copy()
            report = code.correct(data, check)
            counts[0 if (data == golden).all() else 1 if report.detected else 2] += 1
        yield kind, (counts[0], counts[1], counts[2])


def runs_without_syndrome(columns: tuple[int, ...]) -> list[str]:
    """Give for each spacing of rows how many runs of them add up to zero, and how many runs there are."""
    cells = []
    for step in (1, 2, 4, 8, 16, 32):
        silent = total = 0
        for phase in range(step):
            line = columns[phase::step]
            for first in range(len(line)):
                for last in range(first + 1, len(line) + 1):
                    total += 1
                    silent += reduce(xor, line[first:last]) == 0
        cells.append(f"{silent} of {total}")
    return cells


def whole_columns_without_syndrome(columns: tuple[int, ...]) -> list[str]:
    """Give how many of the patterns *column* and *alternate* add up to zero: the same for each bit of a row."""
    return [
        f"{sum(reduce(xor, rows) == 0 for rows in patterns)} of {len(patterns)}"
        for patterns in ((columns,), (columns[::2], columns[1::2]))
    ]


def table(rows: list[list[str]]) -> str:
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body]) + "\n"


def said_of(name: str) -> str:
    """Give the first part of a code's docstring, as far as it is prose."""
    text = inspect.getdoc(type(CODES[name])) or ""
    for heading in ("\nParameters\n", "\nExamples\n"):
        text = text.split(heading)[0]
    return text.strip()


def page() -> str:
    """Give the whole page."""
    kinds = list(patterns())
    watching = [name for name in CODES if name not in ("none", "oracle")]
    parts = [HEAD]
    fate_rows = [["code", *kinds]]
    for name in watching:
        fate_rows.append([f"`{name}`", *(" / ".join(map(str, counts)) for _, counts in fates(name))])
    parts.append(table(fate_rows))
    parts.append(f"## Blocks of the vertical codes\n\n{inspect.getdoc(VerticalCode)}\n\n{BLOCKS}")
    parts.append(
        "## Rows of the vertical Hsiao code\n\n"
        "A fault down a column that strikes a run of rows is silent where the matrix columns of these rows add up to\n"
        "zero. Whole columns (the patterns *column* and *alternate*), then runs of every row, every 2nd, ... 32nd row\n"
        "of a block: how many of them do, before (the rows in the order of the figure) and after (another order, and\n"
        "one column exchanged).\n"
    )
    spacings = [
        "rows in the order of",
        "column",
        "alternate",
        *(f"every {step}." if step > 1 else "every row" for step in (1, 2, 4, 8, 16, 32)),
    ]
    before, after = (
        [*whole_columns_without_syndrome(columns), *runs_without_syndrome(columns)]
        for columns in (FIG6_COLUMNS, LAID_COLUMNS)
    )
    parts.append(table([spacings, ["figure 6", *before], ["`vertical_hsiao`", *after]]))
    for name in watching:
        code = CODES[name]
        unit = "bits" if code.symbol_bits == 1 else f"symbols of {code.symbol_bits} bits"
        size = f"[{code.n}, {code.k}, {code.d}], distance in {unit}; {100 * code.overhead:.2f} % of the data."
        parts.append(f"## {name}\n\n{size}\n\n{said_of(name)}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
