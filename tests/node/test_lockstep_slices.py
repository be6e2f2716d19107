"""Scrubbing slice by slice in logical time: a slice an inference, the same on every target."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np

import hil
from firmware_bridge.messages import Fault, Run, RunResult
from hil.workloads import digits
from node.computer import Computer
from node.lockstep import LockstepRun
from node.model.image import Image
from node.protection import Protection

SLICE = 512
SLICED = Protection(code="hsiao_72_64", scrub_slice=SLICE)


@cache
def image() -> Image:
    return hil.compile_model(digits("int8").model_path)


def run(computer: Computer, word: int, inferences: int, protection_inference: int = 0) -> RunResult:
    samples = [{"image": np.zeros((1, 1, 8, 8), np.float32)}]
    fault = Fault(strike=0, region="weights", bit=64 * word, inference=protection_inference, step=0)
    return LockstepRun(computer, samples, Run(run_id=1, inputs=(0,) * inferences, faults=(fault,))).execute()


def test_each_slice_looks_at_the_words_after_the_last_one() -> None:
    """A strike in inference 0 lies behind the first slice; the slice of its word finds it, no earlier one."""
    with Computer(image(), protection=SLICED) as computer:
        words = computer.scrubber.words
        slices = -(-words // SLICE)
        for word in (SLICE, 2 * SLICE - 1, words - 1, 0, SLICE - 1):
            due = word // SLICE if word >= SLICE else slices
            corrected = [run(computer, word, inferences).corrected_words for inferences in range(1, slices + 2)]
            assert corrected == [int(inferences > due) for inferences in range(1, slices + 2)]


def test_the_words_looked_at_are_those_of_the_slices() -> None:
    with Computer(image(), protection=SLICED) as computer:
        checked = [run(computer, 0, inferences).checked_words for inferences in range(1, 4)]
    assert [second - first for first, second in pairwise([0, *checked])] == [SLICE] * 3


def test_every_run_begins_at_the_first_word() -> None:
    with Computer(image(), protection=SLICED) as computer:
        first = run(computer, 0, 2)
        run(computer, 0, 1)
        assert run(computer, 0, 2).checked_words == first.checked_words
        assert run(computer, SLICE, 2).corrected_words == 1
