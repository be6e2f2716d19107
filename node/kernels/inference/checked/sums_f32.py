"""What the floats of a pixel should sum up to: its inputs times sums of rows of weights, within a bound on rounding.

Sums of floats are rounded, so they agree only up to a bound. With u = 2**-24 and gamma(n) = n u / (1 - n u) (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 3.1 and Lemma 3.3), K products, N channels, and
A = sum of |bias| + sum over k of |input k| (sum of |weights k|):

* an output is K fused multiply-adds, off by at most gamma(K) times its share of A;
* outputs are added in lanes of ceil(N / 16) additions: gamma(ceil(N / 16)) of the sum of their magnitudes;
* the reference is lanes of R fused multiply-adds, R = ceil(length / 16) for each run of inputs, on row sums of the
  weights rounded once, and a sum of the biases rounded once: gamma(R + 2) A.

Together they are within gamma(n) A for n = K + ceil(N / 16) + R + 4; what is added in float64 is far below the last of
these, and each operation that underflows adds at most 2**-150. So a sound step raises no alarm, whatever its values.
Where A exceeds a quarter of the largest float32, or is not a number, a sound step may overflow: then nothing is said.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, f64_from_bits, intrinsic, ir, kernel, part, types
from node.kernels.inference.kinds import BYTES, CHECK_F32, INT, NOTHING, RUNS
from node.kernels.inference.taps import load_columns
from node.kernels.inference.tiles import LANES, Lanes, Words, emit_loop
from node.kernels.inference.tiles_f32 import HEAD_BYTES, ROWS, SLOT_BYTES

UNIT = 2.0**-24
"""Largest relative error of rounding to float32."""

UNDERFLOW = 2.0**-149
"""Twice the largest error of an operation whose result underflows."""

LARGEST = 2.0**126
"""A quarter of where float32 ends."""

QUICK = 0.9
"""Share of the bound that may be taken of the computed outputs, whose magnitudes are at most A and a little."""


@kernel
def group_words(depth: int) -> int:
    """Give the words of check data of one group: row sums of weights, of their magnitudes, and two more sums."""
    return 2 * ((depth + LANES - 1) // LANES * LANES) + LANES


def _summed(lanes: Lanes, floats: Any) -> Any:
    """Emit the sum of sixteen floats as float64, in a fixed order."""
    b = lanes.builder
    total = b.fpext(floats, ir.VectorType(ir.DoubleType(), LANES))
    half = LANES // 2
    while half:
        nothing = ir.Constant(total.type, ir.Undefined)
        parts = [
            b.shuffle_vector(total, nothing, ir.Constant(ir.VectorType(lanes.word, half), list(range(at, at + half))))
            for at in (0, half)
        ]
        total = b.fadd(*parts)
        half //= 2
    return b.extract_element(total, ir.Constant(lanes.word, 0))


def _emit_expected(lanes: Lanes, rows: int, spots: Any, runs: Any) -> list[Any]:
    """Emit the products of the inputs of some pixels with the row sums, lane by lane."""
    b, wide = lanes.builder, ir.IntType(64)
    left, stride, sums = (b.extract_value(spots, i) for i in range(3))
    start, number, step, around, length = (b.extract_value(runs, i) for i in range(5))
    lefts = [b.add(left, b.mul(stride, wide(r))) for r in range(rows)]
    rest = b.and_(length, wide(LANES - 1))

    def one_run(run: Any, carried: list[Any]) -> list[Any]:
        place, totals = carried[0], carried[1:]
        row = b.add(sums, b.mul(run, b.shl(length, wide(2))))

        def some(at: Any, totals: list[Any], width: Any) -> list[Any]:
            factor = load_columns(lanes, lanes.floats, b.add(row, at), width)
            values = [load_columns(lanes, lanes.floats, b.add(b.add(one, place), at), width) for one in lefts]
            return [lanes.call("llvm.fma", [value, factor, total]) for value, total in zip(values, totals, strict=True)]

        def one_block(block: Any, totals: list[Any]) -> list[Any]:
            return some(b.shl(block, wide(6)), totals, None)

        def the_rest(_: Any, totals: list[Any]) -> list[Any]:
            return some(b.shl(b.sub(length, rest), wide(2)), totals, rest)

        totals = emit_loop(b, b.ashr(length, wide(4)), totals, one_block)
        totals = emit_loop(b, b.zext(b.icmp_signed(">", rest, wide(0)), wide), totals, the_rest)
        following = b.add(place, step)
        again = b.icmp_signed(">=", following, around)
        return [b.select(again, b.sub(following, around), following), *totals]

    nothing = ir.Constant(lanes.floats, [0.0] * LANES)
    return emit_loop(b, number, [start, *[nothing] * rows], one_run)[1:]


def _make_compare(rows: int) -> Any:
    @intrinsic
    def compare(typing_context: Any, memory: Any, spots: Any, runs: Any, kept: Any, slot: Any) -> Any:
        del typing_context, slot

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            room = Words(context, builder, signature.args[3], arguments[3])
            place = builder.add(builder.mul(arguments[4], room.size.type(SLOT_BYTES)), room.size.type(HEAD_BYTES))
            for expected in _emit_expected(lanes, rows, arguments[1], arguments[2]):
                later = builder.add(place, place.type(4 * LANES))
                total = _summed(lanes, room.load(lanes.floats, place))
                magnitude = _summed(lanes, room.load(lanes.floats, later))
                room.store(builder.fsub(total, _summed(lanes, expected)), place)
                room.store(magnitude, builder.add(place, place.type(8)))
                place = builder.add(place, place.type(SLOT_BYTES))
            return context.get_dummy_value()

        return types.void(memory, spots, runs, kept, types.int64), codegen

    return compare


compare_tile = _make_compare(ROWS)
"""Compare ``ROWS`` pixels with what they should sum up to.

``compare_tile(memory, (left, stride, sums), (start, number, step, around, length), kept, slot)``: the inputs of the
pixels as :data:`node.kernels.inference.tiles_f32.tile_f32` takes them, the place of the row sums, and the first of the
slots of ``kept`` in which tiles counted these pixels. Each slot is given, as two float64, by how much its sum is above
the inputs times the row sums, and its sum of magnitudes.
"""

compare_row = _make_compare(1)
"""As :data:`compare_tile` for one pixel."""


@kernel
def float_at(u8: Any, place: int) -> Any:
    """Give the float32 at a byte of the arena."""
    bits = np.int64(0)
    for i in range(4):
        bits |= np.int64(u8[place + i]) << (8 * i)
    return f32_from_bits(bits)


@kernel
def gamma_of(channels: int, runs: Any) -> float:
    """Give the relative bound of a pixel's sums, 0 where it is too large to say anything."""
    products = runs[1] * (runs[4] + (runs[4] + LANES - 1) // LANES)
    n = products + (channels + LANES - 1) // LANES + 4
    return n * UNIT / (1.0 - n * UNIT) if n * UNIT < 0.25 else 0.0


@kernel
def within_bound(u8: Any, difference: float, left: int, runs: Any, spot: Any) -> bool:
    """Tell whether the sums of a pixel, whose inputs are at ``left``, differ by no more than rounding explains.

    ``spot`` is the channels, the place of the check data, and the words from row sums to sums of magnitudes.
    """
    channels, sums, blocks = spot
    at, number, step, around, length = runs
    bound = np.float64(float_at(u8, sums + 4 * (2 * blocks + 1)))
    for run in range(number):
        for k in range(length):
            magnitude = np.float64(float_at(u8, sums + 4 * (blocks + run * length + k)))
            bound += np.float64(abs(float_at(u8, left + at + 4 * k))) * magnitude
        at += step
        at -= around if at >= around else 0
    if not bound <= LARGEST:
        return True
    least = 2 * (number * length + LANES) * channels * UNDERFLOW
    return bool(abs(difference) <= gamma_of(channels, runs) * bound + least)


@kernel
def check_slots(u8: Any, count: int, channels: int, inputs: Any, check: Any) -> None:
    """Judge what slots hold of ``count`` pixels; the first word of ``kept`` becomes 1 where one is not sound.

    ``inputs`` are as ``multiply`` takes them; ``check`` is ``kept`` and the place of the check data of the group.
    """
    left, stride, runs = inputs
    kept, sums = check
    blocks = (runs[1] * runs[4] + LANES - 1) // LANES * LANES
    gamma = gamma_of(channels, runs)
    if gamma == 0.0:
        return
    bias = np.float64(float_at(u8, sums + 8 * blocks))
    slots = count if count < ROWS else (count + ROWS - 1) // ROWS * ROWS
    for slot in range(slots):
        word = (HEAD_BYTES + slot * SLOT_BYTES) // 8
        difference, magnitude = f64_from_bits(kept[word]) - bias, f64_from_bits(kept[word + 1])
        if magnitude <= LARGEST and abs(difference) <= QUICK * gamma * magnitude:
            continue
        pixel = slot if count < ROWS else min(slot // ROWS * ROWS, count - ROWS) + slot % ROWS
        if not within_bound(u8, difference, left + pixel * stride, runs, (channels, sums, blocks)):
            kept[0] = 1


@part(NOTHING, BYTES, INT, INT, RUNS, CHECK_F32)
def check_pixels(u8: Any, count: int, channels: int, inputs: Any, check: Any) -> None:
    """Compare ``count`` pixels that tiles have counted with what they should sum up to; as :func:`check_slots`."""
    left, stride, runs = inputs
    kept, sums = check
    if count < ROWS:
        for r in range(count):
            compare_row(u8, (left + r * stride, stride, sums), runs, kept, r)
    else:
        for start in range(0, count, ROWS):
            compare_tile(u8, (left + min(start, count - ROWS) * stride, stride, sums), runs, kept, start)
    check_slots(u8, count, channels, inputs, check)


@kernel
def clear_slots(count: int, kept: Any) -> None:
    """Empty the slots of ``count`` pixels."""
    slots = (count + ROWS - 1) // ROWS * ROWS
    words = kept[HEAD_BYTES // 8 : (HEAD_BYTES + slots * SLOT_BYTES) // 8]
    for i in range(words.size):
        words[i] = 0
