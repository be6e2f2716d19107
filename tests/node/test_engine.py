"""Engine: what lies in the arena is what is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firmware_bridge.errors import DataError
from hil.compiler import compile_model
from hil.workloads import story
from node.errors import PayloadCrash
from node.model.image import Image
from node.model.steps import COLUMNS, STEP_WORDS, Opcode
from tests.onnx_models import engine_of, run_image, small_cnn

X = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return compile_model(small_cnn(tmp_path_factory.mktemp("model") / "m.onnx"))


def output(engine) -> np.ndarray:
    engine.write_input("x", X)
    engine.run()
    (values,) = engine.read_outputs().values()
    return values


def test_a_flip_in_the_weights_shows_and_flipping_back_restores_the_bits(image: Image) -> None:
    engine, arena = engine_of(image)
    golden = output(engine)
    weight = next(spec for spec in image.tensors if spec.step == 0)
    arena.flip("weights", 8 * weight.offset + 30)
    assert not np.array_equal(output(engine), golden)
    arena.flip("weights", 8 * weight.offset + 30)
    assert output(engine).tobytes() == golden.tobytes()


def test_every_step_but_those_before_it_sees_a_flip_of_an_activation(image: Image) -> None:
    engine, arena = engine_of(image)
    golden = output(engine)
    living = next(spec for spec in image.activations if spec.step == 1)
    byte = living.offset - image.activation_offset + 3
    assert image.locate_activation(byte, 2) == living
    for moment, shows in ((1, False), (2, True)):
        engine.write_input("x", X)
        for step in range(engine.n_steps):
            if step == moment:
                arena.flip("activations", 8 * byte + 6)
            engine.run_step(step)
        (values,) = engine.read_outputs().values()
        assert (values.tobytes() != golden.tobytes()) == shows


def test_a_struck_step_table_has_effect(image: Image) -> None:
    engine, arena = engine_of(image)
    golden = output(engine)
    relu = 8 * 8 * COLUMNS.index("low")
    arena.flip("steps", relu + 31)
    assert output(engine).tobytes() == golden.tobytes(), "the lower limit 0 became -0"
    arena.flip("steps", relu + 31)
    arena.flip("steps", relu + 30)
    assert not np.array_equal(output(engine), golden), "the lower limit 0 became 2"


@pytest.mark.parametrize("column", ["opcode", "in_a", "out", "weights", "scratch", "out_c"])
def test_an_impossible_step_is_a_crash_that_names_it(image: Image, column: str) -> None:
    engine, arena = engine_of(image)
    engine.write_input("x", X)
    arena.flip("steps", 8 * 8 * (STEP_WORDS * 2 + COLUMNS.index(column)) + 40)
    with pytest.raises(PayloadCrash, match=f"step 2 .*{image.step_names[2]}"):
        engine.run()
    engine.run_step(0)
    engine.run_step(1)
    with pytest.raises(PayloadCrash):
        engine.run_step(2)


def test_inputs_are_checked(image: Image) -> None:
    engine, _ = engine_of(image)
    with pytest.raises(DataError, match=r"'picture'.*x"):
        engine.write_input("picture", X)
    with pytest.raises(DataError, match=r"\(8, 8\).*\(1, 1, 8, 8\)"):
        engine.write_input("x", X[0, 0])
    with pytest.raises(DataError, match="complex"):
        engine.write_input("x", X.astype(np.complex64))
    engine.write_input("x", X[0].astype(np.float64))
    with pytest.raises(DataError, match="'z'"):
        engine.read_output("z")
    with pytest.raises(DataError, match="steps 0 to 4"):
        engine.run_step(5)


def test_outputs_are_copies(image: Image) -> None:
    engine, arena = engine_of(image)
    values = output(engine)
    kept = values.copy()
    arena.u8[:] = 0
    np.testing.assert_array_equal(values, kept)


def test_what_was_in_the_memory_before_does_not_matter(image: Image) -> None:
    engine, arena = engine_of(image)
    golden = output(engine)
    arena.view("activations")[:] = 0xFF
    assert output(engine).tobytes() == golden.tobytes()


def test_an_image_from_a_file_gives_the_same_bits(image: Image, tmp_path: Path) -> None:
    image.save(tmp_path / "m.image")
    first, second = (run_image(i, {"x": X}) for i in (image, Image.load(tmp_path / "m.image")))
    assert [v.tobytes() for v in first.values()] == [v.tobytes() for v in second.values()]


def test_a_whole_plan_does_what_its_steps_do_one_by_one() -> None:
    image = compile_model(story().model_path)
    general = image.steps[:, 0] >= Opcode.COPY
    assert len(np.flatnonzero(np.diff(general))) > 2, "steps of both interpreters, in turn"
    (engine, arena), (stepped, copy) = engine_of(image), engine_of(image)
    for each in (engine, stepped):
        for spec in image.inputs:
            each.write_input(spec.name, np.ones(spec.shape, spec.dtype))
    engine.run()
    for index in range(stepped.n_steps):
        stepped.run_step(index)
    np.testing.assert_array_equal(arena.u8, copy.u8)
    last = int(np.flatnonzero(general)[-1])
    arena.flip("steps", 8 * 8 * STEP_WORDS * last + 62)
    with pytest.raises(PayloadCrash, match=f"step {last} "):
        engine.run()
