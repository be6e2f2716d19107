"""Accumulators that are struck on the node: sums are right, one bit of one flips, and checks see what they see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hil
from firmware_bridge.errors import DataError
from firmware_bridge.messages import Delivery, Fault, FaultKind, Inference, Run
from hil.workloads import digits
from node.computer import Computer
from node.lockstep import LockstepRun
from node.model.accumulators import REGION, SUMMING, accumulator_bytes, accumulator_counts
from node.model.effects import engine_of
from node.model.finished_sums import FinishedSums
from node.model.image import Image
from node.model.steps import Opcode
from node.protection import Protection
from node.struck_sums import StruckSums
from tests.product_images import UNLIMITED, image_of
from tests.random_networks import Network

# One process compiles the kernels of the exact engine.
pytestmark = pytest.mark.xdist_group("exact engine")


def test_every_sum_leads_to_the_output_that_the_engine_computes(tmp_path: Path) -> None:
    """The output of an unstruck sum is the engine's own, for every step that has sums."""
    met = set()
    for seed in (*range(18), 25, 28, 29):
        network = Network(seed, quantised=seed % 2 == 0)
        image, sample = network.image(tmp_path), network.inputs(1, 1.0)[0]
        engine, arena = engine_of(image)
        sums = FinishedSums(engine, arena)
        for spec in image.inputs:
            engine.write_input(spec.name, sample[spec.name])
        for step, count in enumerate(accumulator_counts(image)):
            chosen = tuple(int(output) for output in network.rng.integers(0, count, min(count, 12)))
            results = [sums.output_of(step, o, b) for o, b in zip(chosen, sums.read(step, chosen), strict=True)]
            engine.run_step(step)
            for place, value in results:
                assert arena.u8[place : place + len(value)].tobytes() == value, (seed, step)
            met |= {Opcode(int(image.steps[step, 0]))} if count else set()
    assert met == set(SUMMING)


@pytest.fixture(scope="module")
def case() -> tuple[Image, list[dict[str, np.ndarray]]]:
    workload = digits("int8")
    pictures = np.load(workload.inputs_path)["image"][:2]
    return hil.compile_model(workload.model_path), [{"image": picture.reshape(1, 1, 8, 8)} for picture in pictures]


@pytest.fixture
def computer(case: tuple[Image, list]) -> Iterator[Computer]:
    with Computer(case[0]) as computer:
        yield computer


def sum_of(image: Image, step: int, bit: int, inference: int = 0) -> Fault:
    """A bit of the first sum of a step."""
    first = int(accumulator_counts(image)[:step].sum())
    return Fault(strike=0, region=REGION, bit=32 * first + bit, inference=inference, step=step)


def last_product(image: Image) -> int:
    return int(np.flatnonzero(accumulator_counts(image))[-1])


def run(computer: Computer, samples: list, faults: tuple[Fault, ...], inputs: tuple[int, ...] = (0, 1)) -> tuple:
    result = LockstepRun(computer, samples, Run(run_id=1, inputs=inputs, faults=faults)).execute()
    return result, [inference.output for inference in result.inferences]


def test_a_run_strikes_one_sum_of_one_inference(case: tuple, computer: Computer) -> None:
    image, samples = case
    _, golden = run(computer, samples, ())
    step = last_product(image)
    for bit in (0, 12, 30, 31):
        result, outputs = run(computer, samples, (sum_of(image, step, bit, inference=1),))
        (readback,) = result.readbacks
        assert readback.before ^ readback.after == 1 << bit % 8
        assert outputs[0] == golden[0]
        differing = [i for i, (a, b) in enumerate(zip(outputs[1], golden[1], strict=True)) if a != b]
        # Dequantised logits of four bytes each: those of the first class alone, and of a small bit none.
        assert set(differing) <= set(range(4))
        assert bool(differing) == (bit >= 12)
    assert run(computer, samples, ())[1] == golden


def test_the_restore_control_reads_the_sum_and_leaves_it(case: tuple) -> None:
    image, samples = case
    fault = sum_of(image, last_product(image), 30)
    with Computer(image) as plain, Computer(image, protection=Protection(repair_at_once=True)) as repaired:
        golden = run(plain, samples, ())[1]
        result, outputs = run(repaired, samples, (fault,))
        assert outputs == golden
        assert result.readbacks == run(plain, samples, (fault,))[0].readbacks


def test_each_copy_of_an_inference_has_sums_of_its_own(case: tuple) -> None:
    image, samples = case
    step, moments = last_product(image), len(image.steps) + 1
    with Computer(image) as plain:
        golden = run(plain, samples, ())[1]
    with Computer(image, protection=Protection(redundancy=3)) as thrice:
        for copy in range(3):
            result, outputs = run(thrice, samples, (replace(sum_of(image, step, 30), step=copy * moments + step),))
            assert outputs == golden
            assert result.alarms == 1


def test_what_cannot_be_struck_is_refused(case: tuple, computer: Computer) -> None:
    image, samples = case
    fault = sum_of(image, last_product(image), 30)
    with pytest.raises(DataError, match=r"outside region 'accumulators'"):
        computer.inject(Fault(strike=0, region=REGION, bit=8 * accumulator_bytes(image)))
    with pytest.raises(DataError, match="its bits can flip"):
        computer.inject(Fault(strike=0, region=REGION, bit=0, kind=FaultKind.STUCK_AT_1))
    with pytest.raises(DataError, match=f"of step {fault.step}, not of {fault.step - 1}"):
        run(computer, samples, (replace(fault, step=fault.step - 1),))


def test_a_strike_by_hand_is_for_the_inference_that_comes(case: tuple, computer: Computer) -> None:
    image, samples = case
    golden = computer.infer(samples[0])["logits"]
    computer.inject(sum_of(image, last_product(image), 30))
    assert not np.array_equal(computer.infer(samples[0])["logits"], golden)
    assert np.array_equal(computer.infer(samples[0])["logits"], golden)
    computer.inject(sum_of(image, last_product(image), 30))
    computer.reset()
    assert np.array_equal(computer.infer(samples[0])["logits"], golden)


def test_abft_finds_every_flip_of_an_integer_sum_and_computes_again(case: tuple, computer: Computer) -> None:
    image, samples = case
    golden = run(computer, samples, ())[1]
    with Computer(image, protection=Protection(abft=True)) as checked:
        for bit in range(32):
            result, outputs = run(checked, samples, (sum_of(image, last_product(image), bit),))
            assert outputs == golden
            assert (result.alarms, result.recomputed_steps) == (1, 1)
        result = run(checked, samples, (sum_of(image, last_product(image), 3),))[0]
        assert result.inferences[0] == Inference(delivery=Delivery.DELIVERED, output=golden[0])


def test_abft_of_floats_sees_a_sum_as_it_sees_a_bias_that_is_as_wrong() -> None:
    """A wrong bias of one output makes one sum of one row wrong by as much: the kernel itself is asked."""
    rng = np.random.default_rng(6)
    weights, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 40, 20), (1, 20)))
    image = image_of(Opcode.CONV_F32, weights, bias, in_c=40, out_c=20, **UNLIMITED)
    with Computer(image, protection=Protection(abft=True)) as computer:
        abft, memory = computer.checks.abft, computer.arena
        assert abft is not None
        step = image.steps[0]
        memory.f32[step[1] // 4 : step[1] // 4 + 40] = rng.standard_normal(40)
        place, verdicts = int(step[5]) // 4 + 3, []
        before = FinishedSums(computer.engine, memory).read(0, (3,))[0]
        for bit in range(32):
            memory.u8.view(np.uint32)[place] ^= np.uint32(1 << bit)
            after = FinishedSums(computer.engine, memory).read(0, (3,))[0]
            abft.run(0)
            verdicts.append((abft.alarm, abft.sees(0, [(3, before, after)])))
            memory.u8.view(np.uint32)[place] ^= np.uint32(1 << bit)
    assert all(kernel == ours for kernel, ours in verdicts), verdicts
    assert {kernel for kernel, _ in verdicts} == {False, True}


def test_a_sum_of_several_struck_bits_and_the_order_of_readbacks(case: tuple) -> None:
    image, samples = case
    engine, arena = engine_of(image)
    sums = StruckSums(engine, arena)
    engine.write_input("image", samples[0]["image"])
    engine.run_steps(0, last_product(image))
    fault = sum_of(image, last_product(image), 4)
    first, second, third = (sums.strike(each) for each in (fault, sum_of(image, fault.step, 5), fault))
    assert first.after == second.before
    assert second.after == third.before == first.after ^ 32
    assert third.after == first.before ^ 32
