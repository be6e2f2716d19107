"""ABFT of products of two activations, and of the states of LSTM and GRU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hil
from node.checks.abft import Abft
from node.computer import Computer
from node.kernels.inference.checked.general_f32 import KEPT_WORDS, check_matmul, check_sample
from node.kernels.inference.columns import IN_A, IN_B, OPCODE, OUT, SCALES, SCRATCH, WEIGHTS
from node.kernels.inference.general.codes import SHAPE, STRIDES_A, STRIDES_B
from node.kernels.inference.general.recurrent import NEXT_INPUT
from node.model.image import Image
from node.model.steps import Opcode
from node.protection import Protection
from tests.onnx_models import Builder
from tests.proof import count

ABFT = Protection(abft=True)
T, D, HIDDEN = 11, 19, 5


def attention(path: Path) -> Image:
    """Give three products of activations: with a transposed right side, with a plain one, with a transposed left one.

    The last two have leading dimensions of which one side has none.
    """
    made = Builder()
    turned = made.add("Transpose", "x", perm=[0, 2, 1])
    scores = made.add("MatMul", "x", turned)
    mixed = made.add("MatMul", scores, "x")
    first = made.add("Slice", "x", made.constant([0]), made.constant([1]), made.constant([0]))
    made.add("Add", made.add("MatMul", turned, first), made.add("ReduceMax", mixed, keepdims=0))
    return hil.compile_model(made.save(path / "m.onnx", (2, T, D), made.nodes[-1].output[0]))


def recurrent(path: Path, cell: str, **attributes: int) -> Image:
    """Give a cell over two samples and so many moments that they are two steps, of sixteen moments and of two."""
    rng, gates = np.random.default_rng(5), {"LSTM": 4, "GRU": 3}[cell]
    sizes = {"w": (1, gates * HIDDEN, 3), "r": (1, gates * HIDDEN, HIDDEN), "b": (1, gates * 2 * HIDDEN)}
    constants = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in sizes.items()
    ]
    node = helper.make_node(cell, ["x", "w", "r", "b"], ["y"], hidden_size=HIDDEN, **attributes)
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [18, 2, 3])]
    results = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [18, 1, 2, HIDDEN])]
    graph = helper.make_graph([node], "m", ports, results, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path / "m.onnx")
    return hil.compile_model(path / "m.onnx")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    return {
        "attention": attention(tmp_path_factory.mktemp("a")),
        "LSTM": recurrent(tmp_path_factory.mktemp("l"), "LSTM"),
        "GRU": recurrent(tmp_path_factory.mktemp("g"), "GRU"),
        "GRU, linear before reset": recurrent(tmp_path_factory.mktemp("b"), "GRU", linear_before_reset=1),
    }


NAMES = ("attention", "LSTM", "GRU", "GRU, linear before reset")


def numbers(image: Image, *opcodes: Opcode) -> list[int]:
    return [number for number, row in enumerate(image.steps) if row[OPCODE] in opcodes]


def abft_of(computer: Computer) -> Abft:
    assert computer.checks.abft is not None
    return computer.checks.abft


def sample(image: Image, rng: np.random.Generator, spread: int = 0) -> dict[str, np.ndarray]:
    shape = image.inputs[0].shape
    values = rng.normal(size=shape) * 2.0 ** rng.integers(-spread, spread + 1, shape)
    return {image.inputs[0].name: values.astype(np.float32)}


@pytest.mark.parametrize("name", NAMES)
def test_all_of_them_are_checked(name: str, images: dict[str, Image]) -> None:
    image = images[name]
    wanted = numbers(image, Opcode.MATMUL_F32, Opcode.LSTM, Opcode.GRU)
    assert len(wanted) == (3 if name == "attention" else 2)
    with Computer(image, protection=ABFT) as computer:
        assert abft_of(computer).steps.issuperset(wanted)


@pytest.mark.proof
@pytest.mark.parametrize("name", NAMES)
def test_a_sound_step_gives_the_bytes_of_the_plain_one_and_raises_no_alarm(name: str, images: dict[str, Image]) -> None:
    """Small and wide spreads; values that cancel, underflow or nearly overflow; none that is a number raises one."""
    image, rng = images[name], np.random.default_rng(2)
    with Computer(image) as plain, Computer(image, protection=ABFT) as computer:
        for run in range(count(300, 100_000)):
            given = sample(image, rng, int(rng.choice([0, 3, 20, 60])))
            if run % 7 == 0:
                given = {key: -np.abs(value) for key, value in given.items()}
            if run % 50 == 0:
                next(iter(given.values())).flat[run % 11] = rng.choice([np.inf, np.nan, 3e38])
            for number in range(len(image.steps)):
                if number == 0:
                    plain.write_inputs(given)
                    computer.write_inputs(given)
                plain.engine.run_step(number)
                computer.engine.run_step(number)
                assert not abft_of(computer).alarm, (run, number)
            assert computer.engine.output_bytes() == plain.engine.output_bytes()


def magnitude(image: Image, computer: Computer, row: np.ndarray, batch: int, m: int) -> float:
    """Give the sum of the magnitudes of all products of a row of a product of two activations."""
    f32, shape = computer.arena.f32.astype(np.float64), row[SHAPE : SHAPE + 6]
    index = np.unravel_index(batch, shape[:3])
    a = row[IN_A] // 4 + np.dot(index, row[STRIDES_A : STRIDES_A + 3]) + m * row[STRIDES_A + 3]
    b = row[IN_B] // 4 + np.dot(index, row[STRIDES_B : STRIDES_B + 3])
    return sum(
        abs(f32[a + k * row[STRIDES_A + 5]] * f32[b + n * row[STRIDES_B + 4] + k * row[STRIDES_B + 5]])
        for k in range(shape[5])
        for n in range(shape[4])
    )


def test_every_wrong_bit_of_an_output_that_is_beyond_rounding_raises_an_alarm(images: dict[str, Image]) -> None:
    """All bits of all outputs of the three products, flipped after the product and before it is judged."""
    image = images["attention"]
    with Computer(image, protection=ABFT) as computer:
        given = sample(image, np.random.default_rng(1))
        computer.write_inputs(given)
        memory, kept = (computer.arena.u8, computer.arena.f32), np.zeros(KEPT_WORDS // 2, np.int64)
        seen = 0
        for number in range(len(image.steps)):
            computer.engine.run_step(number)
            row = image.steps[number].copy()
            if row[OPCODE] != Opcode.MATMUL_F32:
                continue
            rows, columns, depth = (int(size) for size in row[SHAPE + 3 : SHAPE + 6])
            data = (computer.layout["check.abft"].offset + abft_of(computer)._steps[number].start) // 4
            outputs = computer.arena.i32[row[OUT] // 4 :][: int(row[SHAPE : SHAPE + 5].prod())]
            for place in range(outputs.size):
                batch, m = divmod(place // columns, rows)
                least = 6 * (depth + columns + 16) * 2.0**-24 * magnitude(image, computer, row, batch, m)
                before = float(outputs[place : place + 1].view(np.float32)[0])
                for bit in range(32):
                    outputs[place] ^= np.int32(np.uint32(1 << bit).view(np.int32))
                    after = float(outputs[place : place + 1].view(np.float32)[0])
                    kept[0] = 0
                    check_matmul(memory, row, data, kept)
                    assert kept[0] or abs(after - before) < least, (number, place, bit)
                    seen += int(kept[0])
                    outputs[place] ^= np.int32(np.uint32(1 << bit).view(np.int32))
            kept[0] = 0
            check_matmul(memory, row, data, kept)
            assert not kept[0]
        assert seen > 15_000


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_struck_weight_or_sum_of_a_cell_raises_an_alarm_unless_it_hardly_matters(
    name: str, images: dict[str, Image]
) -> None:
    """Every recurrent weight in use in its sixteen upper bits, and every sum in the scratch."""
    image = images[name]
    first, number = numbers(image, Opcode.LSTM, Opcode.GRU)
    row = image.steps[number].copy()
    with Computer(image, protection=ABFT) as computer:
        computer.write_inputs(sample(image, np.random.default_rng(1)))
        computer.engine.run_steps(0, first)
        for step in range(first, number):
            computer.engine.run_step(step)
        before = computer.arena.u8.copy()
        places = [(int(row[WEIGHTS]), {"LSTM": 4}.get(name, 2) * HIDDEN)]
        places += [] if name == "LSTM" else [(int(row[SCALES]), HIDDEN)]
        missed = seen = 0
        for place, columns in places:
            for k in range(HIDDEN):
                for column in range(columns):
                    word = place // 4 + column // 16 * 16 * HIDDEN + 16 * k + column % 16
                    for bit in range(20, 32):
                        computer.arena.i32[word] ^= np.int32(np.uint32(1 << bit).view(np.int32))
                        computer.engine.run_step(number)
                        seen += abft_of(computer).alarm
                        missed += not abft_of(computer).alarm
                        computer.arena.u8[:] = before
        # A state of nearly zero hides a weight.
        assert seen > 20 * missed
        computer.engine.run_step(number)
        part, hidden = row.copy(), int(row[SHAPE + 1])
        part[IN_A] += 4 * (row[STRIDES_A] + row[NEXT_INPUT])
        part[IN_B] = row[OUT] + 4 * hidden
        data = (computer.layout["check.abft"].offset + abft_of(computer)._steps[number].start) // 4
        memory, kept = (computer.arena.u8, computer.arena.f32), np.zeros(KEPT_WORDS // 2, np.int64)
        for column in range(4 * HIDDEN if name == "LSTM" else 2 * HIDDEN):
            for bit in (22, 23, 30, 31):
                computer.arena.i32[row[SCRATCH] // 4 + column] ^= np.int32(np.uint32(1 << bit).view(np.int32))
                kept[0] = 0
                check_sample(memory, part, data, kept)
                assert kept[0], (column, bit)
                computer.arena.i32[row[SCRATCH] // 4 + column] ^= np.int32(np.uint32(1 << bit).view(np.int32))
        kept[0] = 0
        check_sample(memory, part, data, kept)
        assert not kept[0]


@pytest.mark.parametrize("name", NAMES[1:])
def test_after_an_alarm_the_cell_is_as_it_was_and_the_step_runs_again(name: str, images: dict[str, Image]) -> None:
    image = images[name]
    given = sample(image, np.random.default_rng(1))
    protection = Protection(code="hsiao_72_64", scrub_period=0, abft=True)
    with Computer(image, protection=protection) as computer:
        golden = computer.infer(given)["y"].tobytes()
        weights = int(image.steps[numbers(image, Opcode.LSTM, Opcode.GRU)[1]][WEIGHTS])
        computer.arena.flip("weights", 8 * weights + 30)
        assert computer.infer(given)["y"].tobytes() == golden
        assert (computer.counters.alarms, computer.counters.corrected_words) == (1, 1)


def test_a_struck_row_is_run_by_the_plain_interpreter(images: dict[str, Image]) -> None:
    image = images["attention"]
    number = numbers(image, Opcode.MATMUL_F32)[0]
    with Computer(image, protection=ABFT) as computer:
        computer.write_inputs(sample(image, np.random.default_rng(1)))
        assert abft_of(computer).run(number) == -1
        computer.arena.view("steps").view(np.int64).reshape(-1, 32)[number, STRIDES_A + 4] ^= 1
        assert abft_of(computer).run(number) is None
