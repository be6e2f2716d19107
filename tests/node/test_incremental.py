"""The incremental engine gives the bytes of whole runs, whatever the network, the fault and the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import DataError
from firmware_bridge.messages import Fault, FaultKind
from hil.compiler import compile_model
from hil.workloads import digits
from node.model.accumulators import accumulator_bytes, locate
from node.model.effects import Effect, Effects, Faults, Group, WholeRuns
from node.model.frames import NotIncremental
from node.model.image import Image
from node.model.incremental import IncrementalEngine, engine_for
from node.model.steps import Opcode
from tests.onnx_models import Builder
from tests.proof import count
from tests.random_networks import Network

FLIP, STUCK = (FaultKind.FLIP,), (FaultKind.STUCK_AT_0, FaultKind.STUCK_AT_1)

# One process compiles the kernels of the exact engine.
pytestmark = pytest.mark.xdist_group("exact engine")


def faults_on(image: Image, region: str, number: int, rng: np.random.Generator) -> Faults:
    """Bits anywhere in a region, at any moment; of weights mostly at the start, of floats often in the exponent."""
    sizes = {"weights": len(image.weights), "activations": image.activation_bytes}
    size = 8 * (sizes | {"accumulators": accumulator_bytes(image)})[region]
    bits = rng.integers(0, size, number)
    exponents = rng.random(number) < 0.3
    bits[exponents] = bits[exponents] // 32 * 32 + rng.integers(23, 32, exponents.sum())
    steps = rng.integers(0, len(image.steps) + 1, number)
    if region == "weights":
        steps[rng.random(number) < 0.8] = 0
    return Faults(region=region, bits=bits, steps=steps)


def outputs_of(effects: Effects, golden: list[bytes]) -> list[list[bytes]]:
    outputs = [list(golden) for _ in range(len(effects.codes))]
    for (fault, number), output in zip(effects.index, effects.outputs, strict=True):
        outputs[fault][number] = output.tobytes()
    return outputs


def check_equal(image: Image, samples: list, faults: Faults, chunk: int | None) -> Effects:
    whole = WholeRuns(image, samples)
    engine = IncrementalEngine(image, samples, chunk)
    golden = [whole.golden_output(number) for number in range(len(samples))]
    assert [engine.golden_output(number) for number in range(len(samples))] == golden
    want = whole.effects(faults, keep_outputs=True)
    got = engine.effects(faults, keep_outputs=True)
    np.testing.assert_array_equal(got.codes, want.codes)
    assert outputs_of(got, golden) == outputs_of(want, golden)
    np.testing.assert_array_equal(engine.effects(faults).codes, want.codes)
    return got


@pytest.mark.proof
@given(
    seed=st.integers(0, 2**31), quantised=st.booleans(), chunk=st.sampled_from([None, 1, 2]),
    region=st.sampled_from(["weights", "activations", "accumulators"]), largest=st.sampled_from([1.0, 1e30]),
)  # fmt: skip
@settings(max_examples=count(25, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_networks_faults_and_inputs(
    seed: int, quantised: bool, region: str, largest: float, chunk: int | None, tmp_path: Path
) -> None:
    network = Network(seed, quantised=quantised)
    image = network.image(tmp_path)
    samples = network.inputs(3, largest)
    try:
        check_equal(image, samples, faults_on(image, region, 80, network.rng), chunk)
    except NotIncremental as refused:
        assert "NaN" in str(refused)


def struck_sums_on(image: Image, rng: np.random.Generator) -> Group:
    """Some bits of one finished sum, or neighbours: bits of several sums of one step."""
    first = int(rng.integers(0, 8 * accumulator_bytes(image) - 1))
    bits = first // 32 * 32 + np.unique(rng.integers(0, 32, 3)) if rng.random() < 0.5 else np.array([first, first + 1])
    steps, _ = locate(image, bits // 32)
    faults = tuple(
        Fault(strike=0, region="accumulators", bit=int(bit), step=int(steps[0])) for bit in bits[steps == steps[0]]
    )
    return Group(sample=int(rng.integers(3)), faults=faults)


def group_on(image: Image, rng: np.random.Generator) -> Group:
    """A run of neighbours, a burst, the same bit at a stride, or bits anywhere; flipped or stuck, at one moment."""
    if rng.random() < 0.25:
        return struck_sums_on(image, rng)
    shape, step = rng.integers(4), int(rng.integers(0, len(image.steps) + 1))
    cells: set[tuple[str, int]] = set()
    for region in (("weights",), ("activations",), ("weights", "activations"))[rng.integers(3)]:
        size = 8 * {"weights": len(image.weights), "activations": image.activation_bytes}[region]
        start = int(rng.integers(size))
        spread = [np.arange(5), rng.integers(0, 512, 60), 16 * np.arange(9), rng.integers(0, size, 6)][shape]
        cells |= {(region, (start + int(bit)) % size) for bit in spread}
    kinds = STUCK if rng.random() < 0.4 else FLIP
    kind = kinds[int(rng.integers(len(kinds)))]
    faults = tuple(
        Fault(strike=0, region=region, bit=bit, kind=kind, inference=0, step=step if rng.random() < 0.5 else 0)
        for region, bit in sorted(cells)
    )
    return Group(sample=int(rng.integers(3)), faults=faults)


@pytest.mark.proof
@given(seed=st.integers(0, 2**31), quantised=st.booleans(), largest=st.sampled_from([1.0, 1e30]))
@settings(max_examples=count(20, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_faults_that_strike_together(seed: int, quantised: bool, largest: float, tmp_path: Path) -> None:
    network = Network(seed, quantised=quantised)
    image, samples = network.image(tmp_path), network.inputs(3, largest)
    groups = [group_on(image, network.rng) for _ in range(30)]
    try:
        engine = IncrementalEngine(image, samples, chunk=2)
    except NotIncremental as refused:
        assert "NaN" in str(refused)
        return
    want = WholeRuns(image, samples).outputs(groups)
    assert engine.outputs(groups) == want
    # Nothing is left behind, in activations or in parameters.
    assert engine.outputs([Group(sample=i, faults=()) for i in range(3)]) == [engine.golden_output(i) for i in range(3)]


def test_random_networks_have_every_operator(tmp_path: Path) -> None:
    found = set()
    for seed in range(40):
        found |= {Opcode(int(row[0])) for row in Network(seed, quantised=seed % 2 == 0).image(tmp_path).steps}
    assert found == {Opcode(number) for number in range(1, 17)}


@pytest.fixture(scope="module", params=["int8", "f32"])
def digits_case(request: pytest.FixtureRequest) -> tuple[Image, list]:
    workload = digits(request.param)
    pictures = np.load(workload.inputs_path)["image"][:3]
    return compile_model(workload.model_path), [{"image": picture.reshape(1, 1, 8, 8)} for picture in pictures]


@pytest.mark.parametrize("region", ["weights", "activations"])
def test_sums_of_one_row_go_on_from_kept_ones(region: str, tmp_path: Path) -> None:
    b = Builder(3)
    hidden = b.add("Relu", b.add("Gemm", "x", b.weights(40, 64), b.weights(64)))
    hidden = b.add("Relu", b.add("Gemm", hidden, b.weights(64, 33), b.weights(33)))
    b.save(tmp_path / "perceptron.onnx", (1, 40), b.add("Gemm", hidden, b.weights(33, 10), b.weights(10)))
    image = compile_model(tmp_path / "perceptron.onnx")
    rng = np.random.default_rng(8)
    samples = [{"x": rng.standard_normal((1, 40)).astype(np.float32)} for _ in range(11)]
    faults = faults_on(image, region, 150, rng)
    for chunk in (None, 1):
        got = check_equal(image, samples, faults, chunk)
    assert set(got.codes.reshape(-1).tolist()) == {Effect.SAME, Effect.WRONG, Effect.MOVED}


@pytest.mark.parametrize("region", ["weights", "activations", "accumulators"])
def test_digits(digits_case: tuple[Image, list], region: str) -> None:
    image, samples = digits_case
    got = check_equal(image, samples, faults_on(image, region, 200, np.random.default_rng(4)), 2)
    assert {Effect.SAME, Effect.WRONG} <= set(got.codes.reshape(-1).tolist())


def test_every_parameter_of_the_digits_is_live(digits_case: tuple[Image, list]) -> None:
    image, samples = digits_case
    engine = IncrementalEngine(image, samples)
    for spec in image.tensors:
        width = 8 * np.dtype(spec.dtype).itemsize
        top = np.arange(8 * spec.offset + width - 2, 8 * spec.end, width)
        assert engine.effects(Faults.at_start("weights", top)).codes.any(), spec.name


def test_a_weight_struck_after_its_step_has_no_effect(digits_case: tuple[Image, list]) -> None:
    image, samples = digits_case
    spec = image.tensors[-1]
    bits = np.arange(8 * spec.offset, 8 * spec.end)
    engine = IncrementalEngine(image, samples)
    late = Faults(region="weights", bits=bits, steps=np.full(len(bits), spec.step + 1))
    assert not engine.effects(late).codes.any()
    assert engine.effects(Faults.at_start("weights", bits)).codes.any()


def test_effects_leave_nothing_behind(digits_case: tuple[Image, list]) -> None:
    image, samples = digits_case
    engine = IncrementalEngine(image, samples)
    faults = faults_on(image, "weights", 300, np.random.default_rng(9))
    first = engine.effects(faults)
    engine.effects(faults_on(image, "activations", 300, np.random.default_rng(9)))
    backwards = engine.effects(Faults(region="weights", bits=faults.bits[::-1], steps=faults.steps[::-1]))
    np.testing.assert_array_equal(backwards.codes[::-1], first.codes)
    state = engine._memory.state
    assert not state[0].any()
    assert not state[2].any()


def test_what_is_asked_wrongly_is_refused(digits_case: tuple[Image, list]) -> None:
    image, samples = digits_case
    engine = IncrementalEngine(image, samples)
    one = np.zeros(1, np.int64)
    with pytest.raises(DataError, match="weights, activations and acc"):
        engine.effects(Faults.at_start("steps", one))
    with pytest.raises(DataError, match="outside region 'weights'"):
        engine.effects(Faults.at_start("weights", one + 8 * len(image.weights)))
    with pytest.raises(DataError, match="outside 0 to"):
        engine.effects(Faults(region="weights", bits=one, steps=one + 99))
    with pytest.raises(DataError, match="at least one"):
        IncrementalEngine(image, [])


def test_a_golden_nan_asks_for_whole_runs(tmp_path: Path) -> None:
    network = Network(1, quantised=False)
    image = network.image(tmp_path)
    sample = {"x": np.full(network.shape, np.nan, np.float32)}
    with pytest.raises(NotIncremental, match="NaN"):
        IncrementalEngine(image, [sample])
    assert isinstance(engine_for(image, [sample], "weights"), WholeRuns)


def test_struck_steps_are_run_as_a_whole_and_may_crash(digits_case: tuple[Image, list]) -> None:
    image, samples = digits_case
    engine = engine_for(image, samples, "steps")
    assert isinstance(engine, WholeRuns)
    opcode_bits = np.arange(12, 30)
    effects = engine.effects(Faults.at_start("steps", opcode_bits), keep_outputs=True)
    assert (effects.codes == Effect.CRASHED).all()
    assert len(effects.outputs) == 0


def test_an_unknown_operator_asks_for_whole_runs(digits_case: tuple[Image, list]) -> None:
    image, samples = digits_case
    assert isinstance(engine_for(image, samples, "weights"), IncrementalEngine)
    steps = image.steps.copy()
    steps[-1, 0] = 9999
    strange = Image(
        **{name: getattr(image, name) for name in image.__dataclass_fields__ if name != "digest"} | {"steps": steps}
    )
    with pytest.raises(NotIncremental, match="operator 9999"):
        IncrementalEngine(strange, samples)
