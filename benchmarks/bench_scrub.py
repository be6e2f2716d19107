"""Scrubbing beside the work: how long a command may have to wait for a slice, on memory full of errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from benchmarks.command_delay import command_delay
from benchmarks.contest import Contest, OpenContest
from node.ecc import CODES, DecodeReport, ProtectedRegion, Scrubber
from node.ecc.pacing import LONGEST_DELAY_S, FixedShare, Pacer

BYTES = 4 << 20
SLICES = 200
SPACING = 4096
"""Bytes from one wrong bit to the next: every block of a vertical code has one."""


@contextmanager
def longest_slice(code_name: str) -> Iterator[Contest]:
    """Hold the longest of many slices against what a command may wait; by the CPU's clock, other processes left out."""
    code = CODES[code_name]
    data = np.random.default_rng(1).integers(0, 256, BYTES, np.uint8)
    region = ProtectedRegion("memory", data, code.encode(data), code)
    scrubber = Scrubber([region])
    longest_s: list[float] = [0.0]
    summed_s = 0.0

    def scrub_slice(words: int) -> DecodeReport:
        started_s = time.thread_time()
        report = scrubber.scrub_slice(words)
        longest_s[0] = max(longest_s[0], time.thread_time() - started_s)
        return report

    pacer = Pacer(scrub_slice, scrubber, FixedShare(share=0.999), time.thread_time)

    def many_slices() -> None:
        nonlocal summed_s
        data[::SPACING] ^= 1
        longest_s[0] = 0.0
        for _ in range(SLICES):
            while pacer.work() is None:
                pass
        summed_s += longest_s[0]

    many_slices()  # whatever has to be compiled is
    yield Contest(ours=many_slices, reference=LONGEST_DELAY_S, clock=lambda: summed_s)


def _opener(code_name: str) -> OpenContest:
    return lambda: longest_slice(code_name)


CONTESTS: dict[str, OpenContest] = {
    f"slice-{name.replace('_', '-')}": _opener(name)
    for name in ("hsiao_72_64", "vertical_hsiao", "vertical_chipkill", "bch_79_64", "rs_255_223", "tmr")
} | {f"command-{name.replace('_', '-')}": partial(command_delay, name) for name in ("vertical_hsiao", "rs_255_223")}


def test_scrub(benchmark, side):
    benchmark(side)
