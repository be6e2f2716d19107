"""Step rows as a strike leaves them: a result or a refusal, never a touch outside the arena, never an endless loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.kernels.inference import bounds, columns, dispatch, pointwise_f32
from node.kernels.inference.general import codes, interpreter
from node.model.steps import COLUMNS, STEP_WORDS, Opcode, Step, float_bits
from node.model.views import RANK, ViewStep, kinds

SIZE = 4096
GUARD = 4096


def struck(row: np.ndarray, seed: int = 0) -> int:
    """Run one row on a small arena between two guards; give the status after checking the guards."""
    raw = np.random.default_rng(seed).integers(0, 256, SIZE + 2 * GUARD, dtype=np.uint8)
    before = raw.copy()
    u8 = raw[GUARD : GUARD + SIZE]
    u8[:64] = before[GUARD : GUARD + 64] = 0
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    general = row[0] in [opcode for opcode in Opcode if opcode >= Opcode.COPY]
    run_steps = (interpreter if general else dispatch).run_steps.from_python
    status = run_steps(memory, row.reshape(1, -1), np.zeros(STEP_WORDS, np.int64), 0, 1)
    np.testing.assert_array_equal(raw[:GUARD], before[:GUARD])
    np.testing.assert_array_equal(raw[GUARD + SIZE :], before[GUARD + SIZE :])
    if status >= 0:
        np.testing.assert_array_equal(raw, before)
    return int(status)


def valid_view(opcode: Opcode) -> ViewStep:
    """A general row that runs, its operands close to the end of the arena."""
    dense = (60, 20, 10, 5, 5, 1)
    step = ViewStep(
        opcode=opcode,
        in_a=SIZE - 1024,
        in_b=SIZE - 512,
        out=SIZE - 256,
        weights=64,
        bias=2048,
        scales=2304,
        scratch=2560,
        shape=(1, 2, 2, 2, 1, 5),
        strides_a=dense,
        strides_b=dense,
        kinds=kinds("float32", "float32"),
    )
    changes = {
        Opcode.SELECT: {"kinds": kinds("bool", "int32")},
        Opcode.BINARY_INT: {"kinds": kinds("int32", "int32"), "function": codes.DIV},
        Opcode.REDUCE_INT: {"kinds": kinds("int32", "int32")},
        Opcode.CAST: {"kinds": kinds("int32", "float32")},
        Opcode.MAP_F32: {"function": codes.GELU},
        Opcode.BINARY_F32: {"function": codes.POW},
        Opcode.GATHER: {"kinds": kinds("int32", "float32"), "shape": (2, 3, 2, 4, 1, 1), "in_b": 0},
        Opcode.LSTM: {"shape": (2, 3, 8, 7, 7, 3), "strides_a": (12, 24, 0, 0, 0, 0), "strides_b": (0, 6, 0, 0, 0, 0)},
        Opcode.GRU: {
            "shape": (2, 3, 8, 7, 1, 2),
            "strides_a": (12, -9, 0, 0, 0, 0),
            "strides_b": (0, -6, 0, 0, 0, 0),
            "function": 4,
        },
    }
    return ViewStep(**{**step.__dict__, **changes.get(opcode, {})})


def valid_row(opcode: Opcode) -> Step | ViewStep:
    """A row that runs, close to the end of the arena so that small changes overshoot it."""
    if opcode >= Opcode.COPY:
        return valid_view(opcode)
    step = Step(opcode=opcode, in_a=0, in_b=256, out=512, weights=1024, bias=3328, scales=3456, scratch=SIZE - 600)
    step = replace(step, high=float_bits(6.0) if opcode < Opcode.QUANTIZE else 127)
    if opcode in (Opcode.CONV_F32, Opcode.CONV_INT8):
        return replace(step, in_w=2, in_c=2, out_w=2, out_c=3, scratch=SIZE - (4 * 16 + 2 * 2 * 4 + 64))
    if opcode in (Opcode.ADD_F32, Opcode.ADD_INT8):
        return replace(step, in_c=8, count=4)
    if opcode == Opcode.TRANSPOSE:
        return replace(step, in_h=3, in_w=4, count=4)
    if opcode in (Opcode.SOFTMAX_F32, Opcode.CLAMP_F32, Opcode.QUANTIZE, Opcode.DEQUANTIZE, Opcode.REQUANTIZE):
        return replace(step, in_c=8)
    return replace(step, in_h=3, in_w=3, in_c=4, out_h=2, out_w=2, out_c=4, kernel_h=2, kernel_w=2)


def line_row(opcode: Opcode) -> Step:
    """A convolution whose inputs are taken as runs from a ring at the end of the arena."""
    ring = 2 * 9 * 4 + 4 * 16 + 64 if opcode == Opcode.CONV_INT8 else 2 * 9 * 4 * 4
    step = replace(valid_row(opcode), in_h=2, in_w=8, in_c=4, out_h=2, out_w=8, out_c=3)
    return replace(step, kernel_h=2, kernel_w=2, pad_top=1, pad_left=1, scratch=SIZE - ring)


LINED = (Opcode.CONV_F32, Opcode.CONV_INT8)
ROWS = [*(valid_row(opcode) for opcode in Opcode), *(line_row(opcode) for opcode in LINED)]
kinds_of_rows = pytest.mark.parametrize(
    "step", ROWS, ids=[*(o.name for o in Opcode), *(f"{o.name}-line" for o in LINED)]
)


@kinds_of_rows
def test_the_rows_that_are_struck_below_are_valid(step: Step | ViewStep) -> None:
    assert struck(step.row()) == -1


@kinds_of_rows
def test_every_single_bit_of_a_row_may_flip(step: Step | ViewStep) -> None:
    row, opcode = step.row(), step.opcode
    refused = 0
    for column in range(len(COLUMNS)):
        for bit in range(64):
            changed = row.copy()
            changed[column] ^= np.int64(np.uint64(1 << bit).astype(np.int64))
            refused += struck(changed, bit) == 0
    assert refused > (100 if opcode >= Opcode.COPY else 200)


small = st.integers(-2, 20)
near = st.integers(SIZE - 700, SIZE + 8)
wild = st.one_of(small, near, st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**20, 2**31, 2**32, 2**62]))


@given(
    step=st.sampled_from(ROWS),
    values=st.lists(wild, min_size=STEP_WORDS - 1, max_size=STEP_WORDS - 1),
    kept=st.integers(0, 2**31 - 1),
)
@settings(max_examples=500, deadline=None)
def test_rows_of_wild_numbers(step: Step | ViewStep, values: list[int], kept: int) -> None:
    row = step.row()
    for column, value in enumerate(values, start=1):
        if not kept >> column & 1:
            row[column] = value
    assert struck(row) in (-1, 0)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=STEP_WORDS, max_size=STEP_WORDS))
@settings(max_examples=300, deadline=None)
def test_rows_of_any_numbers(values: list[int]) -> None:
    assert struck(np.array(values, np.int64)) in (-1, 0)


@pytest.mark.parametrize("opcode", [0, 17, 30, -1, 2**40])
@pytest.mark.parametrize("run_steps", [dispatch.run_steps.from_python, interpreter.run_steps.from_python])
def test_unknown_operator_is_refused(opcode: int, run_steps) -> None:
    row = replace(valid_row(Opcode.CLAMP_F32), opcode=opcode).row()
    if opcode == Opcode.COPY and run_steps is interpreter.run_steps.from_python:
        row[0] = 16  # Known to the other interpreter alone.
    u8 = np.zeros(SIZE, np.uint8)
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    assert run_steps(memory, row.reshape(1, -1), np.zeros(STEP_WORDS, np.int64), 0, 1) == 0


@pytest.mark.parametrize("opcode", [Opcode.CONV_F32, Opcode.MAX_POOL_F32, Opcode.AVERAGE_POOL_INT8])
def test_work_without_end_is_refused(opcode: Opcode) -> None:
    step = replace(valid_row(opcode), kernel_h=2**20, dilation_h=2**20, pad_top=2**19)
    assert struck(step.row()) == 0


def test_a_step_that_writes_over_the_table_still_runs_as_it_was_checked() -> None:
    raw = np.zeros(SIZE, np.uint8)
    table = raw[: 8 * STEP_WORDS].view(np.int64).reshape(1, -1)
    table[0] = Step(opcode=Opcode.CLAMP_F32, in_a=1024, out=0, in_c=64, high=float_bits(np.inf)).row()
    memory = (raw, raw.view(np.int32), raw.view(np.float32))
    assert dispatch.run_steps.from_python(memory, table, np.zeros(STEP_WORDS, np.int64), 0, 1) == -1
    assert not raw[: 8 * STEP_WORDS].any()


def test_kernels_know_the_columns_and_opcodes_of_the_table() -> None:
    for index, name in enumerate(COLUMNS):
        assert getattr(columns, name.upper()) == index
    for opcode in Opcode:
        assert getattr(codes if opcode >= Opcode.COPY else dispatch, opcode.name) == opcode
    assert codes.RANK == RANK
    assert valid_view(Opcode.COPY).row()[codes.SHAPE : codes.SHAPE + RANK].tolist() == [1, 2, 2, 2, 1, 5]
    assert len(COLUMNS) <= STEP_WORDS


def test_rows_can_be_read_back() -> None:
    step = valid_row(Opcode.CONV_INT8)
    assert Step.from_row(step.row()) == step


@given(st.lists(st.one_of(st.integers(-3, 5000), st.integers(-(2**63), 2**63 - 1)), min_size=3, max_size=3))
def test_volume_is_the_product_or_refused(factors: list[int]) -> None:
    product = factors[0] * factors[1] * factors[2]
    allowed = all(1 <= factor <= bounds.LARGEST_DIMENSION for factor in factors) and product <= 10**6
    assert bounds.volume(*factors, 10**6) == (product if allowed else -1)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5000), st.sampled_from([1, 4]))
def test_fits_is_the_plain_question(offset: int, size: int, alignment: int) -> None:
    expected = offset % alignment == 0 and offset >= 0 and size >= 0 and offset + size <= SIZE
    assert bounds.fits(offset, size, alignment, SIZE) == expected


def test_min_zero_keeps_nan() -> None:
    assert pointwise_f32.min_zero(np.float32(2.0)) == 0.0
    assert pointwise_f32.min_zero(np.float32(-2.0)) == -2.0
    assert np.isnan(pointwise_f32.min_zero(np.float32(np.nan)))
