"""Makes docs/checks.md: what the checks on the computation find, bit by bit.

``python -m tests.check_pages`` writes the page; a test holds it against the checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from node.computer import Computer
from node.kernels.inference.checked.conv_f32 import kept_words
from node.kernels.inference.checked.sums_f32 import check_slots
from node.kernels.inference.columns import IN_A
from node.kernels.inference.conv_f32 import by_chunks_f32
from node.kernels.inference.tiles_f32 import HEAD_BYTES, SLOT_BYTES
from node.model.image import Image
from node.protection import Protection
from tests.product_images import dense_f32

PAGE = Path(__file__).parents[1] / "docs" / "checks.md"
ROWS, DEPTH, CHANNELS = 8, 64, 32
STRUCK = 100
"""Weights and sums that are struck, one after the other, in each of their bits."""

HEAD = f"""# Checks on the computation

What a code cannot see: that a result is wrong although every stored bit is right, or that a bit was wrong when it was
used. These fields of a `[[protection]]` (and of `node.Protection`) say what is checked, and `on_alarm` what follows.
This page is made by `python -m tests.check_pages`, and a test holds it against the checks.

- `abft = true`: the outputs of every product, every convolution and every recurrent cell, of floats pixel by pixel.
  Their sum has to be what the inputs and the kept sums of the weights say. Kept in `check.abft`: per step two bytes for
  each product of a sum (four where more than 256 channels are summed up), for floats two words.
- `ranges = "detect"` or `"clip"`: every activation of float32, int8 or uint8 against the smallest and largest value of
  clean runs of all loaded inputs, which the node makes when it is configured; NaN and infinities never pass. Kept in
  `check.ranges`: two floats a step. A model with state learns from `sequence` inputs in a row, those of a trial.
- `redundancy = 2` or `3`: each inference is computed twice and compared, or three times with a vote; the
  further copies take time, in which strikes fall too. Nothing is kept, but of a model with state: then each copy
  begins with an old state of its own (`check.copies`: as many states as there are copies), new states are compared
  together with the outputs, and the one that wins is encoded anew. What struck a state between two inferences is in
  every copy: that is for a code.
- `verify_on_use = true`: the parameters of each step, and its row where `regions` names `steps`, by their code, when
  the step uses them. Nothing more is kept.

What is kept lies in memory that can be struck, and counts as the protection's own.

An alarm of `abft` or `verify_on_use` has the step run again, any other one the inference; a second alarm at the same
place begins the inference anew, and a third has the output withheld. Before that, `on_alarm` says what is done:
`correct` (the default: the code repairs the parameters of the step, or, where no step is known, scrubs all; where it
finds them sound, the kept sums are made anew), `recompute` (nothing more), `reload` (everything guarded, from the
golden image), `rollback` (the newest checkpoint; lost inferences are done again) or `stop` (this output and all later
ones are withheld).

## When weights are verified

Weights under a vertical code are checked while their step loads them: a slab of packed weights (128 KiB, at least four
panels of 16 channels, or groups) is checked, which brings it into the cache, and multiplied with the inputs of all
pixels; then comes the next slab. A weight that is struck before the check of its slab is seen, also in the middle of
the step. What is left is the time of one slab's products. Biases, multipliers, what shares their blocks, and the
weights of convolutions that go line by line (every line reads them anew) are checked when the step begins, and the
window is the step. So it is, and the check is a pass over all parameters before the step, under other codes, on several
threads, and together with `abft`, which sees what is struck meanwhile: it compares the very products of the step.

What it adds to the time of the step, beside what a check of all its weights before the step adds, and a scrub of them
(medians, `vertical_hsiao`, x86-64 with AVX-512; `python -m benchmarks checks` measures it):

| step | while it loads | pass before | scrub before |
|---|---|---|---|
| product, 1 x 1024 x 1024, int8 | 29 % | 58 % | 65 % |
| the same, floats | 60 to 80 % | 140 to 150 % | 135 to 145 % |
| product, 16 x 1024 x 1024, int8 | 22 % | 34 % | 36 % |
| convolution 3 x 3, 64 to 64, 14 x 14, int8 | 11 % | 54 % | 58 % |
| the same, 128 to 128, floats | 3 % | 11 % | 11 % |

## What ABFT finds

**int8**: the plain kernel runs and counts along: all accumulators, and all weights as they are read first. The inputs
are added up over all pixels before they are multiplied with the kept sums, so the check takes little beside the step,
even where there are few channels. Sums are exact modulo 2^32, so there is no threshold. Every single
wrong bit of a weight, a bias, a multiplier or an accumulator raises an alarm, and nothing does where no bit is wrong.
Tests flip every bit of every parameter of small layers, also while the step runs, and show that each accumulator is
counted once. A wrong weight is reported even where all its inputs are zero and no output depends on it.
Of a weight that is struck between two uses in one step only the accumulators tell, and errors of several pixels may
cancel in their sum: one in 2^32 if they are random, always where equal and opposite inputs meet.

**Depthwise convolutions** sum over few weights, so their parameters are added up before each use instead: every single
wrong bit is found, a wrong accumulator is not.

**Products of two activations and recurrent cells** (LSTM, GRU) are checked row by row after the plain step, within the
bound for floats. Sums of a cell's weights are kept, those of an activation are made anew for each step, so what struck
an activation before the step goes unseen: `ranges` and `redundancy` are for that. A cell state is put back after an
alarm. An LSTM of 128 cells takes 8 % longer; 4 products of 64 x 64 x 64 take 2.2 times as long, since the sums of both
sides are as new as the operands.

**float32**: rounding hides what is small. The threshold is a proven bound on rounding (Higham, Accuracy and Stability
of Numerical Algorithms, 2002, section 3.1; spelled out in `node/kernels/inference/checked/sums_f32.py`), so a sound
step raises no alarm. Below: a product of {ROWS} x {DEPTH} inputs with {DEPTH} x {CHANNELS} weights, all normally
distributed; each bit of {STRUCK} weights and of {STRUCK} sums is flipped.
An error is the largest change of an output relative to the largest output.

| bit | weight: changed an output | seen | largest error unseen | sum: changed | seen | largest error unseen |
|---|---|---|---|---|---|---|
"""


@dataclass
class Tally:
    """What became of the flips of one bit."""

    changed: int = 0
    seen: int = 0
    unseen_error: float = 0.0

    def add(self, output: np.ndarray, golden: np.ndarray, alarm: bool) -> None:
        """Count one flip."""
        if np.array_equal(output, golden):
            return
        self.changed += 1
        self.seen += alarm
        if not alarm:
            error = np.abs(output.astype(float) - golden).max() / np.abs(golden).max()
            self.unseen_error = max(self.unseen_error, float(error))

    def cells(self) -> str:
        """Give three cells of the table."""
        unseen = f"{self.unseen_error:.0e}" if self.seen < self.changed else "-"
        share = f"{100 * self.seen / self.changed:.0f} %" if self.changed else "-"
        return f"{self.changed} | {share} | {unseen}"


def weight_tallies(image: Image, inputs: np.ndarray) -> list[Tally]:
    """Flip every bit of some weights."""
    tallies = [Tally() for _ in range(32)]
    chosen = np.random.default_rng(2).choice(DEPTH * CHANNELS, STRUCK, replace=False)
    with Computer(image, protection=Protection(abft=True)) as computer:
        engine, check = computer.engine, computer.checks.abft
        assert check is not None

        def output() -> np.ndarray:
            computer.write_inputs({"x": inputs})
            engine.run_step(0)
            return np.frombuffer(engine.output_bytes(), np.float32)

        golden = output()
        for weight in chosen:
            for bit, tally in enumerate(tallies):
                computer.arena.flip("weights", 32 * int(weight) + bit)
                tally.add(output(), golden, check.alarm)
                computer.arena.flip("weights", 32 * int(weight) + bit)
    return tallies


def sum_tallies(image: Image, inputs: np.ndarray) -> list[Tally]:
    """Flip every bit of some sums, after a tile counted them and before they are judged."""
    tallies = [Tally() for _ in range(32)]
    row = image.steps[0].copy()
    with Computer(image, protection=Protection(abft=True)) as computer:
        computer.write_inputs({"x": inputs})
        u8, data = computer.arena.u8, computer.layout["check.abft"].offset
        kept = np.zeros(int(kept_words(row)), np.int64)
        by_chunks_f32.from_python(u8, row, (0, ROWS, 0, 1, 0, CHANNELS // 16), 0, (kept, data))
        golden = np.frombuffer(computer.engine.output_bytes(), np.float32)
        counted = kept.view(np.float64)[HEAD_BYTES // 8 :].reshape(-1, SLOT_BYTES // 8)
        sound = counted.copy()
        left = (int(row[IN_A]), 4 * DEPTH, (0, 1, 0, 1, DEPTH))
        for place in np.random.default_rng(3).choice(golden.size, STRUCK, replace=False):
            for bit, tally in enumerate(tallies):
                sums = golden.copy()
                sums.view(np.uint32)[place] ^= np.uint32(1 << bit)
                counted[:], kept[0] = sound, 0
                before, after = float(golden[place]), float(sums[place])
                counted[place // CHANNELS, :2] += after - before, abs(after) - abs(before)
                check_slots(u8, ROWS, CHANNELS, left, (kept, data))
                tally.add(sums, golden, bool(kept[0]))
    return tallies


def rows() -> Iterator[str]:
    """Give the rows of the table, the sign first."""
    rng = np.random.default_rng(1)
    image = dense_f32(rng, ROWS, DEPTH, CHANNELS)
    inputs = rng.normal(size=ROWS * DEPTH).astype(np.float32)
    names = {31: " (sign)", 30: " (exponent)", 23: " (exponent)", 22: " (fraction)"}
    tables = zip(weight_tallies(image, inputs), sum_tallies(image, inputs), strict=True)
    for bit, (weight, total) in reversed(list(enumerate(tables))):
        yield f"| {bit}{names.get(bit, '')} | {weight.cells()} | {total.cells()} |"


def page() -> str:
    """Give the page."""
    return HEAD + "\n".join(rows()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
