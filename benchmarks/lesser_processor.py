"""Contests on a lesser processor: a process whose kernels are compiled for some features of x86 alone times them."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE

from benchmarks.contest import Contest, NotMeasurable

AVX2 = "+avx,+avx2,+bmi,+bmi2,+fma,+popcnt,+sse4.2,+ssse3"
FEATURES = {
    "avx512": f"{AVX2},+avx512bw,+avx512cd,+avx512dq,+avx512f,+avx512vl",
    "avx2": AVX2,
    "sse4": "+popcnt,+sse4.2,+ssse3",
    "sse2": "+sse2",
}
"""Vectors of 512 bits without products of four bytes, of 256, and of 128 bits; these stand in for NEON."""


@contextmanager
def on_lesser_processor(module: str, name: str, processor: str) -> Iterator[Contest]:
    """Give a contest of a module of benchmarks as a lesser processor would have it; the peer keeps all instructions.

    Parameters
    ----------
    module, name : str
        Where the contest is and what it is called there.
    processor : str
        One of :data:`FEATURES`.
    """
    if platform.machine() != "x86_64":
        raise NotMeasurable("the limited processors are x86")
    environment = os.environ | {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": FEATURES[processor]}
    command = [sys.executable, "-m", "benchmarks.lesser_processor", module, name]
    spent_s = 0.0
    with subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as child:
        if child.stdin is None or child.stdout is None:
            raise AssertionError("both pipes were asked for")
        questions, answers = child.stdin, child.stdout

        def ask(side: str) -> None:
            nonlocal spent_s
            questions.write(f"{side}\n")
            answer = answers.readline()
            if answer.startswith(LACKS):
                raise NotMeasurable(answer.removeprefix(LACKS).strip())
            spent_s += float(answer)

        yield Contest(ours=lambda: ask("ours"), reference=lambda: ask("reference"), clock=lambda: spent_s)
        questions.close()


LACKS = "lacks "
"""Before what a contest cannot be measured for."""


def answer(module: str, name: str) -> None:
    """Time one side of a contest for each line of the standard input, and print the seconds."""
    try:
        with importlib.import_module(module).CONTESTS[name]() as contest:
            sides = {"ours": contest.ours, "reference": contest.reference}
            for line in sys.stdin:
                started_s = contest.clock()
                sides[line.strip()]()
                print(contest.clock() - started_s, flush=True)
    except NotMeasurable as reason:
        print(f"{LACKS}{reason}", flush=True)


if __name__ == "__main__":
    answer(*sys.argv[1:])
