"""Sixty-four codewords of bytes side by side: transposed by shuffles, divided by a generator with GFNI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from node.jit import cpu_features, intrinsic, ir, types
from node.kernels.codes.blocks import Place

CODEWORDS = 64
CHECKS = 32
MESSAGE = 223

FAST = {"gfni", "avx512vbmi", "avx512bw"} <= cpu_features()
"""The processor multiplies 64 bytes by a matrix and shuffles them in one instruction each."""

REMAINDER = MESSAGE * CODEWORDS
SCRATCH_BYTES = REMAINDER + 64 * CODEWORDS
"""A message byte of all codewords in each row of 64, then the same for their check bytes and rows of zeros."""

ROW = ir.VectorType(ir.IntType(8), CODEWORDS)
_WORDS = ir.VectorType(ir.IntType(64), 8)
_WORD = ir.IntType(64)


def matrix(images: Sequence[int]) -> int:
    """Give the matrix, as the instruction takes it, that turns bit i of a byte into ``images[i]``."""
    rows = (sum((image >> bit & 1) << i for i, image in enumerate(images)) for bit in range(8))
    return sum(row << 8 * (7 - bit) for bit, row in enumerate(rows))


@intrinsic
def turn(
    typing_context: Any, source: Any, offset: Any, stride: Any, target: Any, target_offset: Any, target_stride: Any
) -> Any:
    """Write the transpose of 64 x 64 bytes: rows begin ``stride`` bytes apart."""
    del typing_context, offset, stride, target_offset, target_stride

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not FAST:
            return context.get_dummy_value()

        def row(array: int, offset: Any, stride: Any, number: int) -> Place:
            place = builder.add(offset, builder.mul(stride, _WORD(number)))
            return Place(context, builder, (signature.args[array], arguments[array]), place)

        rows = [row(0, arguments[1], arguments[2], i).load(0, ROW) for i in range(64)]
        # Six times, rows i and i + 32 are interleaved into rows 2 i and 2 i + 1.
        for _ in range(6):
            mixed = []
            for i in range(32):
                for start in (0, 32):
                    order = [start + lane // 2 + 64 * (lane % 2) for lane in range(64)]
                    picks = ir.Constant(ir.VectorType(ir.IntType(32), 64), order)
                    mixed.append(builder.shuffle_vector(rows[i], rows[i + 32], picks))
            rows = mixed
        for i, made in enumerate(rows):
            row(3, arguments[4], arguments[5], i).store(made, 0)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), codegen


@intrinsic
def divide(typing_context: Any, scratch: Any, matrices: Any, offset: Any) -> Any:
    """Divide 64 messages, a byte of each in a row, by a generator of 32 coefficients; write 32 rows at ``offset``."""
    del typing_context, offset

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not FAST:
            # Compiled wherever the kernels are, though it runs only here: other processors know no such instruction.
            return context.get_dummy_value()
        name = "llvm.x86.vgf2p8affineqb.512"
        kind = ir.FunctionType(ROW, [ROW, ROW, ir.IntType(8)])
        known = builder.module.globals.get(name)
        affine = known or ir.Function(builder.module, kind, name)
        factors = Place(context, builder, (signature.args[1], arguments[1]), _WORD(0))

        def scaled(symbols: Any, number: int) -> Any:
            single = builder.insert_element(
                ir.Constant(_WORDS, ir.Undefined), factors.load(8 * number, _WORD), _WORD(0)
            )
            picks = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
            spread = builder.shuffle_vector(single, ir.Constant(_WORDS, ir.Undefined), picks)
            return builder.call(affine, [symbols, builder.bitcast(spread, ROW), ir.IntType(8)(0)])

        entry = builder.block
        loop, done = builder.append_basic_block("divide"), builder.append_basic_block("divided")
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(_WORD)
        i.add_incoming(_WORD(0), entry)
        state = [builder.phi(ROW) for _ in range(CHECKS)]
        place = builder.mul(i, _WORD(CODEWORDS))
        byte = Place(context, builder, (signature.args[0], arguments[0]), place).load(0, ROW)
        feedback = builder.xor(state[0], byte)
        # Each sum follows its product at once: 32 products that wait would not fit the registers beside 32 sums.
        following = [builder.xor(scaled(feedback, number), state[number + 1]) for number in range(CHECKS - 1)]
        following.append(scaled(feedback, CHECKS - 1))
        step = builder.add(i, _WORD(1))
        i.add_incoming(step, loop)
        for old, new in zip(state, following, strict=True):
            old.add_incoming(ir.Constant(ROW, [0] * CODEWORDS), entry)
            old.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", step, _WORD(MESSAGE)), loop, done)
        builder.position_at_end(done)
        remainder = Place(context, builder, (signature.args[0], arguments[0]), arguments[2])
        for number, row in enumerate(following):
            remainder.store(row, number * CODEWORDS)
        return context.get_dummy_value()

    return types.void(scratch, matrices, types.int64), codegen
