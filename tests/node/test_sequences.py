"""Faults in sequences of inferences: the bytes of whole runs, whatever the model keeps, and wherever a bit flips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from hil.compiler import compile_model
from node.model import sequence_frames
from node.model.accumulators import accumulator_bytes
from node.model.effects import Effect, Effects, Faults, WholeRuns
from node.model.frames import NotIncremental
from node.model.image import Image
from node.model.incremental import engine_for
from node.model.sequences import SequenceEngine
from node.model.steps import Opcode
from tests.proof import count
from tests.random_recurrent import Recurrent
from tests.state_models import DEPTH, register, samples

# One process compiles the kernels of the exact engine.
pytestmark = pytest.mark.xdist_group("exact engine")

LENGTH = 4


def faults_on(image: Image, region: str, number: int, rng: np.random.Generator) -> Faults:
    """Bits anywhere in a region at any moment of a sequence, often in an exponent."""
    sizes = {"weights": len(image.weights), "activations": image.activation_bytes, "state": image.state_bytes}
    bits = rng.integers(0, 8 * (sizes | {"accumulators": accumulator_bytes(image)})[region], number)
    exponents = rng.random(number) < 0.4
    bits[exponents] = bits[exponents] // 32 * 32 + rng.integers(23, 32, exponents.sum())
    moments = rng.integers(0, len(image.steps) + 1, number), rng.integers(0, LENGTH, number)
    return Faults(region=region, bits=bits, steps=moments[0], inferences=moments[1])


def kept(effects: Effects) -> list[tuple[int, int, bytes]]:
    pairs = zip(effects.index.tolist(), effects.outputs, strict=True)
    return sorted((fault, number, output.tobytes()) for (fault, number), output in pairs)


def check_equal(image: Image, inputs: list, faults: Faults) -> Effects:
    engine, whole = SequenceEngine(image, inputs, LENGTH), WholeRuns(image, inputs, LENGTH)
    golden = [engine.golden_output(number) for number in range(engine.n_inputs)]
    assert golden == [whole.golden_output(number) for number in range(engine.n_inputs)]
    want = whole.effects(faults, keep_outputs=True)
    for _ in range(2):  # a trial leaves nothing behind
        got = engine.effects(faults, keep_outputs=True)
        np.testing.assert_array_equal(got.codes, want.codes)
        assert kept(got) == kept(want)
    np.testing.assert_array_equal(engine.effects(faults).codes, want.codes)
    return got


@pytest.mark.proof
@pytest.mark.timeout(1200)
@given(
    seed=st.integers(0, 2**31), largest=st.sampled_from([1.0, 1e20]),
    region=st.sampled_from(["weights", "activations", "state", "accumulators"]),
)  # fmt: skip
@settings(max_examples=count(30, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_networks_with_state(seed: int, region: str, largest: float, tmp_path: Path) -> None:
    network = Recurrent(seed)
    image, inputs = network.image(tmp_path), network.samples(2 * LENGTH, largest)
    try:
        check_equal(image, inputs, faults_on(image, region, 60, network.rng))
    except NotIncremental as refused:
        assert "NaN" in str(refused)


def test_random_networks_write_again_what_was_written(tmp_path: Path) -> None:
    found, modes = set(), set()
    for seed in range(30):
        image = Recurrent(seed).image(tmp_path)
        found |= {Opcode(int(row[0])) for row in image.steps}
        modes |= {mode for each in sequence_frames.SequenceFrames(image, 1).modes for mode in each}
    assert {Opcode.LSTM, Opcode.GRU, Opcode.SELECT, Opcode.COPY, Opcode.MATMUL_F32, Opcode.DEQUANTIZE} <= found
    assert modes == {0, 1, 2}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return compile_model(register(tmp_path_factory.mktemp("model") / "m.onnx"))


def test_a_struck_value_of_a_register_harms_until_it_is_pushed_out(image: Image) -> None:
    """Before the state is moved on, or just after, in which case the last inference has nobody who reads it."""
    inputs = samples(LENGTH)
    oldest, sign = 32 * 4 * (DEPTH - 1), 31
    ends = [0, 0, len(image.steps), len(image.steps)]
    inferences = np.array([0, 3, 0, LENGTH - 1])
    faults = Faults(region="state", bits=np.full(4, oldest + sign), steps=np.array(ends), inferences=inferences)
    got = check_equal(image, inputs, faults)
    assert got.codes[:, 0].tolist() == [Effect.SAME, Effect.MOVED, Effect.MOVED, Effect.SAME]


def test_what_cannot_be_told_is_refused(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SequenceEngine(image, samples(LENGTH), LENGTH)
    one = np.zeros(1, np.int64)
    with pytest.raises(DataError, match="'steps': weights, activations, accumulators and state"):
        engine.effects(Faults.at_start("steps", one))
    with pytest.raises(DataError, match=f"an? inference outside 0 to {LENGTH - 1}"):
        engine.effects(Faults(region="state", bits=one, steps=one, inferences=one + LENGTH))
    with pytest.raises(DataError, match="a bit outside"):
        engine.effects(Faults.at_start("state", one - 1))
    with pytest.raises(DataError, match=f"{LENGTH - 1} inputs are no sequences of {LENGTH}"):
        SequenceEngine(image, samples(LENGTH - 1), LENGTH)
    assert isinstance(engine_for(image, samples(LENGTH), "state", LENGTH), SequenceEngine)
    monkeypatch.setattr(sequence_frames, "MOST_STEPS", 1)
    with pytest.raises(NotIncremental, match="steps"):
        SequenceEngine(image, samples(LENGTH), LENGTH)
    assert isinstance(engine_for(image, samples(LENGTH), "state", LENGTH), WholeRuns)
