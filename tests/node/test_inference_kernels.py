"""Every inference kernel against its slow twin, on random shapes and on the values that faults make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from node.kernels.inference.dispatch import run_steps
from node.kernels.inference.pointwise_f32 import exp_f32
from node.model.steps import STEP_WORDS, Opcode, Step, float_bits
from tests.naive import inference as naive

SIZE = 1 << 16
IN_A, IN_B, OUT, WEIGHTS, BIAS, SCALES, SCRATCH = (i * SIZE // 8 for i in range(7))
PLACES = {
    "in_a": IN_A, "in_b": IN_B, "out": OUT, "weights": WEIGHTS, "bias": BIAS, "scales": SCALES, "scratch": SCRATCH
}  # fmt: skip
OPEN = {"low": float_bits(-np.inf), "high": float_bits(np.inf)}
SPECIALS = np.array([np.nan, np.inf, -np.inf, 1e-42, -1e-45, 3e38, -3e38, 0.0, -0.0, 1e-20], np.float32)


def run(u8: np.ndarray, step: Step) -> int:
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    return run_steps.from_python(memory, step.row().reshape(1, -1), np.zeros(STEP_WORDS, np.int64), 0, 1)


def float_memory(rng: np.random.Generator, specials: bool = False) -> np.ndarray:
    values = rng.normal(size=SIZE // 4).astype(np.float32)
    if specials:
        where = rng.random(values.size) < 0.05
        values[where] = rng.choice(SPECIALS, where.sum())
    return values.view(np.uint8)


def byte_memory(rng: np.random.Generator) -> np.ndarray:
    u8 = rng.integers(0, 256, SIZE, dtype=np.uint8)
    u8[SCALES : SCALES + SIZE // 8].view(np.float32)[:] = rng.uniform(0.0005, 0.02, SIZE // 32)
    u8[BIAS : BIAS + SIZE // 8].view(np.int32)[:] = rng.integers(-5000, 5000, SIZE // 32)
    return u8


def compare(u8: np.ndarray, step: Step, count: int, dtype: type) -> np.ndarray:
    """Run kernel and twin on copies of a memory; outputs agree bit for bit and nothing else changes."""
    expected, actual = u8.copy(), u8.copy()
    naive.run_step(expected, step)
    assert run(actual, step) == -1
    size = count * np.dtype(dtype).itemsize
    want = expected[OUT : OUT + size].view(dtype)
    got = actual[OUT : OUT + size].view(dtype)
    if dtype is np.float32:
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        want, got = np.where(np.isnan(want), 0, want), np.where(np.isnan(got), 0, got)
        want, got = want.view(np.uint32), got.view(np.uint32)
    np.testing.assert_array_equal(got, want)
    untouched = np.ones(SIZE, bool)
    untouched[OUT : OUT + size] = False
    untouched[SCRATCH:] = False
    np.testing.assert_array_equal(actual[untouched], u8[untouched])
    return got


def window(rng: np.random.Generator, channels: tuple[int, int], groups: int = 1) -> Step:
    """A random window of which every position lies at least partly in the input."""
    kernel = rng.integers(1, 4, 2)
    dilation = rng.integers(1, 3, 2)
    span = dilation * (kernel - 1) + 1
    sizes = span + rng.integers(0, 4, 2)
    stride = rng.integers(1, 3, 2)
    begin, end = rng.integers(0, span, 2), rng.integers(0, span, 2)
    out = (sizes + begin + end - span) // stride + 1
    values = zip(("h", "w"), sizes, out, kernel, stride, dilation, strict=True)
    step = Step(opcode=0, in_c=channels[0], out_c=channels[1], groups=groups, **PLACES)
    step = replace(step, pad_top=int(begin[0]), pad_left=int(begin[1]))
    for axis, size, number, k, s, d in values:
        names = {"in": size, "out": number, "kernel": k, "stride": s, "dilation": d}
        step = replace(step, **{f"{name}_{axis}": int(value) for name, value in names.items()})
    return step


def integer(rng: np.random.Generator, step: Step) -> Step:
    """Random zero points, kinds of bytes and limits."""
    signed = int(rng.integers(0, 8))
    low, high = (-128, 127) if signed & 4 else (0, 255)
    if rng.random() < 0.3:
        low, high = low + 30, high - 40
    zeros = {f"zero_{name}": int(rng.integers(-5, 6)) for name in ("a", "b", "out")}
    return replace(step, signed=signed, low=low, high=high, **zeros)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("specials", [False, True])
def test_float_convolution(seed: int, specials: bool) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 3]))
    step = window(rng, (groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 20))), groups)
    step = replace(step, opcode=Opcode.CONV_F32, low=float_bits(-0.5), high=float_bits(2.0))
    count = step.out_h * step.out_w * step.out_c
    compare(float_memory(rng, specials), step, count, np.float32)


LINES = [
    {"in_w": 12, "out_w": 12, "pad_left": 1},
    {"in_w": 13, "out_w": 9, "pad_left": 0, "out_h": 2, "pad_top": 0},
    {"in_w": 17, "out_w": 9, "pad_left": 1, "stride_w": 2, "stride_h": 3, "out_h": 2},
    {"in_w": 8, "out_w": 8, "pad_left": 2, "kernel_w": 5, "dilation_h": 2, "pad_top": 2},
    {"in_w": 9, "out_w": 11, "pad_left": 2},
    {"in_w": 10, "out_w": 5, "pad_left": 1, "stride_w": 2, "kernel_w": 4, "out_h": 1, "in_h": 9, "kernel_h": 9},
    {"in_w": 10, "out_w": 10, "pad_left": 1, "in_c": 4, "out_h": 1, "in_h": 1, "kernel_h": 1, "pad_top": 0},
]
"""Rows of output pixels long enough that their inputs are taken as runs."""


def lines(changes: dict[str, int], channels: int, opcode: Opcode) -> Step:
    step = Step(opcode=opcode, in_h=4, in_c=2, out_h=4, out_c=channels, kernel_h=3, kernel_w=3, pad_top=1, **PLACES)
    return replace(step, **{name: changes[name] for name in changes})


@pytest.mark.parametrize("channels", [3, 16, 37])
@pytest.mark.parametrize("changes", LINES)
def test_float_convolution_by_lines(changes: dict[str, int], channels: int) -> None:
    step = lines(changes, channels, Opcode.CONV_F32)
    step = replace(step, low=float_bits(-0.5), high=float_bits(2.0))
    u8 = float_memory(np.random.default_rng(channels), specials=True)
    compare(u8, step, step.out_h * step.out_w * step.out_c, np.float32)


@pytest.mark.parametrize("channels", [3, 16, 37])
@pytest.mark.parametrize("changes", LINES)
@pytest.mark.parametrize("in_c", [1, 4])
def test_integer_convolution_by_lines(changes: dict[str, int], in_c: int, channels: int) -> None:
    rng = np.random.default_rng(channels)
    step = integer(rng, replace(lines(changes, channels, Opcode.CONV_INT8), in_c=in_c))
    compare(byte_memory(rng), step, step.out_h * step.out_w * step.out_c, np.uint8)


@pytest.mark.parametrize("channels", [5, 16, 70])
@pytest.mark.parametrize("changes", LINES[:6])
def test_depthwise_by_lines(changes: dict[str, int], channels: int) -> None:
    rng = np.random.default_rng(channels + 2)  # zero points that are bytes
    changes = {**changes, "in_h": 3, "out_h": 1, "in_c": channels, "kernel_w": 3, "kernel_h": 3}
    step = replace(lines(changes, channels, Opcode.DEPTHWISE_F32), **OPEN)
    count = step.out_h * step.out_w * channels
    compare(float_memory(rng, specials=True), step, count, np.float32)
    step = integer(rng, replace(step, opcode=Opcode.DEPTHWISE_INT8, out_h=3, pad_top=1))
    compare(byte_memory(rng), step, 3 * count, np.uint8)


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 7, 10), (1, 5, 203), (8, 9, 16), (11, 4, 33), (3, 1, 64)])
def test_float_product(rows: int, depth: int, columns: int) -> None:
    step = Step(opcode=Opcode.CONV_F32, in_w=rows, in_c=depth, out_w=rows, out_c=columns, **PLACES, **OPEN)
    got = compare(float_memory(np.random.default_rng(rows), True), step, rows * columns, np.float32)
    assert np.count_nonzero(got) > 0


@pytest.mark.parametrize("seed", range(6))
def test_float_depthwise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 20))
    step = replace(window(rng, (channels, channels)), opcode=Opcode.DEPTHWISE_F32, **OPEN)
    compare(float_memory(rng, seed % 2 == 1), step, step.out_h * step.out_w * channels, np.float32)


@pytest.mark.parametrize("opcode", [Opcode.MAX_POOL_F32, Opcode.AVERAGE_POOL_F32])
@pytest.mark.parametrize("seed", range(5))
def test_float_pools(opcode: Opcode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 20))
    step = replace(window(rng, (channels, channels)), opcode=opcode, count=seed % 2)
    compare(float_memory(rng, seed % 2 == 1), step, step.out_h * step.out_w * channels, np.float32)


@pytest.mark.parametrize("period", [1, 4, 36])
def test_float_add_and_clamp(period: int) -> None:
    rng = np.random.default_rng(period)
    step = Step(opcode=Opcode.ADD_F32, in_c=36, count=period, low=float_bits(0.0), high=float_bits(6.0), **PLACES)
    compare(float_memory(rng, True), step, 36, np.float32)
    compare(float_memory(rng, True), replace(step, opcode=Opcode.CLAMP_F32), 36, np.float32)


@pytest.mark.parametrize("width", [1, 2, 10, 33])
def test_softmax_is_accurate_and_sums_to_one(width: int) -> None:
    u8 = float_memory(np.random.default_rng(width))
    u8[: SIZE // 8].view(np.float32)[:] *= 20
    step = Step(opcode=Opcode.SOFTMAX_F32, in_w=3, in_c=width, **PLACES)
    expected, actual = u8.copy(), u8.copy()
    naive.run_step(expected, step)
    assert run(actual, step) == -1
    want = expected[OUT : OUT + 12 * width].view(np.float32)
    got = actual[OUT : OUT + 12 * width].view(np.float32)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-37)
    np.testing.assert_allclose(got.reshape(3, width).sum(1), 1.0, rtol=1e-6)


def test_softmax_passes_nan_on_and_no_further() -> None:
    u8 = np.zeros(SIZE, np.uint8)
    u8[IN_A : IN_A + 24].view(np.float32)[:] = [1.0, np.nan, 3.0, 1.0, 2.0, 3.0]
    assert run(u8, Step(opcode=Opcode.SOFTMAX_F32, in_w=2, in_c=3, **PLACES)) == -1
    got = u8[OUT : OUT + 24].view(np.float32)
    assert np.isnan(got[:3]).all()
    assert got[3:].sum() == pytest.approx(1.0)


def test_own_exp_is_within_two_units_in_the_last_place() -> None:
    x = -np.abs(np.random.default_rng(0).uniform(0, 87, 20_000)).astype(np.float32)
    got = np.array([exp_f32(value) for value in x], np.float32)
    want = np.exp(x.astype(np.float64))
    assert np.abs((got - want) / want).max() < 2 * 2.0**-23
    assert exp_f32(np.float32(0.0)) == 1.0
    assert exp_f32(np.float32(-1000.0)) == 0.0
    assert np.isnan(exp_f32(np.float32(np.nan)))


@pytest.mark.parametrize("item", [1, 4])
def test_transpose(item: int) -> None:
    rng = np.random.default_rng(item)
    step = Step(opcode=Opcode.TRANSPOSE, in_h=5, in_w=7, count=item, **PLACES)
    compare(byte_memory(rng), step, 35 * item, np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_integer_convolution(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 3]))
    step = window(rng, (groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 20))), groups)
    step = integer(rng, replace(step, opcode=Opcode.CONV_INT8))
    compare(byte_memory(rng), step, step.out_h * step.out_w * step.out_c, np.uint8)


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 7, 10), (8, 9, 16), (11, 4, 33)])
def test_integer_product(rows: int, depth: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    step = Step(opcode=Opcode.CONV_INT8, in_w=rows, in_c=depth, out_w=rows, out_c=columns, **PLACES)
    got = compare(byte_memory(rng), integer(rng, step), rows * columns, np.uint8)
    assert np.unique(got).size > 4


def test_integer_sums_wrap_and_struck_scales_saturate() -> None:
    u8 = byte_memory(np.random.default_rng(3))
    u8[BIAS : BIAS + 64].view(np.int32)[:] = 2**31 - 10
    u8[SCALES : SCALES + 64].view(np.float32)[:] = np.resize(np.append(SPECIALS, 1e-9), 16)
    step = Step(opcode=Opcode.CONV_INT8, in_w=2, in_c=30, out_w=2, out_c=16, low=-128, high=127, signed=5, **PLACES)
    compare(u8, step, 32, np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_integer_depthwise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 20))
    step = integer(rng, replace(window(rng, (channels, channels)), opcode=Opcode.DEPTHWISE_INT8))
    compare(byte_memory(rng), step, step.out_h * step.out_w * channels, np.uint8)


@pytest.mark.parametrize("opcode", [Opcode.MAX_POOL_INT8, Opcode.AVERAGE_POOL_INT8])
@pytest.mark.parametrize("seed", range(5))
def test_integer_pools(opcode: Opcode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    channels = int(rng.integers(1, 20))
    step = integer(rng, replace(window(rng, (channels, channels)), opcode=opcode, count=seed % 2))
    compare(byte_memory(rng), step, step.out_h * step.out_w * channels, np.uint8)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("opcode", [Opcode.REQUANTIZE, Opcode.ADD_INT8])
def test_integer_pointwise(opcode: Opcode, seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = integer(rng, Step(opcode=opcode, in_c=60, count=(60, 5, 1, 60)[seed], **PLACES))
    compare(byte_memory(rng), step, 60, np.uint8)


@pytest.mark.parametrize("seed", range(4))
def test_quantize_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    u8 = float_memory(rng, seed % 2 == 1)
    u8[SCALES : SCALES + 4].view(np.float32)[:] = 0.02
    compare(u8, integer(rng, Step(opcode=Opcode.QUANTIZE, in_c=500, **PLACES)), 500, np.uint8)
    compare(byte_memory(rng), integer(rng, Step(opcode=Opcode.DEQUANTIZE, in_c=500, **PLACES)), 500, np.float32)


@pytest.mark.parametrize(("value", "byte"), [(0.5, 10), (1.5, 12), (-0.5, 10), (2.5, 12), (np.nan, 10), (np.inf, 127)])
def test_rounding_is_half_to_even_and_nan_is_the_zero_point(value: float, byte: int) -> None:
    u8 = np.zeros(SIZE, np.uint8)
    u8[IN_A : IN_A + 4].view(np.float32)[:] = value
    u8[SCALES : SCALES + 4].view(np.float32)[:] = 1.0
    step = Step(opcode=Opcode.QUANTIZE, in_c=1, zero_out=10, low=-128, high=127, signed=4, **PLACES)
    assert run(u8, step) == -1
    assert u8[OUT] == byte


def test_every_operator_has_a_twin() -> None:
    assert set(naive.TWINS) == {opcode for opcode in Opcode if opcode < Opcode.COPY}
