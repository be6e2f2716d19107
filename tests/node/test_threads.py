"""A crew: whoever computes a piece of a step, and whatever was struck before, the bytes are those of one thread."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hil
from firmware_bridge.errors import ConfigError
from hil.workloads import BUILTIN, digits
from node.computer import Computer
from node.errors import PayloadCrash
from node.kernels.inference import crew, dispatch
from node.machine import MOST_THREADS
from node.model.effects import engine_of
from node.model.image import Image
from node.model.steps import STEP_WORDS, Opcode, Step, float_bits
from tests.proof import count
from tests.random_networks import Network

ARENA, SLOT, GUARD = 1 << 17, 1 << 15, 4096
KINDS = (Opcode.CONV_F32, Opcode.CONV_INT8, Opcode.DEPTHWISE_F32, Opcode.DEPTHWISE_INT8)


def words(threads: int) -> np.ndarray:
    """The words of a crew whose helpers do not exist: its pieces wait to be claimed by whoever looks."""
    row = np.zeros(crew.ASLEEP + crew.LINE * threads, np.int64)
    row[[crew.LEAST, crew.SLOT, crew.THREADS]] = 0, SLOT, threads
    return row


def jobs(row: np.ndarray) -> int:
    """How many steps have been shared out."""
    return int(row[crew.JOB] >> (crew.PIECE_BITS + crew.COUNT_BITS))


def memory_of(raw: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arena and slots in the shape that the interpreter takes."""
    return raw[: ARENA + 2 * SLOT], raw[:ARENA].view(np.int32), raw[:ARENA].view(np.float32)


def random_bytes(seed: int) -> np.ndarray:
    """An arena with small values at its beginning, where the inputs of the steps below lie, slots, and a guard."""
    raw = np.random.default_rng(seed).integers(0, 256, ARENA + 2 * SLOT + GUARD, dtype=np.uint8)
    raw[3::4] = 60
    return raw


def step_of(opcode: Opcode, channels: tuple[int, int], size: tuple[int, int], window: tuple[int, int, int]) -> Step:
    """A step of some channels in and out, output rows and columns, and a window with stride and padding."""
    (in_c, out_c), (out_h, out_w), (kernel, stride, pad) = channels, size, window
    in_h, in_w = ((n - 1) * stride + kernel - 2 * pad for n in size)
    step = Step(
        opcode=opcode, in_a=0, out=32768, weights=65536, bias=98304, scales=102400, scratch=106496,
        in_h=in_h, in_w=in_w, in_c=in_c, out_h=out_h, out_w=out_w, out_c=out_c, kernel_h=kernel, kernel_w=kernel,
        stride_h=stride, stride_w=stride, pad_top=pad, pad_left=pad, high=float_bits(6.0),
    )  # fmt: skip
    integer = opcode in (Opcode.CONV_INT8, Opcode.DEPTHWISE_INT8)
    return replace(step, high=127, signed=5, zero_a=3) if integer else step


SHAPES = {
    "lines": ((5, 20), (9, 11), (3, 1, 1)),
    "strided": ((16, 16), (7, 8), (3, 2, 1)),
    "pixels": ((12, 20), (9, 13), (1, 1, 0)),
    "gathered": ((12, 20), (33, 2), (2, 1, 0)),
    "channels": ((24, 150), (1, 3), (1, 1, 0)),
    "one pixel": ((40, 200), (1, 1), (1, 1, 0)),
}
STEPS = {
    f"{opcode.name}-{name}": step_of(opcode, channels, size, window)
    for opcode in KINDS[:2]
    for name, (channels, size, window) in SHAPES.items()
}
STEPS |= {
    f"{opcode.name}-groups": replace(step_of(opcode, (6, 6), (5, 5), (3, 1, 1)), groups=3) for opcode in KINDS[:2]
}
STEPS |= {f"{opcode.name}": step_of(opcode, (20, 20), (9, 7), (3, 1, 1)) for opcode in KINDS[2:]}
cases = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


def run_alone(step: Step, raw: np.ndarray) -> int:
    return dispatch.run_steps.from_python(memory_of(raw), step.row()[None], np.zeros(STEP_WORDS, np.int64), 0, 1)


@cases
@pytest.mark.parametrize("threads", [2, 3])
def test_a_step_in_pieces_leaves_the_whole_arena_as_a_step_in_one(step: Step, threads: int) -> None:
    whole, pieces, row = random_bytes(1), random_bytes(1), words(threads)
    assert run_alone(step, whole) == -1
    assert dispatch.run_steps.from_python(memory_of(pieces), step.row()[None], row, 0, 1) == -1
    assert jobs(row) == 1, "it was shared out"
    assert row[crew.DONE] >= 1
    np.testing.assert_array_equal(pieces[:ARENA], whole[:ARENA])
    np.testing.assert_array_equal(pieces[ARENA + 2 * SLOT :], whole[ARENA + 2 * SLOT :])


@cases
def test_a_helper_computes_what_it_claims(step: Step) -> None:
    whole = random_bytes(2)
    assert run_alone(step, whole) == -1
    helped, row = whole.copy(), words(2)
    row[:STEP_WORDS] = step.row()
    item = 4 if step.opcode in (Opcode.CONV_F32, Opcode.DEPTHWISE_F32) else 1
    out = slice(step.out, step.out + item * step.out_h * step.out_w * step.out_c)
    pieces = 2
    helped[out] ^= 255
    crew.share_out(row, pieces - 1)
    assert dispatch.run_steps.from_python(memory_of(helped), step.row()[None], row, -1, 1) == -1
    assert (row[crew.DONE], row[crew.ASLEEP]) == (pieces - 1, 1)
    same = helped[out] == whole[out]
    assert 0.2 < same.mean() < 0.8
    helped[out] = whole[out]
    np.testing.assert_array_equal(helped[:ARENA], whole[:ARENA], "nothing else in the arena was touched")


@given(
    name=st.sampled_from(sorted(STEPS)),
    flips=st.lists(st.tuples(st.integers(1, 29), st.integers(0, 18)), min_size=1, max_size=3),
)
@settings(max_examples=count(300, 20000), deadline=None)
def test_struck_rows_do_the_same_in_pieces(name: str, flips: list[tuple[int, int]]) -> None:
    line = STEPS[name].row()
    for column, bit in flips:
        line[column] ^= 1 << bit
    whole, pieces, row = random_bytes(3), random_bytes(3), words(2)
    want = dispatch.run_steps.from_python(memory_of(whole), line[None], np.zeros(STEP_WORDS, np.int64), 0, 1)
    assert dispatch.run_steps.from_python(memory_of(pieces), line[None], row, 0, 1) == want
    np.testing.assert_array_equal(pieces[:ARENA], whole[:ARENA])
    np.testing.assert_array_equal(pieces[ARENA + 2 * SLOT :], whole[ARENA + 2 * SLOT :])


def states(image: Image, inputs: dict[str, np.ndarray], threads: int, flips: list[tuple[str, int, int]]) -> list[bytes]:
    """The whole arena after each of three runs of a model that is struck before some of its steps."""
    engine, arena = engine_of(image, threads, least_work=0)
    seen = []
    try:
        for _ in range(3):
            for name, values in inputs.items():
                engine.write_input(name, values)
            for step in range(engine.n_steps):
                for region, bit, moment in flips:
                    if moment == step:
                        arena.flip(region, bit % (8 * arena.view(region).size))
                engine.run_step(step)
            seen.append(arena.u8.tobytes())
    except PayloadCrash as crash:
        seen.append(str(crash).encode() + arena.u8.tobytes())
    finally:
        engine.close()
    return seen


@pytest.mark.proof
@given(
    seed=st.integers(0, 2**31),
    quantised=st.booleans(),
    flips=st.lists(
        st.tuples(st.sampled_from(["weights", "activations", "steps"]), st.integers(0, 2**20), st.integers(0, 6)),
        max_size=4,
    ),
)
@settings(max_examples=count(20, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_networks_compute_the_same_on_more_threads(
    seed: int, quantised: bool, flips: list[tuple[str, int, int]], tmp_path: Path
) -> None:
    network = Network(seed, quantised=quantised)
    image = network.image(tmp_path)
    (inputs,) = network.inputs(1, 1.0)
    assert states(image, inputs, 2, flips) == states(image, inputs, 1, flips)


@pytest.mark.parametrize("name", BUILTIN)
def test_shipped_models_compute_the_same_on_two_threads(name: str) -> None:
    image = hil.compile_model(BUILTIN[name].model_path)
    rng = np.random.default_rng(7)
    inputs = {spec.name: np.asarray(rng.uniform(0, 9, spec.shape), spec.dtype) for spec in image.inputs}
    assert states(image, inputs, 2, []) == states(image, inputs, 1, [])


def test_a_computer_takes_threads_and_gives_them_back() -> None:
    image = hil.compile_model(BUILTIN["builtin:cloud_mask_f32"].model_path)
    (spec,) = image.inputs
    inputs = {spec.name: np.random.default_rng(1).random(spec.shape, np.float32)}
    before = threading.active_count()
    with Computer(image) as one, Computer(image, threads=3) as three:
        assert threading.active_count() == before + 2
        assert three.arena.u8.tobytes() == one.arena.u8.tobytes(), "threads are no part of the memory"
        for _ in range(3):
            got, want = three.infer(inputs), one.infer(inputs)
            assert [values.tobytes() for values in got.values()] == [values.tobytes() for values in want.values()]
            assert three.arena.u8.tobytes() == one.arena.u8.tobytes()
    assert threading.active_count() == before
    Computer(image, threads=2)
    gc.collect()
    assert threading.active_count() == before, "a computer that nobody closed takes its threads along"


@pytest.mark.parametrize("threads", [0, MOST_THREADS + 1])
def test_a_number_of_threads_out_of_range_is_refused(threads: int) -> None:
    with pytest.raises(ConfigError, match=f"threads = {threads}: choose 1 to"):
        Computer(hil.compile_model(digits("int8").model_path), threads=threads)


def test_a_small_model_wakes_nobody() -> None:
    engine, _ = engine_of(hil.compile_model(digits("int8").model_path), threads=2)
    before = threading.active_count()
    engine.run()
    assert threading.active_count() == before
