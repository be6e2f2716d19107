"""Models changed at random where exporters and editors go wrong: an image or a plain word, never a crash or a hang."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import hil
from firmware_bridge.errors import ModelError
from hil.compiler import compile_model
from tests.proof import count

WORKLOADS = Path(hil.__file__).parent / "workloads"
MODELS = ("digits_f32", "digits_int8", "cloud_mask_int8")
INTEGERS = (0, -1, 1, 2, 7, 1 << 20, 1 << 31, 1 << 62, -(1 << 62))
REALS = (0.0, -1.0, 1e38, float("inf"), float("nan"))
OPERATORS = (
    "If",
    "Loop",
    "Range",
    "Tile",
    "Expand",
    "Resize",
    "TopK",
    "Split",
    "GRU",
    "LSTM",
    "Pad",
    "ConstantOfShape",
)
LONGEST_S = 60

Mutation = Callable[[Any, random.Random], None]


def change_attribute(graph: Any, rng: random.Random) -> None:
    attribute = rng.choice([a for node in graph.node for a in node.attribute])
    if attribute.type == onnx.AttributeProto.INTS:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(INTEGERS)
    elif attribute.type == onnx.AttributeProto.INT:
        attribute.i = rng.choice(INTEGERS)
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = rng.choice([b"", b"nope", b"\xff\xfe"])
    else:
        attribute.type = onnx.AttributeProto.FLOAT


def drop_attribute(graph: Any, rng: random.Random) -> None:
    node = rng.choice([node for node in graph.node if node.attribute])
    node.attribute.remove(rng.choice(node.attribute))


def change_shape(graph: Any, rng: random.Random) -> None:
    tensor = rng.choice([tensor for tensor in graph.initializer if tensor.dims])
    tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(INTEGERS)


def change_type(graph: Any, rng: random.Random) -> None:
    rng.choice(graph.initializer).data_type = rng.randrange(24)


def change_value(graph: Any, rng: random.Random) -> None:
    tensor = rng.choice(graph.initializer)
    array = onnx.numpy_helper.to_array(tensor).copy()
    number = rng.choice(REALS) if array.dtype.kind == "f" else rng.choice((0, -1, 1, 127))
    array.reshape(-1)[rng.randrange(array.size)] = np.array(number).astype(array.dtype)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def change_operator(graph: Any, rng: random.Random) -> None:
    rng.choice(graph.node).op_type = rng.choice([*OPERATORS, *(node.op_type for node in graph.node)])


def drop_node(graph: Any, rng: random.Random) -> None:
    graph.node.remove(rng.choice(graph.node))


def change_input(graph: Any, rng: random.Random) -> None:
    sizes = rng.choice(graph.input).type.tensor_type.shape.dim
    sizes[rng.randrange(len(sizes))].dim_value = rng.choice((0, -1, 2, 1000, 1 << 20, 1 << 33))


def rewire(graph: Any, rng: random.Random) -> None:
    node = rng.choice(graph.node)
    names = [name for each in graph.node for name in each.output] + [tensor.name for tensor in graph.initializer]
    ends = rng.choice((node.input, node.output)) or node.output
    ends[rng.randrange(len(ends))] = rng.choice(names)


def drop_operand(graph: Any, rng: random.Random) -> None:
    del rng.choice(graph.node).input[-1]


MUTATIONS: tuple[Mutation, ...] = (
    change_value, change_attribute, drop_attribute, change_shape, change_type, change_operator, drop_node,
    change_input, drop_operand, rewire,
)  # fmt: skip
"""In the order in which they are done: a value can be changed while its tensor is whole."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail what takes longer."""

    def stop(*_: object) -> None:
        pytest.fail(f"still compiling after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def compiles(seed: int, path: Path) -> bool:
    """Change a model in one to three places and compile it; False where it is refused, by a word that names it."""
    rng = random.Random(seed)
    model = onnx.load(str(WORKLOADS / f"{rng.choice(MODELS)}.onnx"))
    for mutation in sorted(rng.sample(MUTATIONS, rng.choice((1, 1, 2, 3))), key=MUTATIONS.index):
        mutation(model.graph, rng)
    path.write_bytes(model.SerializeToString())
    try:
        with at_most(LONGEST_S):
            compile_model(path)
    except ModelError as error:
        assert str(path) in str(error)
        return False
    return True


@pytest.mark.proof
def test_a_changed_model_gives_an_image_or_a_plain_word(tmp_path: Path) -> None:
    seeds = count(40, 3000)
    good = sum(compiles(seed, tmp_path / "changed.onnx") for seed in range(seeds))
    assert 0 < good < seeds
