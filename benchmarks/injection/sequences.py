"""Faults in a language model with a cache, by the steps that they reach, against whole runs of the same sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np

from benchmarks.contest import Contest
from hil.campaign.workload import load_arrays
from hil.compiler import compile_model
from hil.workloads import story
from node.model.effects import Faults, WholeRuns
from node.model.sequences import SequenceEngine
from node.service import split_samples

LENGTH = 64
"""Characters of a sequence; a fault strikes before any step of any of them."""
POOL = 2000
REGIONS = {"weights": 20, "activations": 100, "state": 100}
"""Faults in one call."""


@contextmanager
def story_faults(region: str) -> Iterator[Contest]:
    """Draw bits of a region and moments alike; the first of them are proved to have equal bytes."""
    files = story()
    image = compile_model(files.model_path)
    inputs = load_arrays(files.inputs_path)
    samples = split_samples(image, {spec.name: inputs[spec.name] for spec in image.inputs})[:LENGTH]
    engine, whole = SequenceEngine(image, samples, LENGTH), WholeRuns(image, samples, LENGTH)
    rng = np.random.default_rng(7)
    sizes = {"weights": len(image.weights), "activations": image.activation_bytes, "state": image.state_bytes}
    faults = Faults(
        region=region,
        bits=rng.integers(0, 8 * sizes[region], POOL),
        steps=rng.integers(0, len(image.steps) + 1, POOL),
        inferences=rng.integers(0, LENGTH, POOL),
    )
    size = REGIONS[region]
    first = faults.part(slice(0, size))
    ours, theirs = (each.effects(first, keep_outputs=True) for each in (engine, whole))
    assert np.array_equal(ours.codes, theirs.codes)
    assert sorted(map(bytes, ours.outputs)) == sorted(map(bytes, theirs.outputs))
    yield Contest(ours=_parts(engine, faults, size), reference=_parts(whole, faults, max(1, size // 10)), work=10.0)


def _parts(engine: SequenceEngine | WholeRuns, faults: Faults, size: int):
    """Give a call that classifies the next faults."""
    starts = count(0, size)

    def classify() -> None:
        start = next(starts) % (POOL - size)
        engine.effects(faults.part(slice(start, start + size)))

    return classify
