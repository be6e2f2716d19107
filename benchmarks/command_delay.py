"""How long a command waits for a scrub: questions to a live node that does little but scrub memory that is struck.

What the node computes between a question and its answer is timed by the node's own CPU clock, so that what else the
machine does is left out. Where this process is late to take the answer, the scrub that goes on meanwhile counts, too.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import hil
from benchmarks.contest import Contest, NotMeasurable
from firmware_bridge.bridge import Bridge
from firmware_bridge.loading import BlobKind
from firmware_bridge.messages import Fault
from hil.targets.hosts import PtyHost
from hil.workloads import BUILTIN
from node.ecc.pacing import LONGEST_DELAY_S
from node.protection import Protection

MODEL = "builtin:story_f32"
"""Half a megabyte of weights: a pass takes many slices."""
COMMANDS = 40
BITS = 8
"""Struck before each command."""
SCRUBBED_SHARE = 0.9


@contextmanager
def command_delay(code: str) -> Iterator[Contest]:
    """Hold the longest answer of many, beyond what one takes a node at rest, against what a command may wait."""
    image = hil.compile_model(BUILTIN[MODEL].model_path)
    host = PtyHost()
    try:
        with host.connect() as bridge:
            bridge.load(BlobKind.IMAGE, image.to_bytes())
            bridge.load(BlobKind.INPUTS, BUILTIN[MODEL].inputs_path.read_bytes())
            worker = _worker_of(host)
            bridge.configure(Protection(code=code, scrub_period=0).to_json())
            resting_s = median(_computed_s(bridge, worker) for _ in range(COMMANDS))
            bridge.configure(Protection(code=code, scrub_period=0, scrub_share=SCRUBBED_SHARE).to_json())
            draw, summed_s = random.Random(1), 0.0

            def ask() -> None:
                nonlocal summed_s
                longest_s = 0.0
                for _ in range(COMMANDS):
                    bits = (draw.randrange(8 * len(image.weights)) for _ in range(BITS))
                    bridge.inject(Fault(strike=0, region="weights", bit=bit) for bit in bits)
                    longest_s = max(longest_s, _computed_s(bridge, worker))
                summed_s += max(0.0, longest_s - resting_s)

            ask()
            if not bridge.telemetry().corrected_words:
                raise AssertionError("the node does not scrub beside its commands")
            yield Contest(ours=ask, reference=LONGEST_DELAY_S, clock=lambda: summed_s)
    finally:
        host.close()


def _worker_of(host: PtyHost) -> int:
    """Give the process id of the node's computer: the child of the process that owns the line."""
    children = Path(f"/proc/{host.pid}/task/{host.pid}/children")
    if not children.exists():
        raise NotMeasurable("this kernel does not list the children of a process")
    return int(children.read_text().split()[0])


def _computed_s(bridge: Bridge, pid: int) -> float:
    """Give the CPU time of a process between a question and its answer."""
    clock = ~pid << 3 | 2  # the clock of another process, as clock_getcpuclockid(3) makes its number on Linux
    started_s = time.clock_gettime(clock)
    bridge.telemetry()
    return time.clock_gettime(clock) - started_s
