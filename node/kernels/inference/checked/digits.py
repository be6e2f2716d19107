"""What the sums of a product should take up: inputs times the sums of rows of weights, which are kept as digits.

A row of weights is what one input is multiplied with: one weight for each output channel. Its sum r is kept as bytes,
the digits d of r = d0 + 256 d1 + 65536 d2 + ... from -128 to 127, so that the instruction that multiplies the weights
multiplies the digits too, four at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import intrinsic, ir, kernel, types
from node.kernels.inference.dots import QUAD, Dots
from node.kernels.inference.tiles import LANES, Lanes, Words, emit_loop
from node.kernels.inference.tiles_f32 import ROWS

TAKEN, WEIGHTS, DIGITS, KEPT = 0, LANES, 2 * LANES, 6 * LANES
"""In the words that a checked step counts in: what its sums took up, the sum of its weights, inputs times each digit;
and how many words there are."""

PAIR_CHANNELS = 257
"""So many weights of -128 to 127 sum up to no more than two digits say; more have four."""

BLOCK = 4 * LANES
"""Inputs that are multiplied at once."""


@kernel
def planes_of(channels: int) -> int:
    """Give the digits that the sum of so many weights is kept as."""
    return 2 if channels <= PAIR_CHANNELS else 4


@kernel
def plane_bytes(depth: int) -> int:
    """Give the bytes of one digit of all rows, with room for a whole block."""
    return (depth + BLOCK - 1) // BLOCK * BLOCK


class _Pair:
    """The loops over runs, blocks of inputs and pixels: each block times the digits of two planes.

    Parameters
    ----------
    lanes : Lanes
        Where the code goes and the memory lies.
    together : int
        Pixels side by side, to hide the latency of the multiplier.
    spots, runs : tuple of int64
        Place of the first input, bytes from one pixel to the next, place of the first digit and bytes of a plane;
        runs as for :class:`node.kernels.inference.tiles_f32.Runs`.
    """

    def __init__(self, lanes: Lanes, together: int, spots: Any, runs: Any) -> None:
        self.lanes, self.dots, self.together = lanes, Dots(lanes), together
        b = lanes.builder
        self.left, self.stride, self.digits, self.plane = (b.extract_value(spots, i) for i in range(4))
        self.start, self.number, self.step, self.around, self.length = (b.extract_value(runs, i) for i in range(5))

    def sums(self, count: Any) -> list[Any]:
        """Emit the loops over ``count`` pixels, and give the sums of both planes."""
        lanes, b, wide = self.lanes, self.lanes.builder, ir.IntType(64)
        blocks = b.ashr(b.add(self.length, wide(BLOCK - 1)), wide(6))
        steps = b.sdiv(count, wide(self.together)) if self.together > 1 else count

        def one_run(run: Any, carried: list[Any]) -> list[Any]:
            place, sums = carried[0], carried[1:]
            digits = b.add(self.digits, b.mul(run, self.length))

            def one_block(block: Any, sums: list[Any]) -> list[Any]:
                k = b.shl(block, wide(6))
                factors = [b.add(b.add(digits, b.mul(self.plane, wide(p))), k) for p in range(2)]
                used = self._used(b.sub(self.length, k))
                nothing = ir.Constant(QUAD, None)
                factors = [b.select(used, lanes.load(QUAD, factor, 1), nothing) for factor in factors]
                first = b.add(b.add(self.left, place), k)
                pace = b.mul(self.stride, wide(self.together))

                def some_pixels(index: Any, sums: list[Any]) -> list[Any]:
                    at = b.add(first, b.mul(index, pace))
                    new = []
                    for r in range(self.together):
                        inputs = lanes.load(lanes.words, b.add(at, b.mul(self.stride, wide(r))), 1)
                        new += [self.dots.add_lanes(sums[2 * r + p], inputs, factors[p]) for p in range(2)]
                    return new

                return emit_loop(b, steps, sums, some_pixels)

            sums = emit_loop(b, blocks, sums, one_block)
            following = b.add(place, self.step)
            again = b.icmp_signed(">=", following, self.around)
            return [b.select(again, b.sub(following, self.around), following), *sums]

        begin = [ir.Constant(lanes.words, None)] * (2 * self.together)
        sums = emit_loop(b, self.number, [self.start, *begin], one_run)[1:]
        while len(sums) > 2:
            half = len(sums) // 2
            sums = [b.add(*both) for both in zip(sums[:half], sums[half:], strict=True)]
        return sums

    def _used(self, rest: Any) -> Any:
        """Emit the mask of the first ``rest`` bytes of a block."""
        b, byte = self.lanes.builder, ir.IntType(8)
        most = rest.type(BLOCK)
        rest = b.trunc(b.select(b.icmp_signed("<", rest, most), rest, most), byte)
        one = b.insert_element(ir.Constant(QUAD, ir.Undefined), rest, self.lanes.word(0))
        ends = b.shuffle_vector(one, one, ir.Constant(ir.VectorType(self.lanes.word, BLOCK), [0] * BLOCK))
        return b.icmp_unsigned("<", ir.Constant(QUAD, list(range(BLOCK))), ends)


def _make_pair(together: int) -> Any:
    @intrinsic
    def pair(typing_context: Any, memory: Any, spots: Any, runs: Any, count: Any, kept: Any, word: Any) -> Any:
        del typing_context, count, word

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            room = Words(context, builder, signature.args[4], arguments[4])
            place = builder.shl(arguments[5], arguments[5].type(2))
            for total in _Pair(lanes, together, arguments[1], arguments[2]).sums(arguments[3]):
                room.store(builder.add(room.load(lanes.words, place), total), place)
                place = builder.add(place, place.type(4 * LANES))
            return context.get_dummy_value()

        return types.void(memory, spots, runs, types.int64, kept, types.int64), codegen

    return pair


pair_of_tiles = _make_pair(4)
"""Inputs of pixels, a multiple of four of them, times two digits.

``pair_of_tiles(memory, (left, stride, digits, plane), (start, number, step, around, length), count, kept, word)``: the
inputs of ``count`` pixels as :data:`node.kernels.inference.tiles_int8.tile_int8` takes them, times the digits of a
plane and of the next one, ``plane`` bytes further. The products are added, lane by lane, to sixteen words of ``kept``
from ``word`` on and, of the second plane, to the sixteen words after these. Up to 63 bytes after inputs and digits are
read, and not used.
"""

pair_of_pixels = _make_pair(1)
"""As :data:`pair_of_tiles` for any number of pixels."""


@kernel
def add_expected(u8: Any, count: int, inputs: Any, digits: Any, kept: Any) -> None:
    """Add up what ``count`` pixels should take up, those that a tile computes twice twice.

    ``inputs`` are as ``multiply`` takes them, ``digits`` the place of the digits of the first input, how many planes
    there are, and the bytes of each.
    """
    left, stride, runs = inputs
    place, planes, plane = digits
    for p in range(0, planes, 2):
        spots, word = (left, stride, place + p * plane, plane), DIGITS + p * LANES
        if count < ROWS:
            pair_of_pixels(u8, spots, runs, count, kept, word)
            continue
        pair_of_tiles(u8, spots, runs, count // ROWS * ROWS, kept, word)
        if count % ROWS > 0:
            spots = (left + (count - ROWS) * stride, stride, place + p * plane, plane)
            pair_of_tiles(u8, spots, runs, ROWS, kept, word)


@kernel
def agree(kept: Any, weights: int) -> bool:
    """Tell whether, modulo 2**32, the sums took up what they should have, and the weights sum up to ``weights``."""
    difference, total = np.int32(0), np.int32(-weights)
    for lane in range(LANES):
        expected = np.int32(0)
        for p in range(3, -1, -1):
            expected = np.int32((expected << 8) + kept[DIGITS + p * LANES + lane])
        difference = np.int32(difference + kept[TAKEN + lane] - expected)
        total = np.int32(total + kept[WEIGHTS + lane])
    return bool(difference == 0 and total == 0)
