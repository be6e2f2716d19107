"""State: which outputs feed which inputs, where they lie, and that every inference goes on from the last."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import hil
from firmware_bridge.errors import ModelError
from node.computer import Computer
from node.model.image import Image
from tests.onnx_models import reference
from tests.state_models import DEPTH, W, accumulator, register, samples, save, sums


def answers(image: Image, given: list[dict[str, np.ndarray]], name: str = "y") -> list[np.ndarray]:
    with Computer(image) as computer:
        return [computer.infer(inputs)[name] for inputs in given]


def test_each_inference_goes_on_from_the_last_one(tmp_path: Path) -> None:
    image = hil.compile_model(accumulator(tmp_path / "m.onnx"))
    assert [spec.name for spec in image.inputs] == ["x"]
    assert [spec.name for spec in image.outputs] == ["y"]
    assert [(spec.name, spec.shape) for spec in image.states] == [("past_sum", (1, 4))]
    np.testing.assert_array_equal(answers(image, samples(6)), sums(6))


def test_a_reset_begins_anew(tmp_path: Path) -> None:
    with Computer(hil.compile_model(accumulator(tmp_path / "m.onnx"))) as computer:
        for _ in range(2):
            np.testing.assert_array_equal([computer.infer(inputs)["y"] for inputs in samples(3)], sums(3))
            assert computer.reset()


def test_pairs_can_be_named_and_left_out(tmp_path: Path) -> None:
    path = accumulator(tmp_path / "m.onnx")
    assert hil.compile_model(path, state={"present_sum": "past_sum"}) == hil.compile_model(path)
    plain = hil.compile_model(path, state={})
    assert not plain.states
    assert [spec.name for spec in plain.inputs] == ["x", "past_sum"]
    assert [spec.name for spec in plain.outputs] == ["y", "present_sum"]


def test_names_decide_only_where_they_leave_no_doubt(tmp_path: Path) -> None:
    """A cache that grows keeps its ports: its output does not fit its input."""
    nodes = [helper.make_node("Concat", ["past_key", "x"], ["present_key"], axis=0)]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 4], "past_key": [2, 4]}, {"present_key": [3, 4]})
    assert not hil.compile_model(path).states
    nodes = [helper.make_node("Add", ["x", name], [name.replace("past", "present")]) for name in ("past_a", "past_b")]
    ports = {"x": [4], "past_a": [4], "past_b": [4], "past_c": [4]}
    path = save(tmp_path / "m.onnx", nodes, ports, {"present_a": [4], "present_b": [4]})
    assert not hil.compile_model(path).states, "past_c has no partner, so nobody knows what past means here"


@pytest.mark.parametrize("names", [("past_key_values.0.key", "present.0.key"), ("past_0", "present_0")])
def test_the_names_that_exporters_use_are_known(names: tuple[str, str], tmp_path: Path) -> None:
    past, present = names
    nodes = [helper.make_node("Add", ["x", past], [present]), helper.make_node("Add", [present, "x"], ["y"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": [4], past: [4]}, {present: [4], "y": [4]})
    assert [spec.name for spec in hil.compile_model(path).states] == [past]


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ({"presents": "past"}, "no output 'presents'; the model gives y, present"),
        ({"present": "pasts"}, "no input 'pasts'; the model takes x, past"),
        ({"y": "past"}, r"output 'y' is float32 \[1, 4\], input 'past' float32 \[3, 4\]"),
        ({"present": "past", "y": "x"}, "every input would be state"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(state: dict[str, str], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=complaint):
        hil.compile_model(register(tmp_path / "m.onnx"), state=state)


def test_two_outputs_cannot_feed_one_input(tmp_path: Path) -> None:
    path = accumulator(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="two outputs feed one input"):
        hil.compile_model(path, state={"present_sum": "past_sum", "y": "past_sum"})


def test_first_values_can_be_given(tmp_path: Path) -> None:
    path, start = accumulator(tmp_path / "m.onnx"), np.full((1, 4), 0.5, np.float32)
    image = hil.compile_model(path, initial_state={"past_sum": start})
    assert Image.from_bytes(image.to_bytes()) == image != hil.compile_model(path)
    with Computer(Image.from_bytes(image.to_bytes())) as computer:
        for _ in range(2):
            np.testing.assert_array_equal(computer.infer(samples(1)[0])["y"], sums(1)[0] + 0.5)
            computer.reset()


@pytest.mark.parametrize("wrong", [{"x": np.zeros((1, 4), np.float32)}, {"past_sum": np.zeros(4)}])
def test_first_values_that_fit_no_state_are_refused(wrong: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="initial_state"):
        hil.compile_model(accumulator(tmp_path / "m.onnx"), initial_state=wrong)


def test_states_that_change_places_do_not_overwrite_each_other(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Identity", ["past_b"], ["present_a"]),
        helper.make_node("Identity", ["past_a"], ["present_b"]),
        helper.make_node("Add", ["past_a", "x"], ["y"]),
    ]
    ports = {name: [4] for name in ("x", "past_a", "past_b")}
    path = save(tmp_path / "m.onnx", nodes, ports, {name: [4] for name in ("y", "present_a", "present_b")})
    start = {"past_a": np.full(4, 1, np.float32), "past_b": np.full(4, 2, np.float32)}
    got = answers(hil.compile_model(path, initial_state=start), [{"x": np.zeros(4, np.float32)}] * 4)
    assert [float(y[0]) for y in got] == [1, 2, 1, 2]


def test_the_only_output_is_delivered_although_it_is_state(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "past"], ["present"])]
    path = save(tmp_path / "m.onnx", nodes, {"x": [1, 4], "past": [1, 4]}, {"present": [1, 4]})
    got = answers(hil.compile_model(path), samples(4), "present")
    np.testing.assert_array_equal(got, [total - W for total in sums(4)])


def test_a_shift_register_forgets(tmp_path: Path) -> None:
    got = answers(hil.compile_model(register(tmp_path / "m.onnx")), samples(8))
    powers = 2.0 ** np.arange(8)
    np.testing.assert_array_equal([y[0, 0] for y in got], [powers[max(0, k - DEPTH) : k + 1].sum() for k in range(8)])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_recurrent_cells_carry_their_state_as_the_reference_does(cell: str, tmp_path: Path) -> None:
    """The reference gets each state as an input by hand."""
    rng, gates = np.random.default_rng(5), {"LSTM": 4, "GRU": 3}[cell]
    names = ["h", "c"] if cell == "LSTM" else ["h"]
    weights = {
        "w": rng.normal(size=(1, gates * 5, 3)).astype(np.float32),
        "r": rng.normal(size=(1, gates * 5, 5)).astype(np.float32),
        "b": rng.normal(size=(1, gates * 10)).astype(np.float32),
    }
    inputs = ["x", "w", "r", "b", "", *(f"past_{name}" for name in names)]
    outputs = ["y", *(f"present_{name}" for name in names)]
    node = helper.make_node(cell, inputs, outputs, hidden_size=5)
    shapes = {name: [1, 1, 5] for name in names}
    path = save(
        tmp_path / "m.onnx",
        [node],
        {"x": [2, 1, 3], **{f"past_{name}": shape for name, shape in shapes.items()}},
        {"y": [2, 1, 1, 5], **{f"present_{name}": shape for name, shape in shapes.items()}},
        **weights,
    )
    given = [{"x": rng.normal(size=(2, 1, 3)).astype(np.float32)} for _ in range(6)]
    held = {f"past_{name}": np.zeros((1, 1, 5), np.float32) for name in names}
    for inputs_of, got in zip(given, answers(hil.compile_model(path), given), strict=True):
        want = reference(path, inputs_of | held)
        np.testing.assert_allclose(got, want["y"], rtol=1e-5, atol=1e-6)
        held = {f"past_{name}": want[f"present_{name}"] for name in names}


def test_a_state_of_integers_counts(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["past_count", "one"], ["present_count"])
    cast = helper.make_node("Cast", ["past_count"], ["counted"], to=TensorProto.FLOAT)
    add = helper.make_node("Add", ["x", "counted"], ["y"])
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node, cast, add],
        "count",
        [info("x", TensorProto.FLOAT, [1]), info("past_count", TensorProto.INT64, [1])],
        [info("y", TensorProto.FLOAT, [1]), info("present_count", TensorProto.INT64, [1])],
        [numpy_helper.from_array(np.array([1]), "one")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    got = answers(hil.compile_model(path), [{"x": np.zeros(1, np.float32)}] * 4)
    assert [float(y[0]) for y in got] == [0, 1, 2, 3]
