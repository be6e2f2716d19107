"""Every single-bit fault of a region on a set of inputs: no sample, no interval, the outcome of each.

A fault flips one bit just before a step: of the weights before the first one, of the activations before each; or one
bit of an accumulator, once its sum is complete. The outcome of a fault on an input is MASKED, SDC_TOLERABLE or
SDC_CRITICAL by the workload's own measure, or CRASH. Where a model keeps state, an input is a sequence of as many
inferences as a trial of the campaign has; a fault strikes in each of them in turn, and its outcome is the worst of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_bridge.errors import DataError, ShortcutFailed
from hil.campaign.outcome import Outcome
from hil.campaign.workload import Workload
from node.model.accumulators import accumulator_bytes
from node.model.effects import Effect, Effects, Faults, WholeRuns
from node.model.incremental import engine_for
from node.service import split_samples

OUTCOMES = (Outcome.MASKED, Outcome.SDC_TOLERABLE, Outcome.SDC_CRITICAL, Outcome.CRASH)
"""What a code stands for; it is the index into this tuple."""

BLOCK_BITS = 1 << 14
"""Bits that a worker classifies before it hands them over."""

LARGEST_EFFECTS = 64 << 20
"""Bytes of outputs that are judged at once."""

REGIONS = ("weights", "activations", "accumulators", "state", "steps")
Codes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Neighbouring bits at one moment: bits ``first`` to ``last - 1``, just before ``step`` of ``inference``."""

    step: int
    first: int
    last: int
    inference: int = 0

    def faults(self, region: str) -> Faults:
        """Give them as faults."""
        bits = np.arange(self.first, self.last)
        moment = np.full(len(bits), self.step), np.full(len(bits), self.inference)
        return Faults(region=region, bits=bits, steps=moment[0], inferences=moment[1])


@dataclass(frozen=True, kw_only=True)
class Verified:
    """How many evaluations were repeated by whole runs, all with the same outcome."""

    evaluations: int = 0

    def __add__(self, other: Verified) -> Verified:
        return Verified(evaluations=self.evaluations + other.evaluations)


class Classifier:
    """Gives the outcome of every fault of a block on the inputs of a workload.

    Parameters
    ----------
    workload : Workload
        Model, inputs, and what is critical.
    region : str
        Which memory is struck.
    inputs : tuple of int
        The samples that count, or the sequences of them.
    """

    def __init__(self, workload: Workload, region: str, inputs: tuple[int, ...]) -> None:
        self.workload = workload
        self.region = region
        self.inputs = inputs
        samples = split_samples(workload.image, dict(workload.inputs))
        self._length = workload.sequence
        numbers = {number: range(number * self._length, (number + 1) * self._length) for number in inputs}
        self._samples = [samples[sample] for number in inputs for sample in numbers[number]]
        self._engine = engine_for(workload.image, self._samples, region, self._length)
        self._whole: WholeRuns | None = None
        self._judged: dict[tuple[int, bytes], bool] = {}
        for number, name in enumerate(inputs):
            if self._engine.golden_output(number) != b"".join(workload.golden[sample] for sample in numbers[name]):
                raise DataError(f"input {name}: the golden output of the exact engine is not that of the emulator")

    @property
    def is_incremental(self) -> bool:
        """False where the model or the region asks for whole runs."""
        return not isinstance(self._engine, WholeRuns)

    def classify(self, block: Block) -> Codes:
        """Give an index into :data:`OUTCOMES` for each fault and input."""
        return self._codes(block.faults(self.region))

    def harms(self, bits: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of bits, flipped before the first step, which end critically, or in a crash, on any input."""
        return self._outcomes(bits) >= OUTCOMES.index(Outcome.SDC_CRITICAL)

    def wrongs(self, bits: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell of bits, flipped before the first step, which make any output wrong, or crash."""
        return self._outcomes(bits) > OUTCOMES.index(Outcome.MASKED)

    def _outcomes(self, bits: NDArray[np.int64]) -> Codes:
        """Give the worst outcome of each bit over the inputs."""
        worst: Codes = self._codes(Faults.at_start(self.region, bits)).max(1)
        return worst

    def _codes(self, faults: Faults) -> Codes:
        """Give an index into :data:`OUTCOMES` for each fault and input, so many at once as memory holds outputs of."""
        size = BLOCK_BITS
        if not self._by_winner:
            size = min(size, max(1, LARGEST_EFFECTS // (len(self.inputs) * len(self._engine.golden_output(0)))))
        found = [np.zeros((0, len(self.inputs)), np.uint8)]
        for first in range(0, len(faults), size):
            effects = self._engine.effects(faults.part(slice(first, first + size)), keep_outputs=not self._by_winner)
            found.append(self._judge(effects))
        return np.concatenate(found)

    def verify(self, block: Block, codes: Codes, share: float, seed: int) -> Verified:
        """Repeat a random share of a block by whole runs.

        Raises
        ------
        ShortcutFailed
            An outcome or a delivered byte is another one; the message holds both.
        """
        generator = np.random.default_rng((seed, block.inference, block.step, block.first))
        chosen = np.flatnonzero(generator.random(len(codes)) < share)
        if not len(chosen):
            return Verified()
        self._whole = self._whole or WholeRuns(self.workload.image, self._samples, self._length)
        faults = block.faults(self.region).part(chosen)
        fast = self._engine.effects(faults, keep_outputs=True)
        slow = self._whole.effects(faults, keep_outputs=True)
        self._compare(faults, fast, slow)
        again = self._judge(slow)
        if not np.array_equal(again, codes[chosen]):
            fault, number = np.argwhere(again != codes[chosen])[0]
            self._differs(faults, int(fault), int(number), f"{codes[chosen][fault, number]} and {again[fault, number]}")
        return Verified(evaluations=again.size)

    @property
    def _by_winner(self) -> bool:
        """True where the winners say what is critical; of labels there are several in a sequence."""
        return self.workload.critical_name in (("top1", "labels") if self._length == 1 else ("top1",))

    def _judge(self, effects: Effects) -> Codes:
        """Give an index into :data:`OUTCOMES` for each effect."""
        critical = effects.codes == Effect.MOVED
        if not self._by_winner:
            critical[:] = False
            for (fault, number), output in zip(effects.index, effects.outputs, strict=True):
                critical[fault, number] = self._is_critical(int(number), output.tobytes())
        elif self.workload.critical_name == "labels":
            critical &= self._right()
        codes: Codes = (effects.codes != Effect.SAME).astype(np.uint8) + critical.astype(np.uint8)
        codes[effects.codes == Effect.CRASHED] = OUTCOMES.index(Outcome.CRASH)
        return codes

    def _right(self) -> NDArray[np.bool_]:
        """Tell of which inputs the golden output names the right class."""
        workload, labels = self.workload, self.workload.labels
        assert labels is not None, "critical = labels is refused without labels"
        first = workload.image.outputs[0].name
        golden = [workload.tensors(workload.golden[sample])[first] for sample in self.inputs]
        right = [int(np.argmax(values)) == labels[i] for values, i in zip(golden, self.inputs, strict=True)]
        return np.array(right)

    def _is_critical(self, number: int, output: bytes) -> bool:
        key = (number, output)
        if key not in self._judged:
            first, size = self.inputs[number] * self._length, len(output) // self._length
            parts = ((first + i, output[i * size : (i + 1) * size]) for i in range(self._length))
            wrong = [(sample, part) for sample, part in parts if part != self.workload.golden[sample]]
            self._judged[key] = any(self.workload.is_critical(sample, part) for sample, part in wrong)
        return self._judged[key]

    def _compare(self, faults: Faults, fast: Effects, slow: Effects) -> None:
        """Refuse effects whose delivered bytes are not those of whole runs."""
        delivered = [
            {(int(f), int(n)): output.tobytes() for (f, n), output in zip(effects.index, effects.outputs, strict=True)}
            for effects in (fast, slow)
        ]
        for fault, number in sorted(delivered[0].keys() | delivered[1].keys()):
            golden = self._engine.golden_output(number)
            first, second = (outputs.get((fault, number), golden) for outputs in delivered)
            if first != second:
                self._differs(faults, fault, number, f"outputs {first.hex()} and {second.hex()}")

    def _differs(self, faults: Faults, fault: int, number: int, what: str) -> None:
        bit, step = int(faults.bits[fault]), int(faults.steps[fault])
        where = f"{step}" if self._length == 1 else f"{step} of inference {faults.inferences[fault]}"
        raise ShortcutFailed(
            f"bit {bit} of {self.region} flipped before step {where}, input {self.inputs[number]}: the exact engine "
            f"and a whole run give {what}; golden is {self._engine.golden_output(number).hex()}: please report it"
        )


def moments_of(workload: Workload, region: str) -> list[tuple[int, int]]:
    """Give inference and step of every moment at which the bits of a region are struck.

    Activations live from step to step; everything else is struck once an inference, before its first step, or, an
    accumulator, in its own.
    """
    steps = len(workload.image.steps) + 1 if region == "activations" else 1
    return [(inference, step) for inference in range(workload.sequence) for step in range(steps)]


def blocks_of(workload: Workload, region: str) -> Iterator[Block]:
    """Give every fault of a region, in blocks, moment by moment."""
    image = workload.image
    sizes = {
        "weights": len(image.weights),
        "activations": image.activation_bytes,
        "accumulators": accumulator_bytes(image),
        "state": image.state_bytes,
        "steps": image.steps.nbytes,
    }
    for inference, step in moments_of(workload, region):
        for first in range(0, 8 * sizes[region], BLOCK_BITS):
            last = min(first + BLOCK_BITS, 8 * sizes[region])
            yield Block(step=step, first=first, last=last, inference=inference)
