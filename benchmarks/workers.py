"""One process and two on the same blocks of an exhaustive campaign, both already at work."""

from __future__ import annotations

import multiprocessing
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
BLOCKS = 2
CAMPAIGN = """
[campaign]
name = "workers"
[workload]
model = "builtin:digits_int8"
[[protection]]
name = "none"
code = "none"
"""


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
                list(pool.map(work_on, 2 * blocks))
            yield Contest(
                ours=lambda: list(pools[0].map(work_on, blocks)),
                reference=lambda: list(pools[1].map(work_on, blocks)),
                clock=time.perf_counter,
                counted=Work(
                    unit="faults", ours=BLOCKS * BLOCK_BITS, reference=BLOCKS * BLOCK_BITS, times=INPUTS,
                    of_each="evaluations",
                ),
            )  # fmt: skip
        finally:
            for pool in pools:
                pool.shutdown()
