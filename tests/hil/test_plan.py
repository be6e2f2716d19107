"""Places in memory: nothing that lives at once overlaps, and memory is used again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.errors import ModelError
from hil.compiler import compile_model
from hil.compiler.plan import Lifetime, largest_live_bytes, place_buffers
from hil.compiler.program import Buffer
from node.arena import ALIGNMENT_BYTES
from tests.onnx_models import Builder, reference, run_image, small_cnn

spans = st.lists(st.tuples(st.integers(1, 5000), st.integers(-1, 20), st.integers(0, 8)), min_size=1, max_size=30)


@given(spans)
@settings(max_examples=200, deadline=None)
def test_buffers_that_live_at_once_never_overlap(spans: list[tuple[int, int, int]]) -> None:
    lifetimes = [
        Lifetime(Buffer(str(i), "uint8", size), first, first + more) for i, (size, first, more) in enumerate(spans)
    ]
    places, total = place_buffers(lifetimes)
    for life in lifetimes:
        start = places[life.buffer]
        assert start % ALIGNMENT_BYTES == 0
        assert start + life.buffer.size_bytes <= total
        for other in lifetimes:
            together = life is not other and life.first <= other.last and other.first <= life.last
            if together:
                begin = places[other.buffer]
                assert start + life.buffer.size_bytes <= begin or begin + other.buffer.size_bytes <= start


def test_one_after_the_other_share_one_place() -> None:
    lifetimes = [Lifetime(Buffer(str(i), "float32", 100), 2 * i, 2 * i + 1) for i in range(5)]
    places, total = place_buffers(lifetimes)
    assert set(places.values()) == {0}
    assert total == 448


def test_a_long_chain_needs_two_buffers(tmp_path: Path) -> None:
    b = Builder()
    h = "x"
    for _ in range(10):
        h = b.add("Softmax", h)
    image = compile_model(b.save(tmp_path / "m.onnx", (1, 64), h))
    assert len(image.steps) == 10
    assert image.activation_bytes == 2 * 256


def test_a_value_needed_late_is_kept(tmp_path: Path) -> None:
    b = Builder()
    first = b.add("Softmax", "x")
    h = first
    for _ in range(4):
        h = b.add("Softmax", h)
    image = compile_model(b.save(tmp_path / "m.onnx", (1, 64), b.add("Add", h, first)))
    kept = next(spec for spec in image.activations if spec.step == 0)
    assert kept.last_step == 5
    others = [spec for spec in image.activations if 0 < spec.step <= 5]
    assert all(spec.end <= kept.offset or kept.end <= spec.offset for spec in others)


def test_no_step_reads_and_writes_the_same_memory(tmp_path: Path) -> None:
    image = compile_model(small_cnn(tmp_path / "m.onnx"))
    for step in range(len(image.steps)):
        written = [spec for spec in image.activations if spec.step == step]
        read = [spec for spec in image.activations if spec.step < step <= spec.last_step]
        for one in written:
            assert all(one.end <= other.offset or other.end <= one.offset for other in read)


def test_parameters_are_aligned_named_and_belong_to_their_step(tmp_path: Path) -> None:
    image = compile_model(small_cnn(tmp_path / "m.onnx"))
    assert all(spec.offset % ALIGNMENT_BYTES == 0 for spec in image.tensors)
    assert [spec.name for spec in image.tensors] == ["c0", "c1", "c2", "c3", "c4", "c5"]
    assert [spec.step for spec in image.tensors] == [0, 0, 2, 2, 4, 4]
    assert image.tensors[-1].end == len(image.weights)


def test_a_step_beyond_the_limits_of_the_kernels_is_refused(tmp_path: Path) -> None:
    b = Builder()
    weights = b.constant(np.zeros((1, 1, 1, 1), np.float32))
    large = b.save(tmp_path / "large.onnx", (1, 1, 1, 2**21), b.add("Conv", "x", weights))
    with pytest.raises(ModelError, match="too large"):
        compile_model(large)


def test_more_values_than_a_dimension_may_have_are_computed_one_by_one(tmp_path: Path) -> None:
    b, shape = Builder(), (1, 1, 1, 2**21 + 16)
    scale, zero = b.constant(np.float32(0.25)), b.constant(np.int8(3))
    q = b.add("DequantizeLinear", b.add("QuantizeLinear", "x", scale, zero), scale, zero)
    path = b.save(tmp_path / "long.onnx", shape, b.add("Relu", b.add("Add", q, q)))
    x = np.linspace(-9, 9, shape[-1], dtype=np.float32).reshape(shape)
    (got,) = run_image(compile_model(path), {"x": x}).values()
    np.testing.assert_array_equal(got, reference(path, {"x": x}).popitem()[1])


def test_compiling_twice_gives_the_same_image(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    assert compile_model(path).digest == compile_model(path).digest


def test_memory_that_the_order_of_the_steps_wastes_is_used() -> None:
    """A small buffer between two large ones that follow each other: placed first-fit in order, 1.5 times too much."""
    sizes = {"large": 6400, "small": 640, "larger": 7040}
    large, small, larger = (Buffer(name, "uint8", size) for name, size in sizes.items())
    lifetimes = [Lifetime(large, -1, 0), Lifetime(small, 0, 3), Lifetime(larger, 1, 2)]
    places, total = place_buffers(lifetimes)
    assert total == largest_live_bytes(lifetimes) == 640 + 7040
    assert abs(places[small] - places[larger]) >= 640


@given(spans)
@settings(max_examples=100, deadline=None)
def test_what_lives_at_once_is_counted_at_every_moment(spans: list[tuple[int, int, int]]) -> None:
    lifetimes = [Lifetime(Buffer("", "uint8", size), first, first + more) for size, first, more in spans]
    alive = [sum(x.buffer.size_bytes for x in lifetimes if x.first <= k <= x.last) for k in range(-1, 30)]
    assert largest_live_bytes(lifetimes) == max(alive)
    assert place_buffers(lifetimes)[1] >= max(alive)
