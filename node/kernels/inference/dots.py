"""Products of four bytes at once: one instruction where the CPU has it, the same integers where it has not."""

from __future__ import annotations

from typing import Any

from node.jit import cpu_features, ir, vector_bits
from node.kernels.inference.neon import add_products, columns_of_four, in_register, widened_parts
from node.kernels.inference.tiles import LANES, Lanes

FEATURES = cpu_features()

DOT_U8 = "avx512vnni" in FEATURES and vector_bits() == 512
"""vpdpbusd on 512 bits: unsigned times signed bytes, four products to a word."""

DOT_S8 = "dotprod" in FEATURES
"""sdot of Arm: signed times signed bytes."""

NEON = "neon" in FEATURES
"""Arm: without sdot each byte is widened, then multiplied by smlal."""

PAIRS = {512: "llvm.x86.avx512.pmaddw.d.512", 256: "llvm.x86.avx2.pmadd.wd"}.get(vector_bits(), "")
"""pmaddwd: two products of 16-bit numbers to a word."""

HALF_VNNI = not DOT_U8 and bool({"avxvnni", "avx512vnni"} & FEATURES) and vector_bits() == 256
"""vpdpbusd on 256 bits."""

OFFSET = 128 if DOT_S8 else 0
"""What :class:`Dots` wants subtracted from inputs, so that they are signed bytes."""

QUAD = ir.VectorType(ir.IntType(8), 4 * LANES)
HALVES = ir.VectorType(ir.IntType(16), 2 * LANES)


class Dots:
    """Emits sums + inputs @ weights for four inputs and sixteen columns."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes

    def weights(self, place: Any) -> Any:
        """Emit the load of weights [4][16] as the operand of :meth:`add`: four bytes a lane."""
        lanes, b = self.lanes, self.lanes.builder
        if NEON:
            rows = [lanes.load(lanes.bytes, b.add(place, place.type(LANES * i)), 1) for i in range(4)]
            if not DOT_S8:
                return [widened_parts(b, row) for row in rows]
            return self._joined([in_register(b, column) for column in columns_of_four(b, rows)])
        packed = lanes.load(QUAD, place, 1)
        order = [16 * (i % 4) + i // 4 for i in range(4 * LANES)]
        kind = ir.VectorType(lanes.word, 4 * LANES)
        return b.shuffle_vector(packed, packed, ir.Constant(kind, order))

    def add(self, total: Any, inputs: Any, weights: Any) -> Any:
        """Emit sums plus the dot products of four inputs, a word, with the four bytes of each lane."""
        if NEON and not DOT_S8:
            parts = [self._part(total, first, 4) for first in range(0, LANES, 4)]
            return self._joined(add_products(self.lanes.builder, parts, inputs, weights))
        return self.add_lanes(total, self.lanes.splat(inputs), weights)

    def add_lanes(self, total: Any, values: Any, weights: Any) -> Any:
        """Emit sums plus, lane by lane, the dot product of four inputs, a word of ``values``, with four bytes."""
        lanes, b = self.lanes, self.lanes.builder
        if DOT_U8:
            return self._call("llvm.x86.avx512.vpdpbusd.512", [total, b.bitcast(values, QUAD), weights])
        if HALF_VNNI:
            return self._parts("llvm.x86.avx512.vpdpbusd.256", 2, [total, values, weights])
        if DOT_S8:
            return self._parts("llvm.aarch64.neon.sdot.v4i32.v16i8", 4, [total, values, weights])
        if PAIRS:
            return self._pairs(total, values, weights)
        words = b.bitcast(weights, lanes.words)
        for i in range(4):
            weight = b.ashr(b.shl(words, self._words(24 - 8 * i)), self._words(24))
            value = b.and_(b.lshr(values, self._words(8 * i)), self._words(255))
            total = b.add(total, b.mul(value, weight))
        return total

    def _words(self, value: int) -> Any:
        return ir.Constant(self.lanes.words, [value] * LANES)

    def _call(self, name: str, arguments: list[Any]) -> Any:
        b = self.lanes.builder
        known = b.module.globals.get(name)
        kind = ir.FunctionType(arguments[0].type, [argument.type for argument in arguments])
        return b.call(known or ir.Function(b.module, kind, name), arguments)

    def _parts(self, name: str, parts: int, arguments: list[Any]) -> Any:
        """Call for each part of the lanes."""
        total, values, weights = arguments
        size = LANES // parts
        done = [
            self._call(
                name,
                [
                    self._part(total, first, size),
                    self._part(self.lanes.builder.bitcast(values, QUAD), 4 * first, 4 * size),
                    self._part(weights, 4 * first, 4 * size),
                ],
            )
            for first in range(0, LANES, size)
        ]
        return self._joined(done)

    def _pairs(self, total: Any, values: Any, weights: Any) -> Any:
        """Even and odd bytes, widened to 16 bits where they are."""
        lanes, b = self.lanes, self.lanes.builder
        eight, low = (ir.Constant(HALVES, [value] * 2 * LANES) for value in (8, 255))
        bytes_, signed = b.bitcast(values, HALVES), b.bitcast(weights, HALVES)
        operands = [
            (b.and_(bytes_, low), b.ashr(b.shl(signed, eight), eight)),
            (b.lshr(bytes_, eight), b.ashr(signed, eight)),
        ]
        for value, weight in operands:
            size = vector_bits() // 32
            done = []
            for first in range(0, LANES, size):
                pair = [self._part(side, 2 * first, 2 * size) for side in (value, weight)]
                kind = ir.FunctionType(ir.VectorType(lanes.word, size), [side.type for side in pair])
                known = b.module.globals.get(PAIRS)
                done.append(b.call(known or ir.Function(b.module, kind, PAIRS), pair))
            total = b.add(total, self._joined(done))
        return total

    def _part(self, vector: Any, first: int, size: int) -> Any:
        if vector.type.count == size:
            return vector
        order = ir.Constant(ir.VectorType(self.lanes.word, size), list(range(first, first + size)))
        return self.lanes.builder.shuffle_vector(vector, vector, order)

    def _joined(self, parts: list[Any]) -> Any:
        b = self.lanes.builder
        while len(parts) > 1:
            count = 2 * parts[0].type.count
            order = ir.Constant(ir.VectorType(self.lanes.word, count), list(range(count)))
            parts = [b.shuffle_vector(parts[i], parts[i + 1], order) for i in range(0, len(parts), 2)]
        return parts[0]
