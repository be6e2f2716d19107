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

HALF_VNNI = not DOT_U8 and bool({"avxvnni", "avx512vnni"} & FEATURES) and vector_bits() == 256
"""vpdpbusd on 256 bits."""

NAMES = {512: "llvm.x86.avx512.pmaddw.d.512", 256: "llvm.x86.avx2.pmadd.wd"}
if "sse4.2" in FEATURES:
    NAMES[128] = "llvm.x86.sse2.pmadd.wd"

PAIRS = "" if DOT_U8 or HALF_VNNI else NAMES.get(vector_bits(), "")
"""pmaddwd: two products of 16-bit numbers to a word. Without SSE 4 it takes too long to widen bytes for it."""

FOURS = DOT_U8 or HALF_VNNI or DOT_S8 or bool(PAIRS)
"""Whether four products to a word take fewer instructions than one after the other."""

SCARCE = bool(PAIRS) and vector_bits() == 128
"""Sixteen registers of 128 bits: the sums of a tile do not fit, and are kept on the stack."""

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
            return self.in_lanes(rows)
        if PAIRS:
            rows = [lanes.load(lanes.bytes, b.add(place, place.type(LANES * i)), 1) for i in range(4)]
            return [self._widened(*rows[i::2]) for i in range(2)]
        packed = lanes.load(QUAD, place, 1)
        return b.shuffle_vector(packed, packed, self._fours())

    def in_lanes(self, rows: list[Any]) -> Any:
        """Emit four rows of sixteen bytes as four bytes a lane."""
        b = self.lanes.builder
        if NEON:
            return self._joined([in_register(b, column) for column in columns_of_four(b, rows)])
        joined = self._joined(rows)
        return b.shuffle_vector(joined, joined, self._fours())

    def _fours(self) -> Any:
        order = [LANES * (i % 4) + i // 4 for i in range(4 * LANES)]
        return ir.Constant(ir.VectorType(self.lanes.word, 4 * LANES), order)

    def add(self, total: Any, inputs: Any, weights: Any) -> Any:
        """Emit sums plus the dot products of four inputs, a word, with the four bytes of each lane."""
        if NEON and not DOT_S8:
            parts = [self._part(total, first, 4) for first in range(0, LANES, 4)]
            return self._joined(add_products(self.lanes.builder, parts, inputs, weights))
        if PAIRS:
            return self._pairs(total, self.lanes.splat(inputs), weights)
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
            eight, signed = self._halves(8), b.bitcast(weights, HALVES)
            return self._pairs(total, values, [b.ashr(b.shl(signed, eight), eight), b.ashr(signed, eight)])
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

    def _halves(self, value: int) -> Any:
        return ir.Constant(HALVES, [value] * 2 * LANES)

    def _widened(self, first: Any, second: Any) -> Any:
        """Two rows of sixteen signed bytes as 16-bit numbers, in turn."""
        b, kind = self.lanes.builder, ir.VectorType(ir.IntType(16), LANES)
        order = [i // 2 + LANES * (i % 2) for i in range(2 * LANES)]
        mask = ir.Constant(ir.VectorType(self.lanes.word, 2 * LANES), order)
        return b.shuffle_vector(b.sext(first, kind), b.sext(second, kind), mask)

    def _pairs(self, total: Any, values: Any, weights: list[Any]) -> Any:
        """Even and odd bytes of ``values`` times 16-bit numbers."""
        b, size = self.lanes.builder, vector_bits() // 32
        halves = b.bitcast(values, HALVES)
        operands = zip((b.and_(halves, self._halves(255)), b.lshr(halves, self._halves(8))), weights, strict=True)
        kind, number = ir.VectorType(self.lanes.word, size), ir.VectorType(ir.IntType(16), 2 * size)
        multiply = b.module.globals.get(PAIRS) or ir.Function(b.module, ir.FunctionType(kind, [number] * 2), PAIRS)
        products = [
            self._joined(
                [
                    b.call(multiply, [self._part(side, 2 * first, 2 * size) for side in pair])
                    for first in range(0, LANES, size)
                ]
            )
            for pair in operands
        ]
        return b.add(total, b.add(*products))

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
