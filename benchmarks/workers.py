"""One process and two on the same blocks of an exhaustive campaign, both already at work.

Two processes that share nothing but the machine are timed beside them: no campaign can gain more than these do.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contest import Contest, Work
from hil.campaign.bundle import write_bundle
from hil.campaign.configuration import load_campaign
from hil.campaign.exhaustive import BLOCK_BITS, blocks_of
from hil.campaign.exhaustive_run import ExhaustiveOptions, start_worker, work_on
from hil.campaign.workload import load_workload

INPUTS = 10
BLOCKS = 8
"""As in a campaign, several blocks wait while one is worked on."""
ROUNDS = 30_000
PAIRS = 5
CAMPAIGN = """
[campaign]
name = "workers"
[workload]
model = "builtin:digits_int8"
[[protection]]
name = "none"
code = "none"
"""


def arithmetic(rounds: int) -> bytes:
    """Hash a few kilobytes again and again: work that neither memory nor another process can slow down."""
    data = bytes(1 << 14)
    for _ in range(rounds):
        data = hashlib.sha256(data).digest() * 512
    return data


def gain_of_arithmetic(two: ProcessPoolExecutor, one: ProcessPoolExecutor) -> float:
    """Give how many times as fast two processes are as one at work that they do not share."""
    tasks = [ROUNDS] * 2
    ratios = []
    for _ in range(PAIRS):
        taken_s = []
        for pool in (one, two):
            started_s = time.perf_counter()
            list(pool.map(arithmetic, tasks))
            taken_s.append(time.perf_counter() - started_s)
        ratios.append(taken_s[0] / taken_s[1])
    return statistics.median(ratios)


@contextmanager
def two_workers() -> Iterator[Contest]:
    """Open the contest of two processes and one; a machine that others use reads low."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "campaign.toml"
        path.write_text(CAMPAIGN)
        campaign = load_campaign(path)
        write_bundle(campaign, Path(folder) / "out")
        # The same block again and again: others take another time.
        blocks = list(islice(blocks_of(load_workload(campaign), "weights"), 1)) * BLOCKS
        setup = (ExhaustiveOptions(inputs=INPUTS), tuple(range(INPUTS)), 0)
        context = multiprocessing.get_context("spawn")
        arguments = (Path(folder) / "out", setup)
        pools = [ProcessPoolExecutor(n, context, initializer=start_worker, initargs=arguments) for n in (2, 1)]
        try:
            for pool in pools:
                # Every worker prepares its engine before anything is timed.
                list(pool.map(work_on, blocks))
            yield Contest(
                ours=lambda: list(pools[0].map(work_on, blocks)),
                reference=lambda: list(pools[1].map(work_on, blocks)),
                clock=time.perf_counter,
                counted=Work(
                    unit="faults", ours=BLOCKS * BLOCK_BITS, reference=BLOCKS * BLOCK_BITS, times=INPUTS,
                    of_each="evaluations", note=f"arithmetic alone gains {gain_of_arithmetic(*pools):.2f} times",
                ),
            )  # fmt: skip
        finally:
            for pool in pools:
                pool.shutdown()
