"""What products of bytes become on Arm: the steps that its compiler does not find by itself."""

from __future__ import annotations

from typing import Any

from node.jit import ir

PART = 4
"""Lanes of 32 bits in a register."""


def interleaved(builder: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Give the elements of two vectors in turn: their lower halves and their upper halves (zip1, zip2)."""
    size = a.type.count
    kind = ir.VectorType(ir.IntType(32), size)
    halves = []
    for first in (0, size // 2):
        order = [first + i // 2 + size * (i % 2) for i in range(size)]
        halves.append(builder.shuffle_vector(a, b, ir.Constant(kind, order)))
    return halves[0], halves[1]


def columns_of_four(builder: Any, rows: list[Any]) -> list[Any]:
    """Give four rows of sixteen bytes as sixteen columns of four bytes, four columns a register.

    Left to itself, the compiler looks each byte up in a table that it loads anew in every turn of the loop.
    """
    pairs = ir.VectorType(ir.IntType(16), rows[0].type.count // 2)
    columns = []
    upper, lower = interleaved(builder, rows[0], rows[1]), interleaved(builder, rows[2], rows[3])
    for first, second in zip(upper, lower, strict=True):
        both = builder.bitcast(first, pairs), builder.bitcast(second, pairs)
        columns += [builder.bitcast(half, rows[0].type) for half in interleaved(builder, *both)]
    return columns


def widened_parts(builder: Any, row: Any) -> list[Any]:
    """Give sixteen signed bytes as four registers of four 16-bit numbers, two of which are halves of one."""
    kind = ir.VectorType(ir.IntType(16), 2 * PART)
    parts = []
    for first in (0, 2 * PART):
        wide = in_register(builder, builder.sext(_cut(builder, row, first, 2 * PART), kind))
        parts += [_cut(builder, wide, 0, PART), _cut(builder, wide, PART, PART)]
    return parts


def in_register(builder: Any, vector: Any) -> Any:
    """Give a vector as it is, made in a register by now: what is done with it is not mixed with how it was made."""
    kind = ir.FunctionType(vector.type, [vector.type])
    return builder.call(ir.InlineAsm(kind, "", "=w,0", side_effect=False), [vector])


def _cut(builder: Any, vector: Any, first: int, size: int) -> Any:
    order = ir.Constant(ir.VectorType(ir.IntType(32), size), list(range(first, first + size)))
    return builder.shuffle_vector(vector, vector, order)


def add_products(builder: Any, totals: list[Any], inputs: Any, weights: list[list[Any]]) -> list[Any]:
    """Add four unsigned bytes, a word, times four rows of :func:`widened_parts` to four registers of sums (smlal)."""
    quad, kind = ir.VectorType(ir.IntType(8), PART), ir.VectorType(ir.IntType(16), PART)
    values = builder.zext(builder.bitcast(inputs, quad), kind)
    for i, row in enumerate(weights):
        value = builder.shuffle_vector(values, values, ir.Constant(ir.VectorType(ir.IntType(32), PART), [i] * PART))
        totals = [builder.add(total, _product(builder, part, value)) for total, part in zip(totals, row, strict=True)]
    return totals


def _product(builder: Any, a: Any, b: Any) -> Any:
    name, result = "llvm.aarch64.neon.smull.v4i32", ir.VectorType(ir.IntType(32), PART)
    known = builder.module.globals.get(name)
    kind = ir.FunctionType(result, [a.type, b.type])
    return builder.call(known or ir.Function(builder.module, kind, name), [a, b])
