"""What the sums of a product should take up: summed inputs times the sums of rows of weights.

A row of weights is what one input is multiplied with: one weight for each output channel. Its sum is kept in 16 bits,
or, of many channels, in two halves. The sum over all pixels of inputs @ sums is (sum over the pixels of inputs) @ sums.
So bytes are added up first, row by row of the input, and multiplied as if they were one row:
of each row of the window the input rows that it meets are those of another one, but for a few at the edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import intrinsic, ir, kernel, types
from node.kernels.inference.bounds import is_dense
from node.kernels.inference.checked.byte_sums import (
    BLOCK,
    MOST_ROWS,
    sum_columns,
)
from node.kernels.inference.checked.counts import (
    EXPECTED,
    LINE,
    TAKEN,
    WEIGHTS,
    copied_together,
    counted_word,
    counts_copies,
    padded_width,
    pixels_of_line,
    settle,
)
from node.kernels.inference.clip import clip
from node.kernels.inference.columns import (
    DILATION_H,
    DILATION_W,
    GROUPS,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_H,
    KERNEL_W,
    OUT_H,
    OUT_W,
    PAD_LEFT,
    PAD_TOP,
    STRIDE_H,
    STRIDE_W,
    ZERO_A,
)
from node.kernels.inference.gather import FEW
from node.kernels.inference.tiles import LANES, TILE_ROWS, Lanes, Words, emit_loop
from node.kernels.inference.tiles_f32 import ROWS

HALF_CHANNELS = 256
"""So many weights of -128 to 127 sum up to no more than 16 bits say; more are kept in two halves."""

HALF_WORDS = ir.VectorType(ir.IntType(16), LANES)


@kernel
def halves_of(channels: int) -> int:
    """Give the halves that the sum of so many weights is kept in."""
    return 1 if channels <= HALF_CHANNELS else 2


@kernel
def half_bytes(depth: int) -> int:
    """Give the bytes of one half of all sums of rows, with room for a whole vector after the last."""
    return (2 * (depth + LANES - 1) + 4 * LANES - 1) // (4 * LANES) * (4 * LANES)


@intrinsic
def add_line(typing_context: Any, memory: Any, sums: Any, kept: Any, line: Any, taps: Any, word: Any) -> Any:
    """Add up the products of a line of summed inputs with sums of rows of weights.

    ``add_line(memory, sums, kept, (start, step, count), (number, apart, length), word)``: ``sums`` is the byte of the
    first of ``number`` times ``length`` int16. The inputs of a pixel are ``number`` runs of ``length`` words, ``apart``
    words from one to the next; those of the first of ``count`` pixels begin at word ``start`` of the line in ``kept``,
    those of the next one ``step`` words further. Lane by lane the products are added to sixteen words of ``kept`` from
    ``word`` on. Up to fifteen values after both are read, and not used.
    """
    del typing_context, sums, word

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        room = Words(context, builder, signature.args[2], arguments[2])
        b, wide = builder, ir.IntType(64)
        start, step, count = (b.extract_value(arguments[3], i) for i in range(3))
        number, apart, length = (b.extract_value(arguments[4], i) for i in range(3))
        nothing = ir.Constant(lanes.words, None)
        pace = b.shl(step, wide(2))

        def one_tap(tap: Any, totals: list[Any]) -> list[Any]:
            first = b.add(b.add(start, wide(LINE)), b.mul(tap, apart))
            factors = b.add(arguments[1], b.shl(b.mul(tap, length), wide(1)))

            def one_vector(index: Any, totals: list[Any]) -> list[Any]:
                at = b.mul(index, wide(LANES))
                place = b.shl(b.add(first, at), wide(2))

                def pixel(number: Any) -> Any:
                    return room.load(lanes.words, b.add(place, b.mul(number, pace)))

                def four_pixels(turn: Any, found: list[Any]) -> list[Any]:
                    for i in range(4):
                        found = [b.add(found[0], pixel(b.add(b.shl(turn, wide(2)), wide(i))))]
                    return found

                def one_pixel(turn: Any, found: list[Any]) -> list[Any]:
                    return [b.add(found[0], pixel(b.add(b.and_(count, wide(-4)), turn)))]

                found = emit_loop(b, b.ashr(count, wide(2)), [nothing], four_pixels)
                inputs = emit_loop(b, b.and_(count, wide(3)), found, one_pixel)[0]
                halves = lanes.load(HALF_WORDS, b.add(factors, b.shl(at, wide(1))), 1)
                products = b.mul(inputs, b.sext(halves, lanes.words))
                used = lanes.first(b.sub(length, at))
                return [b.add(totals[0], b.select(used, products, nothing))]

            return emit_loop(b, b.sdiv(b.add(length, wide(LANES - 1)), wide(LANES)), totals, one_vector)

        place = b.shl(arguments[5], wide(2))
        total = emit_loop(b, number, [room.load(lanes.words, place)], one_tap)[0]
        room.store(total, place)
        return context.get_dummy_value()

    return types.void(memory, types.int64, kept, line, taps, types.int64), codegen


@kernel
def twice(pixels: int, few: int) -> Any:
    """Give the first pixel that a last tile computes once more, moved back to be whole, and the one after the last.

    Up to ``few`` pixels left over are computed one by one.
    """
    return (pixels - ROWS, pixels // ROWS * ROWS) if pixels >= ROWS and pixels % ROWS > few else (0, 0)


@kernel
def sum_rows(u8: Any, rows: Any, length: int, flip: int, kept: Any, at: int) -> None:
    """Write the sums of columns of bytes to the line, from its word ``at`` on; as :data:`sum_columns`."""
    if length >= BLOCK:
        sum_columns(u8, rows, length, flip, kept, LINE + at)
        return
    place, stride, count = rows
    sums = kept.view(np.int32)[LINE + at : LINE + at + length]
    for i in range(length):
        sums[i] = 0
    for _ in range(count):
        for i in range(length):
            sums[i] += np.int32(u8[place + i] ^ flip)
        place += stride


@kernel
def add_halves(u8: Any, kept: Any, line: Any, taps: Any, sums: Any) -> None:
    """Multiply a line; ``sums`` are the place of the first of the sums of rows, how many halves, and bytes of each."""
    place, halves, size = sums
    for half in range(halves):
        add_line(u8, place + half * size, kept, line, taps, EXPECTED + half * LANES)


@kernel
def expect_run(u8: Any, row: Any, pixels: Any, flip: int, kept: Any, sums: Any) -> None:
    """Add up what the pixels of a dense row should take up, from one to the one after the last."""
    begin, end = pixels
    depth = row[IN_C]
    width = pixels_of_line(end - begin, depth)
    while begin < end:
        width = min(width, end - begin)
        count = min(MOST_ROWS, (end - begin) // width)
        sum_rows(u8, (row[IN_A] + begin * depth, width * depth, count), width * depth, flip, kept, 0)
        add_halves(u8, kept, (0, depth, width), (1, 0, depth), sums)
        begin += count * width


@kernel
def expect_pixels(u8: Any, row: Any, flip: int, kept: Any, sums: Any) -> None:
    """Add up what the pixels of a dense row should take up, those that a tile computes twice twice."""
    pixels, depth = row[OUT_H] * row[OUT_W], row[IN_C]
    again, done = twice(pixels, FEW), 0
    if counts_copies(row):
        together = copied_together(depth)
        settle(kept, together * depth, counted_word(row))
        add_halves(u8, kept, (0, depth, together), (1, 0, depth), sums)
        done = pixels // TILE_ROWS * TILE_ROWS
        if again[1] > 0 and ROWS == TILE_ROWS:
            return
    for run in ((done, pixels), again):
        expect_run(u8, row, run, flip, kept, sums)


@kernel
def move_row(u8: Any, row: Any, in_y: int, flip: int, sign: int, line: Any) -> None:
    """Add one row of the input, ``sign`` times, to those that are summed up in ``line``."""
    size, factor = row[IN_W] * row[IN_C], np.int32(sign)
    if 0 <= in_y < row[IN_H]:
        values, bits = u8[row[IN_A] + in_y * size :][:size], np.uint8(flip)
        for i in range(size):
            line[i] += factor * np.int32(values[i] ^ bits)
    else:
        zero = np.int32(sign * ((row[ZERO_A] & 255) ^ flip))
        for i in range(size):
            line[i] += zero


@kernel
def bring_line(u8: Any, row: Any, flip: int, lines: Any, ky: int, kept: Any) -> None:
    """Sum up the input rows that row ``ky`` of the windows meets, for output rows ``lines``.

    The line may hold what was summed up for row ky - turn, where there is one.
    """
    first, count, turn = lines
    size, left, stride = row[IN_W] * row[IN_C], row[PAD_LEFT] * row[IN_C], row[STRIDE_H]
    begin = first * stride + ky * row[DILATION_H] - row[PAD_TOP]
    line = kept.view(np.int32)[LINE + left : LINE + left + size]
    moved = turn * row[DILATION_H] // stride
    if ky >= turn and count > 2 * moved:
        for sign, at in ((-1, begin - moved * stride), (1, begin + (count - moved) * stride)):
            for i in range(moved):
                move_row(u8, row, at + i * stride, flip, sign, line)
        return
    before, inside = clip(begin, stride, count, row[IN_H])
    place = row[IN_A] + (begin + before * stride) * size if inside > 0 else row[IN_A]
    sum_rows(u8, (place, stride * size, inside), size, flip, kept, left)
    outside = np.int32((count - inside) * ((row[ZERO_A] & 255) ^ flip))
    if outside != 0:
        for i in range(size):
            line[i] += outside


@kernel
def expect_lines(u8: Any, row: Any, flip: int, window: Any, kept: Any, sums: Any) -> None:
    """Add up what a rectangle of output pixels should take up.

    ``window`` is the first output row and how many there are, at most ``MOST_ROWS``; the first output column and how
    many there are; the same of columns that count once more. ``sums`` are as :func:`add_halves` takes them, of the
    first group.
    """
    first, count, x, columns, again, more = window
    groups, depth = row[GROUPS], row[IN_C] // row[GROUPS]
    length, pixel = row[KERNEL_W] * depth, row[IN_C]
    joined = groups == 1 and row[DILATION_W] == 1
    taps = (1, 0, length) if joined else (row[KERNEL_W], row[DILATION_W] * pixel, depth)
    place, halves, size = sums
    padding = np.int32(count * ((row[ZERO_A] & 255) ^ flip))
    line = kept.view(np.int32)[LINE : LINE + padded_width(row) * pixel]
    for i in range(row[PAD_LEFT] * pixel):
        line[i] = padding
    for i in range((row[PAD_LEFT] + row[IN_W]) * pixel, line.size):
        line[i] = padding
    turn = 1 if row[DILATION_H] % row[STRIDE_H] == 0 else row[STRIDE_H]
    step = row[STRIDE_W] * pixel
    for start in range(min(turn, row[KERNEL_H])):
        for ky in range(start, row[KERNEL_H], turn):
            bring_line(u8, row, flip, (first, count, turn), ky, kept)
            for group in range(groups):
                own = (place + group * halves * size + 2 * ky * length, halves, size)
                add_halves(u8, kept, (x * step + group * depth, step, columns), taps, own)
                if more > 0:
                    add_halves(u8, kept, (again * step + group * depth, step, more), taps, own)


@kernel
def expect(u8: Any, row: Any, lined: bool, flip: int, kept: Any, sums: Any) -> Any:
    """Add up what a valid row's sums should take up, and give for how many pixels: some are computed twice.

    ``lined`` rows are computed by rows of output; ``flip`` are the bits in which an input differs from what the tiles
    take; ``sums`` are as :func:`add_halves` takes them, of the first group.
    """
    pixels, width = row[OUT_H] * row[OUT_W], row[OUT_W]
    if is_dense(row):
        expect_pixels(u8, row, flip, kept, sums)
    else:
        again, end = twice(width, 0) if lined else (0, 0)
        for first in range(0, row[OUT_H], MOST_ROWS):
            count = min(MOST_ROWS, row[OUT_H] - first)
            expect_lines(u8, row, flip, (first, count, 0, width, again, end - again), kept, sums)
        if lined:
            return row[OUT_H] * (width + end - again)
    start, end = twice(pixels, FEW)
    if not is_dense(row) and end > start:
        for y in range(start // width, (end - 1) // width + 1):
            x, stop = max(0, start - y * width), min(width, end - y * width)
            expect_lines(u8, row, flip, (y, 1, x, stop - x, 0, 0), kept, sums)
    return pixels + end - start


@kernel
def agree(kept: Any, begun: int, weights: int) -> bool:
    """Tell whether, modulo 2**32, the sums took up what they should have, and the weights sum up to ``weights``.

    ``kept`` is the memory to count in as int32, ``begun`` what the sums of all pixels began with.
    """
    difference, total = np.int32(-begun), np.int32(-weights)
    for lane in range(LANES):
        expected = np.int32(kept[EXPECTED + lane] + (kept[EXPECTED + LANES + lane] << 16))
        difference = np.int32(difference + kept[TAKEN + lane] - expected)
        total = np.int32(total + kept[WEIGHTS + lane])
    return bool(difference == 0 and total == 0)
