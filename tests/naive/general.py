"""Slow twins of the general steps: views of an arena as numpy arrays, one formula each."""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.special

from node.kernels.inference.general import codes
from node.model.steps import Opcode
from node.model.views import RANK, ViewStep
from tests.naive.inference import fma_f32

DTYPES = {codes.U8: "u1", codes.I8: "i1", codes.I32: "i4", codes.I64: "i8", codes.F32: "f4", codes.BOOL: "u1"}


def filled(values, filler: int) -> list[int]:
    return [filler] * (RANK - len(values)) + list(values)


def places(shape, strides):
    """Element offsets of a view in row order."""
    for index in itertools.product(*map(range, shape)):
        yield sum(i * s for i, s in zip(index, strides, strict=True))


def view(u8: np.ndarray, offset: int, dtype: str, shape, strides) -> np.ndarray:
    item = np.dtype(dtype).itemsize
    memory = u8[: len(u8) // item * item].view(dtype)
    return np.array([memory[offset // item + place] for place in places(shape, strides)], dtype)


def put(u8: np.ndarray, offset: int, values: np.ndarray) -> None:
    u8[offset : offset + values.nbytes] = np.ascontiguousarray(values).view(np.uint8).reshape(-1)


def function_of_one(code: int, x: float, alpha: float, beta: float) -> float:
    table = {
        codes.ABS: abs,
        codes.NEG: lambda v: -v,
        codes.RECIPROCAL: lambda v: np.float64(1) / np.float64(v),
        codes.SQRT: np.sqrt,
        codes.EXP: np.exp,
        codes.LOG: np.log,
        codes.ERF: scipy.special.erf,
        codes.TANH: np.tanh,
        codes.SIGMOID: scipy.special.expit,
        codes.HARD_SIGMOID: lambda v: np.clip(alpha * v + beta, 0, 1),
        codes.HARD_SWISH: lambda v: v * np.clip(alpha * v + beta, 0, 1),
        codes.LEAKY_RELU: lambda v: alpha * v if v < 0 else v,
        codes.ELU: lambda v: v if v > 0 else alpha * np.expm1(v),
        codes.SELU: lambda v: beta * (v if v > 0 else alpha * np.expm1(v)),
        codes.SOFTPLUS: lambda v: np.logaddexp(0, v),
        codes.GELU: lambda v: v * scipy.special.ndtr(v),
        codes.GELU_TANH: lambda v: 0.5 * v * (1 + np.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
        codes.FLOOR: np.floor,
        codes.CEIL: np.ceil,
        codes.ROUND: np.rint,
        codes.SIGN: np.sign,
        codes.SOFTSIGN: lambda v: v / (1 + abs(v)),
        codes.RELU: lambda v: 0.0 if v < 0 else v,
        codes.AFFINE: lambda v: alpha * v + beta,
    }
    return float(table[code](np.float64(x)))


FUNCTIONS_OF_TWO = {
    codes.ADD: np.add,
    codes.SUB: np.subtract,
    codes.MUL: np.multiply,
    codes.DIV: np.divide,
    codes.MAX: np.maximum,
    codes.MIN: np.minimum,
    codes.POW: np.power,
    codes.PRELU: lambda a, b: np.where(a < 0, a * b, a),
    codes.EQUAL: np.equal,
    codes.LESS: np.less,
    codes.LESS_EQUAL: np.less_equal,
    codes.GREATER: np.greater,
    codes.GREATER_EQUAL: np.greater_equal,
    codes.AND: np.bitwise_and,
    codes.OR: np.bitwise_or,
    codes.XOR: np.bitwise_xor,
    codes.INT_ABS: lambda a, b: np.abs(a),
    codes.INT_NEG: lambda a, b: -a,
    codes.INT_NOT: lambda a, b: a == 0,
    codes.INT_SIGN: lambda a, b: np.sign(a),
}


def copy(u8: np.ndarray, step: ViewStep, shapes) -> None:
    shape, a, b = shapes
    dtype = DTYPES[step.kinds & 7]
    memory = u8.view(dtype)
    item = np.dtype(dtype).itemsize
    for source, target in zip(places(shape, a), places(shape, b), strict=True):
        memory[step.out // item + target] = memory[step.in_a // item + source]


def elementwise(u8: np.ndarray, step: ViewStep, shapes) -> None:
    shape, a, b = shapes
    kind, result = step.kinds & 7, step.kinds >> 3
    first = view(u8, step.in_a, DTYPES[kind], shape, a)
    second = view(u8, step.in_b, DTYPES[kind], shape, b)
    if step.opcode == Opcode.BINARY_INT:
        first, second = first.astype(np.int64), second.astype(np.int64)
    value = FUNCTIONS_OF_TWO[step.function](first, second)
    put(u8, step.out, (value != 0).astype("u1") if result == codes.BOOL else value.astype(DTYPES[result]))


def mapped(u8: np.ndarray, step: ViewStep, shapes) -> None:
    count = int(np.prod(shapes[0]))
    alpha, beta = (float(np.uint32(bits).view(np.float32)) for bits in (step.alpha, step.beta))
    values = u8[step.in_a : step.in_a + 4 * count].view(np.float32)
    put(u8, step.out, np.array([function_of_one(step.function, v, alpha, beta) for v in values], np.float32))


def select(u8: np.ndarray, step: ViewStep, shapes) -> None:
    shape, a, b = shapes
    dtype = DTYPES[step.kinds >> 3]
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    condition = view(u8, step.in_a, "u1", shape, a)
    old = u8[step.out : step.out + size].view(dtype)
    put(u8, step.out, np.where(condition != 0, view(u8, step.in_b, dtype, shape, b), old))


def cast(u8: np.ndarray, step: ViewStep, shapes) -> None:
    count = int(np.prod(shapes[0]))
    kind, result = step.kinds & 7, step.kinds >> 3
    values = view(u8, step.in_a, DTYPES[kind], (count,), (1,))
    if kind == codes.BOOL:
        values = (values != 0).astype(np.int64)
    if result == codes.BOOL:
        put(u8, step.out, (values != 0).astype("u1"))
    elif kind == codes.F32 and result != codes.F32:
        put(u8, step.out, np.trunc(values).astype(np.int64).astype(DTYPES[result]))
    else:
        put(u8, step.out, values.astype(DTYPES[result]))


def reduce(u8: np.ndarray, step: ViewStep, shapes) -> None:
    shape, strides, _ = shapes
    kind, result = step.kinds & 7, step.kinds >> 3
    values = view(u8, step.in_a, DTYPES[kind], shape, strides).reshape(math.prod(shape[:3]), -1)
    wide = values.astype(np.float64 if kind == codes.F32 else np.int64)
    last = values.shape[1] - 1
    table = {
        codes.SUM: lambda v: [sum(line) for line in v],
        codes.MEAN: lambda v: [sum(line) / len(line) for line in v],
        codes.LARGEST: lambda v: v.max(1),
        codes.SMALLEST: lambda v: v.min(1),
        codes.PRODUCT: lambda v: v.prod(1),
        codes.ARG_MAX: lambda v: v.argmax(1),
        codes.ARG_MIN: lambda v: v.argmin(1),
        codes.ARG_MAX_LAST: lambda v: last - v[:, ::-1].argmax(1),
        codes.ARG_MIN_LAST: lambda v: last - v[:, ::-1].argmin(1),
    }
    out = np.asarray(table[step.function](wide))
    put(u8, step.out, (np.trunc(out) if result != codes.F32 else out).astype(DTYPES[result]))


def matmul(u8: np.ndarray, step: ViewStep, shapes) -> None:
    shape, a, b = shapes
    left = view(u8, step.in_a, "f4", shape, a).reshape(shape)
    right = view(u8, step.in_b, "f4", shape, b).reshape(shape)
    sums = np.zeros(shape[:-1], np.float32)
    for place in np.ndindex(*shape):
        sums[place[:-1]] = fma_f32(left[place], right[place], sums[place[:-1]])
    put(u8, step.out, sums)


def gather(u8: np.ndarray, step: ViewStep, shapes) -> None:
    outer, axis, taken, inner, *_ = shapes[0]
    dtype = DTYPES[step.kinds >> 3]
    source = view(u8, step.in_a, dtype, (outer * axis * inner,), (1,)).reshape(outer, axis, inner)
    indices = view(u8, step.in_b, DTYPES[step.kinds & 7], (taken,), (1,))
    put(u8, step.out, np.take(source, indices, axis=1, mode="wrap"))


TWINS = {
    Opcode.COPY: copy,
    Opcode.MAP_F32: mapped,
    Opcode.BINARY_F32: elementwise,
    Opcode.COMPARE_F32: elementwise,
    Opcode.BINARY_INT: elementwise,
    Opcode.SELECT: select,
    Opcode.CAST: cast,
    Opcode.REDUCE_F32: reduce,
    Opcode.REDUCE_INT: reduce,
    Opcode.MATMUL_F32: matmul,
    Opcode.GATHER: gather,
}
"""LSTM and GRU are judged by whole networks against onnxruntime."""


def run_step(u8: np.ndarray, step: ViewStep) -> None:
    """Run one valid step on a memory."""
    shapes = (filled(step.shape, 1), filled(step.strides_a, 0), filled(step.strides_b, 0))
    with np.errstate(all="ignore"):
        TWINS[Opcode(step.opcode)](u8, step, shapes)
