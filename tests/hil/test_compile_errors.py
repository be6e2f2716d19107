"""Model files that cannot be used: each says which file, which node, and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import hil
from firmware_bridge.errors import DataError, ModelError
from hil.compiler import compile_model
from node.service import split_samples
from tests.onnx_models import Builder, model_of, run_image, small_cnn

WORKLOADS = Path(hil.__file__).parent / "workloads"


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path, *words: str, **options) -> str:
    with pytest.raises(ModelError) as caught:
        compile_model(path, **options)
    text = str(caught.value)
    for word in (path.name, *words):
        assert word in text
    assert caught.value.exit_code == 2
    return text


def test_unsupported_operator_is_named_with_node_output_and_file(tmp_path: Path) -> None:
    b = Builder()
    output = b.add("Multinomial", "x", sample_size=2)
    text = refused(b.save(tmp_path / "m.onnx", (1, 4), output), "Multinomial_0", "multinomial0", "not supported")
    assert "Conv" in text


def test_foreign_domain_is_named(tmp_path: Path) -> None:
    node = onnx.helper.make_node("FusedThing", ["x"], ["y"], name="f", domain="com.example")
    model = model_of([node], [], (1, 2), "y")
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    refused(save(model, tmp_path / "m.onnx"), "com.example::FusedThing")


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.onnx", "no such file")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.8, 0.99])
def test_file_cut_short(share: float, tmp_path: Path) -> None:
    data = small_cnn(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    refused(path)


@pytest.mark.parametrize("content", [b"not a model\n" * 50, b"\x00" * 100, bytes(range(256))])
def test_file_of_another_kind(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    refused(path)


def test_a_directory_is_no_model(tmp_path: Path) -> None:
    refused(tmp_path)


def test_missing_external_data(tmp_path: Path) -> None:
    model = onnx.load(str(small_cnn(tmp_path / "m.onnx")))
    path = tmp_path / "outside.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    compile_model(path)
    (tmp_path / "weights.bin").unlink()
    refused(path, "external data")


def test_cycle(tmp_path: Path) -> None:
    nodes = [
        onnx.helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        onnx.helper.make_node("Relu", ["a"], ["b"], name="second"),
    ]
    refused(save(model_of(nodes, [], (1, 2), "b"), tmp_path / "m.onnx"), "first", "cycle")


def test_value_that_nothing_gives(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Add", ["x", "ghost"], ["y"], name="sum")]
    refused(save(model_of(nodes, [], (1, 2), "y"), tmp_path / "m.onnx"), "sum", "ghost")


def test_output_that_nothing_gives(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    refused(save(model_of(nodes, [], (1, 2), "z"), tmp_path / "m.onnx"), "'z'")


def test_nodes_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Relu", ["a"], ["y"]), onnx.helper.make_node("Add", ["x", "x"], ["a"])]
    image = compile_model(save(model_of(nodes, [], (1, 2), "y"), tmp_path / "m.onnx"))
    assert len(image.steps) == 1


def test_open_shape_asks_for_input_shapes(tmp_path: Path) -> None:
    b = Builder()
    refused(b.save(tmp_path / "m.onnx", ("N", 3, "H", "W"), b.add("Relu", "x")), "'H'", "input_shapes")


def test_input_shapes_that_do_not_fit(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    refused(path, "does not fit", input_shapes={"x": (1, 3, 8, 8)})
    refused(path, "'y'", input_shapes={"y": (1, 1, 8, 8)})


def test_channels_that_do_not_fit(tmp_path: Path) -> None:
    b = Builder()
    nodes = [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="wrong")]
    b.constant(np.zeros((4, 5, 3, 3), np.float32), "w")
    refused(save(model_of(nodes, b.constants, (1, 3, 8, 8), "y"), tmp_path / "m.onnx"), "wrong")


def test_matrix_that_does_not_fit(tmp_path: Path) -> None:
    b = Builder()
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="wrong")]
    b.constant(np.zeros((5, 3), np.float32), "w")
    refused(save(model_of(nodes, b.constants, (1, 4), "y"), tmp_path / "m.onnx"))


def test_window_larger_than_the_picture(tmp_path: Path) -> None:
    b = Builder()
    refused(b.save(tmp_path / "m.onnx", (1, 1, 3, 3), b.add("MaxPool", "x", kernel_shape=[5, 5])))


CASES = {
    "indices of a pool": lambda b: b.add(
        "MaxPool", b.add("Reshape", "x", b.constant(np.array([1, 1, 4]))), kernel_shape=[2]
    ),
    "product that does not fit": lambda b: b.add("MatMul", "x", b.add("Relu", "x")),
    "slice of nothing": lambda b: b.add("Slice", "x", b.constant(np.array([4])), b.constant(np.array([9]))),
    "index out of range": lambda b: b.add("Gather", "x", b.constant(np.array([7])), axis=1),
    "computed scales": lambda b: b.add("Resize", "x", "", b.add("Relu", "x")),
    "matrix of another shape": lambda b: b.add("Reshape", "x", b.constant(np.array([3, -1]))),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_supported_of_supported_operators(case: str, tmp_path: Path) -> None:
    b = Builder()
    output = CASES[case](b)
    if case == "indices of a pool":
        b.nodes[-1].output.append("indices")
    refused(b.save(tmp_path / "m.onnx", (1, 4), output))


def test_model_that_computes_nothing_copies_its_input(tmp_path: Path) -> None:
    b = Builder()
    image = compile_model(b.save(tmp_path / "m.onnx", (1, 4), b.add("Flatten", "x")))
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    (output,) = run_image(image, {"x": x}).values()
    np.testing.assert_array_equal(output, x)


def test_model_without_input_has_nothing_to_be_run_on(tmp_path: Path) -> None:
    b = Builder()
    model = model_of([onnx.helper.make_node("Relu", [b.weights(1, 4)], ["y"])], b.constants, (1, 4), "y")
    del model.graph.input[:]
    image = compile_model(save(model, tmp_path / "m.onnx"))
    assert run_image(image, {})["y"].shape == (1, 4)
    with pytest.raises(DataError, match="takes none"):
        split_samples(image, {})


def test_a_cache_that_is_empty_is_a_constant(tmp_path: Path) -> None:
    """Exporters of decoders give the first call a cache of length 0, which is joined with what the call adds."""
    nodes = [
        onnx.helper.make_node("Concat", ["past", "x"], ["all"], axis=1),
        onnx.helper.make_node("Split", ["all", "parts"], ["none", "y"], axis=1),
    ]
    model = model_of(nodes, [onnx.numpy_helper.from_array(np.array([0, 4]), "parts")], (1, 4), "y")
    model.graph.input.append(onnx.helper.make_tensor_value_info("past", onnx.TensorProto.FLOAT, (1, "past_length")))
    image = compile_model(save(model, tmp_path / "m.onnx"), {"past": (1, 0)})
    assert [spec.name for spec in image.inputs] == ["x"]
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    np.testing.assert_array_equal(run_image(image, {"x": x})["y"], x)


def test_constant_output(tmp_path: Path) -> None:
    b = Builder()
    nodes = [onnx.helper.make_node("Relu", [b.weights(1, 4)], ["y"]), onnx.helper.make_node("Relu", ["x"], ["z"])]
    image = compile_model(save(model_of(nodes, b.constants, (1, 4), "y"), tmp_path / "m.onnx"))
    (output,) = run_image(image, {"x": np.ones((1, 4), np.float32)}).values()
    assert output.shape == (1, 4)
    assert output.min() >= 0.0


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_file_gives_an_image_or_a_plain_word(seed: int, tmp_path: Path) -> None:
    path = WORKLOADS / ("digits_f32.onnx", "digits_int8.onnx")[seed % 2]
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(0, 3000, rng.integers(1, 4)):
        place = position if rng.random() < 0.5 else len(data) - 1 - position
        data[place] ^= 1 << int(rng.integers(0, 8))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(data)
    try:
        image = compile_model(damaged)
    except ModelError as error:
        assert "damaged" in str(error)
    else:
        assert len(image.steps) > 0


def test_a_constant_shorter_than_its_shape_is_named(tmp_path: Path) -> None:
    model = onnx.load(str(small_cnn(tmp_path / "whole.onnx")))
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    refused(save(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize("op", ["Conv", "Gemm", "Add"])
def test_a_weight_that_is_no_number_is_named_with_its_node(op: str, tmp_path: Path) -> None:
    b = Builder()
    weights = np.ones((1, 1, 1, 1) if op == "Conv" else (4, 4), np.float32)
    weights.reshape(-1)[-1] = np.nan
    output = b.add(op, "x", b.constant(weights, "w"))
    shape = (1, 1, 4, 4) if op == "Conv" else (4, 4)
    refused(b.save(tmp_path / "m.onnx", shape, output), f"{op}_0", "'w'", "1 of", "NaN")


def test_a_filler_that_is_no_number_is_as_good_as_any(tmp_path: Path) -> None:
    b = Builder()
    output = b.add("Pad", "x", b.constant(np.array([0, 1, 0, 1])), b.constant(np.float32(np.nan)))
    (got,) = run_image(compile_model(b.save(tmp_path / "m.onnx", (1, 2), output)), {"x": np.ones((1, 2))}).values()
    np.testing.assert_array_equal(np.isnan(got), [[True, False, False, True]])


def test_an_operator_without_an_attribute_it_needs_is_named(tmp_path: Path) -> None:
    b = Builder()
    refused(b.save(tmp_path / "m.onnx", (1, 1, 4, 4), b.add("MaxPool", "x")), "kernel_shape")


@pytest.mark.parametrize("seed", range(60))
def test_damaged_models_of_many_operators_give_an_image_or_a_plain_word(seed: int, tmp_path: Path) -> None:
    b = Builder()
    h = b.add("Transpose", b.add("Pad", "x", b.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1]))), perm=[0, 2, 3, 1])
    h = b.add("LayerNormalization", h, b.constant(np.ones(2, np.float32)), axis=-1)
    h = b.add("Resize", h, "", b.constant(np.array([1, 2, 2, 1], np.float32)), mode="linear")
    h = b.add("Reshape", b.add("ReduceMean", h, axes=[3], keepdims=0), b.constant(np.array([10, 1, 10])))
    h = b.add("LSTM", h, b.weights(1, 8, 10), b.weights(1, 8, 2), hidden_size=2)
    h = b.add("Gather", b.add("Slice", h, b.constant(np.array([1])), b.constant(np.array([9]))), b.constant(3), axis=0)
    data = bytearray(b.save(tmp_path / "m.onnx", (1, 2, 3, 3), b.add("Concat", h, h, axis=-1)).read_bytes())
    if seed:
        rng = np.random.default_rng(seed)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, len(data))] ^= 1 << int(rng.integers(0, 8))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(data)
    try:
        image = compile_model(damaged)
    except ModelError as error:
        assert seed, error
        assert "damaged.onnx" in str(error) or "model" in str(error)
    else:
        assert len(image.steps) > 0


def test_a_constant_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    b = Builder()
    h = b.add("Add", "x", b.add("ConstantOfShape", b.constant(np.array([1 << 20, 1 << 20]))))
    refused(b.save(tmp_path / "m.onnx", (1, 4), h), "elements")


def test_memory_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    b = Builder()
    h = b.add("Expand", "x", b.constant(np.array([1 << 14, 1 << 14, 4])))
    refused(b.save(tmp_path / "m.onnx", (1, 4), b.add("Relu", h)), "bytes of memory")


def test_an_input_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    b = Builder()
    refused(b.save(tmp_path / "m.onnx", (1, 1 << 33), b.add("Relu", "x")), "'x'", "bytes of memory")


@pytest.mark.parametrize("dilation", [1 << 22, 1 << 62])
def test_a_window_that_no_step_can_hold_is_refused(dilation: int, tmp_path: Path) -> None:
    b = Builder()
    window = {"dilations": [dilation, 1], "auto_pad": "SAME_UPPER"}
    refused(b.save(tmp_path / "m.onnx", (1, 1, 4, 4), b.add("Conv", "x", b.weights(1, 1, 3, 3), **window)), "Conv_0")


def test_more_steps_than_anyone_waits_for_are_refused(tmp_path: Path) -> None:
    b = Builder()
    output = b.add("Conv", "x", b.weights(2, 1, 1, 1))
    refused(b.save(tmp_path / "m.onnx", (1 << 20, 1, 2, 2), output), "Conv_0", "shorten batch")


def test_weights_beyond_all_measure_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """The file beside the model has a hole of 3 GB in it, which reading would fill."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[3 << 18, 1 << 10])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(3 << 30)
    nodes = [onnx.helper.make_node("Gemm", ["x", "w"], ["y"], name="wide")]
    refused(save(model_of(nodes, [tensor], (1, 3 << 18), "y"), tmp_path / "m.onnx"), "'wide'", "'w'", "smaller")
