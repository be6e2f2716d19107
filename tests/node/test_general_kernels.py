"""Every general kernel against its slow twin: random shapes, strides, types and the values that faults make."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.special

from node.kernels.inference.general import codes, functions, integers
from node.kernels.inference.general.interpreter import run_steps
from node.model.steps import STEP_WORDS, Opcode, float_bits
from node.model.views import KINDS, RANK, ViewStep, kinds
from tests.naive import general as naive

SIZE = 1 << 18
IN_A, IN_B, OUT = 0, SIZE // 4, SIZE // 2
SPECIALS = np.array([np.nan, np.inf, -np.inf, 1e-42, -1e-45, 3e38, -3e38, 0.0, -0.0, 1e-20, 1.0, -1.0], np.float32)


def run(u8: np.ndarray, step: ViewStep) -> int:
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    return int(run_steps.from_python(memory, step.row().reshape(1, -1), np.zeros(STEP_WORDS, np.int64), 0, 1))


def memory_of(rng: np.random.Generator, dtype: str, specials: bool = False) -> np.ndarray:
    if dtype == "float32":
        values = rng.normal(size=SIZE // 4).astype(np.float32)
        if specials:
            where = rng.random(values.size) < 0.2
            values[where] = rng.choice(SPECIALS, where.sum())
        return values.view(np.uint8)
    if dtype in ("int32", "int64"):
        return rng.integers(-50, 50, SIZE // np.dtype(dtype).itemsize).astype(dtype).view(np.uint8)
    return rng.integers(0, 2 if dtype == "bool" else 256, SIZE, dtype=np.uint8)


def compare(u8: np.ndarray, step: ViewStep, size: int, tolerance: float = 0.0, floor: float = 1e-37) -> np.ndarray:
    """Run kernel and twin on copies of a memory; give the output's bytes after checking that nothing else changed."""
    expected, actual = u8.copy(), u8.copy()
    naive.run_step(expected, step)
    assert run(actual, step) == -1
    result = step.kinds >> 3
    if result == codes.F32 or tolerance:
        got, want = (u[OUT : OUT + size].view(np.float32) for u in (actual, expected))
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=floor if tolerance else 0.0, equal_nan=True)
    else:
        np.testing.assert_array_equal(actual[OUT : OUT + size], expected[OUT : OUT + size])
    np.testing.assert_array_equal(actual[:OUT], u8[:OUT])
    np.testing.assert_array_equal(actual[OUT + size :], u8[OUT + size :])
    return actual[OUT : OUT + size]


def random_view(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a permuted, partly repeated view."""
    order = rng.permutation(len(shape))
    strides, step = [0] * len(shape), 1
    for axis in order:
        strides[axis] = 0 if rng.random() < 0.2 else step
        step *= shape[axis] + int(rng.integers(0, 2))
    return tuple(strides)


def random_shape(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(v) for v in rng.integers(1, 4, RANK))


@pytest.mark.parametrize("dtype", list(KINDS))
@pytest.mark.parametrize("seed", range(3))
def test_copy(dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = random_shape(rng)
    dense = tuple(int(np.prod(shape[i + 1 :])) for i in range(RANK))
    backwards = tuple(-s for s in dense)
    item = np.dtype(dtype).itemsize
    size = int(np.prod(shape)) * item
    step = ViewStep(opcode=Opcode.COPY, out=OUT, shape=shape, strides_b=dense, kinds=kinds(dtype, dtype))
    for given, start in ((random_view(rng, shape), IN_A), (backwards, IN_A + size - item)):
        views = ViewStep(
            **{**step.__dict__, "strides_a": given, "in_a": start},
        )
        compare(memory_of(rng, dtype), views, size)


@pytest.mark.parametrize("function", range(codes.AFFINE + 1))
def test_functions_of_one(function: int) -> None:
    u8 = memory_of(np.random.default_rng(function), "float32")
    values = u8[: 4 * 600].view(np.float32)
    values *= np.float32(4.0)
    values[:6] = [0.0, 1.0, -1.0, 30.0, -30.0, 1e-6]
    if function in (codes.SQRT, codes.LOG):
        values[:] = np.abs(values)
    alpha, beta = (0.2, 0.5) if function < codes.ELU else (1.5, 1.05)
    step = ViewStep(
        opcode=Opcode.MAP_F32,
        out=OUT,
        shape=(600,),
        function=function,
        kinds=kinds("float32", "float32"),
        alpha=float_bits(alpha),
        beta=float_bits(beta),
    )
    cancels = function in (codes.HARD_SIGMOID, codes.HARD_SWISH, codes.AFFINE, codes.GELU, codes.GELU_TANH)
    compare(u8, step, 2400, 4e-7, 1e-6 if cancels else 1e-37)


@pytest.mark.parametrize(
    ("name", "truth", "low", "high"),
    [
        ("exp64", np.exp, -100.0, 88.0),
        ("log64", np.log, 1e-45, 3e38),
        ("tanh64", np.tanh, -12.0, 12.0),
        ("sigmoid64", scipy.special.expit, -80.0, 80.0),
        ("erf64", scipy.special.erf, -5.0, 5.0),
    ],
)
def test_own_functions_are_far_more_exact_than_float32(name: str, truth, low: float, high: float) -> None:
    x = np.random.default_rng(0).uniform(low, high, 3000)
    if name == "log64":
        x = np.exp(np.random.default_rng(0).uniform(np.log(1e-44), np.log(3e38), 3000))
    x = x.astype(np.float32).astype(np.float64)
    got = np.array([getattr(functions, name)(v) for v in x])
    np.testing.assert_allclose(got, truth(x), rtol=2e-9 if name != "erf64" else 2e-8)


def test_functions_pass_nan_and_know_their_limits() -> None:
    for name in ("exp64", "log64", "tanh64", "sigmoid64", "erf64"):
        assert np.isnan(getattr(functions, name)(np.nan))
    assert functions.log64(0.0) == -np.inf
    assert np.isnan(functions.log64(-1.0))
    assert functions.exp64(200.0) > np.finfo(np.float32).max
    assert np.float32(functions.exp64(-200.0)) == 0.0
    assert functions.tanh64(np.inf) == 1.0
    assert functions.erf64(-np.inf) == -1.0
    assert functions.gelu64(-np.inf, False) == 0.0


def test_pow_has_the_special_cases_of_ieee_754() -> None:
    values = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 2.5, np.inf, -np.inf, np.nan, 1e10, -1e-10]
    with np.errstate(all="ignore"):
        for x in values:
            for y in values:
                # numpy takes x**0.5 for a square root, which IEEE 754 pow is not at minus infinity.
                want = np.float32(np.inf if (x, y) == (-np.inf, 0.5) else np.power(np.float64(x), np.float64(y)))
                got = np.float32(functions.pow64(x, y))
                np.testing.assert_allclose(got, want, rtol=2e-7, err_msg=f"{x} ** {y}")


@pytest.mark.parametrize("function", range(codes.PRELU + 1))
@pytest.mark.parametrize("specials", [False, True])
def test_functions_of_two_floats(function: int, specials: bool) -> None:
    rng = np.random.default_rng(function)
    for plain in (False, True):
        shape = (4, 9) if plain else random_shape(rng)
        a = (9, 1) if plain else random_view(rng, shape)
        b = ((0, 1) if function % 2 else (1, 0)) if plain else random_view(rng, shape)
        step = ViewStep(
            opcode=Opcode.BINARY_F32,
            in_b=IN_B,
            out=OUT,
            shape=shape,
            strides_a=a,
            strides_b=b,
            function=function,
            kinds=kinds("float32", "float32"),
        )
        compare(memory_of(rng, "float32", specials), step, 4 * int(np.prod(shape)), 2e-7)


@pytest.mark.parametrize("function", range(codes.EQUAL, codes.GREATER_EQUAL + 1))
def test_comparisons(function: int) -> None:
    rng = np.random.default_rng(function)
    shape = random_shape(rng)
    step = ViewStep(
        opcode=Opcode.COMPARE_F32,
        in_b=IN_B,
        out=OUT,
        shape=shape,
        strides_a=random_view(rng, shape),
        strides_b=random_view(rng, shape),
        function=function,
        kinds=kinds("float32", "bool"),
    )
    got = compare(memory_of(rng, "float32", True), step, int(np.prod(shape)))
    assert set(got) <= {0, 1}


INTEGER = [f for f in naive.FUNCTIONS_OF_TWO if f not in (codes.DIV, codes.POW, codes.PRELU)]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
@pytest.mark.parametrize("function", INTEGER)
def test_functions_of_two_integers(dtype: str, function: int) -> None:
    rng = np.random.default_rng(function)
    shape = random_shape(rng)
    result = "bool" if codes.EQUAL <= function <= codes.GREATER_EQUAL or dtype == "bool" else dtype
    step = ViewStep(
        opcode=Opcode.BINARY_INT,
        in_b=IN_B,
        out=OUT,
        shape=shape,
        strides_a=random_view(rng, shape),
        strides_b=random_view(rng, shape),
        function=function,
        kinds=kinds(dtype, result),
    )
    compare(memory_of(rng, dtype), step, int(np.prod(shape)) * np.dtype(result).itemsize)


@pytest.mark.parametrize("a", [-7, 7, 0, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("b", [-2, 2, 0, -1, 1, 7])
def test_division_and_power_of_integers_are_defined_everywhere(a: int, b: int) -> None:
    wrapped = (abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0) + 2**63
    assert integers.divided(a, b) == wrapped % 2**64 - 2**63
    want = 0 if b < 0 and abs(a) != 1 else (a**b if b >= 0 else a)
    assert integers.power(a, b) == (want + 2**63) % 2**64 - 2**63


@pytest.mark.parametrize("dtype", list(KINDS))
def test_select(dtype: str) -> None:
    rng = np.random.default_rng(5)
    shape = random_shape(rng)
    step = ViewStep(
        opcode=Opcode.SELECT,
        in_b=IN_B,
        out=OUT,
        shape=shape,
        strides_a=random_view(rng, shape),
        strides_b=random_view(rng, shape),
        kinds=kinds("bool", dtype),
    )
    u8 = memory_of(rng, dtype)
    u8[: SIZE // 4] = rng.integers(0, 2, SIZE // 4)
    compare(u8, step, int(np.prod(shape)) * np.dtype(dtype).itemsize)
    one_for_a_line = replace(step, strides_a=(*step.strides_a[:-1], 0))
    compare(u8, one_for_a_line, int(np.prod(shape)) * np.dtype(dtype).itemsize)


@pytest.mark.parametrize("given", list(KINDS))
@pytest.mark.parametrize("result", list(KINDS))
def test_cast(given: str, result: str) -> None:
    u8 = memory_of(np.random.default_rng(1), given)
    if given == "float32":
        u8[:800].view(np.float32)[:] *= 40
    step = ViewStep(opcode=Opcode.CAST, out=OUT, shape=(200,), kinds=kinds(given, result))
    compare(u8, step, 200 * np.dtype(result).itemsize)


def test_cast_of_what_is_no_number_is_defined() -> None:
    assert integers.whole(np.float32(np.nan)) == 0
    assert integers.whole(np.float32(np.inf)) > 8 * 10**18
    assert integers.whole(np.float32(-np.inf)) < -8 * 10**18


@pytest.mark.parametrize("function", range(codes.ARG_MIN_LAST + 1))
@pytest.mark.parametrize("dtype", ["float32", "int32", "int8"])
def test_reductions(function: int, dtype: str) -> None:
    rng = np.random.default_rng(function)
    shape = random_shape(rng)
    dense = tuple(int(np.prod(shape[i + 1 :])) for i in range(RANK))
    order = tuple(dense[i] for i in rng.permutation(RANK)) if dtype == "int32" else dense
    result = "int64" if function >= codes.ARG_MAX else dtype
    opcode = Opcode.REDUCE_F32 if dtype == "float32" else Opcode.REDUCE_INT
    step = ViewStep(opcode=opcode, out=OUT, shape=shape, strides_a=order, function=function, kinds=kinds(dtype, result))
    compare(memory_of(rng, dtype), step, int(np.prod(shape[:3])) * np.dtype(result).itemsize)


def test_an_extreme_takes_nan_along() -> None:
    u8 = np.zeros(SIZE, np.uint8)
    u8[:16].view(np.float32)[:] = [1.0, np.nan, 3.0, 2.0]
    for function in (codes.LARGEST, codes.SMALLEST):
        step = ViewStep(
            opcode=Opcode.REDUCE_F32,
            out=OUT,
            shape=(4,),
            strides_a=(1,),
            function=function,
            kinds=kinds("float32", "float32"),
        )
        assert run(u8, step) == -1
        assert np.isnan(u8[OUT : OUT + 4].view(np.float32)[0])


@pytest.mark.parametrize(("columns", "transposed"), [(7, False), (7, True), (16, False), (83, False), (83, True)])
def test_products(columns: int, transposed: bool) -> None:
    rng = np.random.default_rng(2)
    rows, depth = 5, 6
    step = ViewStep(
        opcode=Opcode.MATMUL_F32,
        in_b=IN_B,
        out=OUT,
        shape=(2, 1, 3, rows, columns, depth),
        strides_a=(90, 0, 30, depth, 0, 1),
        strides_b=(0, 0, 42, 0, *((depth, 1) if transposed else (1, columns))),
        kinds=kinds("float32", "float32"),
    )
    compare(memory_of(rng, "float32", specials=not transposed), step, 4 * 6 * rows * columns)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64"])
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_gather(dtype: str, index: str) -> None:
    rng = np.random.default_rng(3)
    u8 = memory_of(rng, dtype)
    item = np.dtype(index).itemsize
    u8[IN_B : IN_B + 6 * item].view(index)[:] = [0, -1, 3, 4, -5, 2]
    step = ViewStep(opcode=Opcode.GATHER, in_b=IN_B, out=OUT, shape=(2, 5, 6, 3, 1, 1), kinds=kinds(index, dtype))
    compare(u8, step, 36 * np.dtype(dtype).itemsize)
    u8[IN_B : IN_B + item].view(index)[0] = 5
    before = u8.copy()
    assert run(u8, step) == 0
    np.testing.assert_array_equal(u8, before)


def test_every_general_operator_has_a_twin_or_is_recurrent() -> None:
    assert set(naive.TWINS) | {Opcode.LSTM, Opcode.GRU} == {o for o in Opcode if o >= Opcode.COPY}
