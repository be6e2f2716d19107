"""Integer tiles over runs of bytes: four products an instruction, sums in registers, bytes at the end.

Inputs are unsigned bytes u and stand for u - shift, with the zero point in the shift. Since int32 sums wrap, the
sum of (u - shift) w is that of u w minus shift times the sum of w: the latter is part of the sums' beginning.
"""

from __future__ import annotations

from typing import Any

from node.jit import cgutils, intrinsic, ir, types
from node.kernels.inference.dots import SCARCE, Dots
from node.kernels.inference.tiles import LANES, Lanes, Words, emit_loop, requantise
from node.kernels.inference.tiles_f32 import PAIR, ROWS, store_columns


class Cells:
    """Sums on the stack, each read and written once for four products: left to itself, the compiler moves far more.

    Parameters
    ----------
    lanes : Lanes
        Where the code goes.
    begin : list
        What the sums begin with.
    """

    def __init__(self, lanes: Lanes, begin: list[Any]) -> None:
        self.builder = b = lanes.builder
        place = cgutils.alloca_once(b, lanes.words, len(begin))  # type: ignore[no-untyped-call]
        self.count, kind = len(begin), place.type
        # The compiler must not know whose memory this is, else it makes registers of it again.
        self.place = b.call(ir.InlineAsm(ir.FunctionType(kind, [kind]), "", "=r,0", side_effect=True), [place])
        for index, total in enumerate(begin):
            self.write(index, total)

    def begin_round(self) -> None:
        """Emit that no cell is known from the round before."""
        self.builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", side_effect=True), [])

    def read(self, index: int) -> Any:
        """Emit the load of a sum."""
        return self.builder.load(self.builder.gep(self.place, [ir.IntType(32)(index)]))

    def write(self, index: int, total: Any) -> None:
        """Emit the store of a sum."""
        self.builder.store(total, self.builder.gep(self.place, [ir.IntType(32)(index)]))


class ByteRuns:
    """The loop over runs of bytes.

    Parameters
    ----------
    lanes : Lanes
        Where the code goes and the memory lies.
    spots, runs : tuple of int64
        As for :class:`node.kernels.inference.tiles_f32.Runs`.
    """

    def __init__(self, lanes: Lanes, spots: Any, runs: Any) -> None:
        self.lanes, self.dots = lanes, Dots(lanes)
        b = lanes.builder
        self.left, self.weights, self.begin, self.stride = (b.extract_value(spots, i) for i in range(4))
        self.start, self.number, self.step, self.around, self.length = (b.extract_value(runs, i) for i in range(5))

    def sums(self, rows: int, panels: int) -> list[Any]:
        """Emit the loops and give the sums, panel by panel within a row."""
        lanes, b, wide = self.lanes, self.lanes.builder, ir.IntType(64)
        begin = [lanes.load(lanes.words, b.add(self.begin, wide(4 * LANES * p))) for p in range(panels)]
        cells = Cells(lanes, begin * rows) if SCARCE else None
        count = 0 if cells else rows * panels
        panel_bytes = b.mul(b.mul(self.number, self.length), wide(LANES))
        whole = b.and_(self.length, wide(-4))
        lefts = [b.add(self.left, b.mul(self.stride, wide(r))) for r in range(rows)]
        columns = [b.add(self.weights, b.mul(panel_bytes, wide(p))) for p in range(panels)]
        rest = b.shl(b.and_(self.length, wide(3)), wide(3))
        mask = b.trunc(b.sub(b.shl(wide(1), rest), wide(1)), lanes.word)

        def products(sums: list[Any], k: Any, w: Any, cut: bool) -> list[Any]:
            if cells:
                cells.begin_round()
            packed = [self.dots.weights(b.add(column, w)) for column in columns]
            new = []
            for r in range(rows):
                value = lanes.load(lanes.word, b.add(lefts[r], k), 1)
                value = b.and_(value, mask) if cut else value
                for i in range(r * panels, (r + 1) * panels):
                    total = self.dots.add(cells.read(i) if cells else sums[i], value, packed[i % panels])
                    if cells:
                        cells.write(i, total)
                    else:
                        new.append(total)
            return new

        entry = b.block
        names = ("run", "four", "last", "cut", "next", "done")
        run, four, last, cut, next_run, done = (b.append_basic_block(name) for name in names)
        b.branch(run)
        b.position_at_end(run)
        number, place, column = b.phi(wide), b.phi(wide), b.phi(wide)
        before = [b.phi(lanes.words) for _ in range(count)]
        end = b.add(place, whole)
        b.cbranch(b.icmp_signed(">", whole, wide(0)), four, last)
        b.position_at_end(four)
        k, w = b.phi(wide), b.phi(wide)
        sums = [b.phi(lanes.words) for _ in range(count)]
        new = products(sums, k, w, cut=False)
        k_next, w_next = b.add(k, wide(4)), b.add(w, wide(4 * LANES))
        b.cbranch(b.icmp_signed("<", k_next, end), four, last)
        b.position_at_end(last)
        at, at_w = b.phi(wide), b.phi(wide)
        fours = [b.phi(lanes.words) for _ in range(count)]
        b.cbranch(b.icmp_signed(">", rest, wide(0)), cut, next_run)
        b.position_at_end(cut)
        cuts = products(fours, at, at_w, cut=True)
        b.branch(next_run)
        b.position_at_end(next_run)
        results = [b.phi(lanes.words) for _ in range(count)]
        number_next, place_next = b.add(number, wide(1)), b.add(place, self.step)
        again = b.icmp_signed(">=", place_next, self.around)
        place_next = b.select(again, b.sub(place_next, self.around), place_next)
        column_next = b.add(column, b.mul(self.length, wide(LANES)))
        b.cbranch(b.icmp_signed("<", number_next, self.number), run, done)
        scalars = ((number, wide(0), number_next), (place, self.start, place_next), (column, wide(0), column_next))
        for phi, first, later in scalars:
            phi.add_incoming(first, entry)
            phi.add_incoming(later, next_run)
        for phi, first, later in ((k, place, k_next), (w, column, w_next)):
            phi.add_incoming(first, run)
            phi.add_incoming(later, four)
        for phi, first, later in ((at, place, k_next), (at_w, column, w_next)):
            phi.add_incoming(first, run)
            phi.add_incoming(later, four)
        for i in range(count):
            before[i].add_incoming(begin[i % panels], entry)
            before[i].add_incoming(results[i], next_run)
            sums[i].add_incoming(before[i], run)
            sums[i].add_incoming(new[i], four)
            fours[i].add_incoming(before[i], run)
            fours[i].add_incoming(new[i], four)
            results[i].add_incoming(fours[i], last)
            results[i].add_incoming(cuts[i], cut)
        b.position_at_end(done)
        if cells:
            cells.begin_round()
            results = [cells.read(i) for i in range(cells.count)]
        return results


def _add_sums(lanes: Lanes, results: list[Any], panels: int, width: Any, kept: Any) -> None:
    """Emit the addition of all sums of a tile to ``kept``, lane by lane, where that has room."""
    b = lanes.builder
    with b.if_then(b.icmp_signed(">", kept.size, kept.size.type(0))):
        total = kept.load(lanes.words, kept.size.type(0))
        for panel in range(panels):
            taken = results[panel::panels]
            while len(taken) > 1:
                taken = [b.add(*taken[i : i + 2]) for i in range(0, len(taken) - 1, 2)] + taken[len(taken) & ~1 :]
            used = taken[0] if panels > 1 else b.select(lanes.first(width), taken[0], taken[0].type(None))
            total = b.add(total, used)
        kept.store(total, kept.size.type(0))


def _make_tile(rows: int, panels: int) -> Any:
    @intrinsic
    def tile(
        typing_context: Any,
        memory: Any,
        spots: Any,
        runs: Any,
        scales: Any,
        out: Any,
        out_stride: Any,
        limits: Any,
        kept: Any,
    ) -> Any:
        del typing_context, scales, out, out_stride

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            sums = ByteRuns(lanes, arguments[1], arguments[2]).sums(rows, panels)
            scales, place, stride = arguments[3:6]
            numbers = [builder.extract_value(arguments[6], i) for i in range(4)]
            room = Words(context, builder, signature.args[7], arguments[7])
            _add_sums(lanes, sums, panels, numbers[3], room)
            zero, low, high = (lanes.splat(builder.trunc(number, lanes.word)) for number in numbers[:3])
            multipliers = [
                lanes.load(lanes.floats, builder.add(scales, stride.type(4 * LANES * p))) for p in range(panels)
            ]
            values = []
            for index, total in enumerate(sums):
                r, p = divmod(index, panels)
                value = requantise(lanes, total, multipliers[p], (zero, low, high))
                offset = builder.add(builder.add(place, builder.mul(stride, stride.type(r))), stride.type(LANES * p))
                values.append((value, offset))
            whole = builder.icmp_signed(">=", numbers[3], numbers[3].type(LANES * panels))
            with builder.if_else(whole) as (all_columns, some_columns):
                with all_columns:
                    for value, offset in values:
                        lanes.store(value, offset, 1)
                with some_columns:
                    for value, offset in values if panels == 1 else ():
                        store_columns(lanes, value, offset, numbers[3])
            return context.get_dummy_value()

        return types.void(memory, spots, runs, *[types.int64] * 3, limits, kept), codegen

    return tile


tile_int8 = _make_tile(ROWS, 1)
"""``ROWS`` pixels by up to sixteen channels of the quantised product: int32 sums that wrap, one float multiply.

``tile_int8(memory, (left, weights, begin, stride), (start, number, step, around, length), scales, out, out_stride,
(zero, low, high, width), kept)``: as :data:`node.kernels.inference.tiles_f32.tile_f32` on bytes; ``begin`` is the place
of the int32 with which the sums begin. Up to 3 bytes after a run and 48 after the weights are read, and not used. The
sums of the first ``width`` channels are added up in the first sixteen words of ``kept``, unless it is empty.
"""

tile_pair_int8 = _make_tile(ROWS, PAIR)
"""As :data:`tile_int8` for ``PAIR`` whole panels."""

row_int8 = _make_tile(1, 1)
"""As :data:`tile_int8` for one pixel."""

row_wide_int8 = _make_tile(1, 4)
"""As :data:`tile_int8` for one pixel and four whole panels."""


def _sum_columns(lanes: Lanes, weights: Any, depth: Any) -> Any:
    """Emit the sums of sixteen columns of weights, packed [depth][16]: products with ones, four sums side by side."""
    b, wide, dots = lanes.builder, ir.IntType(64), Dots(lanes)
    ones, whole = lanes.word(0x01010101), b.ashr(depth, wide(4))

    def sixteen_rows(index: Any, sums: list[Any]) -> list[Any]:
        place = b.add(weights, b.shl(index, wide(8)))
        return [dots.add(sums[i], ones, dots.weights(b.add(place, wide(4 * LANES * i)))) for i in range(4)]

    sums = emit_loop(b, whole, [ir.Constant(lanes.words, None)] * 4, sixteen_rows)
    total = b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]))
    rest, left = b.and_(depth, wide(15)), b.add(weights, b.shl(whole, wide(8)))
    cut = b.trunc(b.lshr(wide(0x010101), b.shl(b.sub(wide(3), b.and_(rest, wide(3))), wide(3))), lanes.word)

    def four_rows(index: Any, sums: list[Any]) -> list[Any]:
        row = b.shl(index, wide(2))
        factors = b.select(b.icmp_signed("<=", b.add(row, wide(4)), rest), ones, cut)
        return [dots.add(sums[0], factors, dots.weights(b.add(left, b.shl(row, wide(4)))))]

    return emit_loop(b, b.ashr(b.add(rest, wide(3)), wide(2)), [total], four_rows)[0]


@intrinsic
def begin_sums(typing_context: Any, memory: Any, spots: Any, depth: Any, shift: Any, width: Any, kept: Any) -> Any:
    """Write bias minus ``shift`` times the sum of each of sixteen columns of weights, packed [depth][16], as int32.

    ``begin_sums(memory, (weights, bias, out), depth, shift, width, kept)``: the sums of the first ``width`` columns
    are added to the second sixteen words of ``kept``, unless it is empty. Up to 48 bytes after the weights are read.
    """
    del typing_context, depth, shift, width

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = Lanes(context, builder, signature.args[0], arguments[0])
        b, wide = builder, ir.IntType(64)
        _, spots, depth, shift, width, kept = arguments
        weights, bias, out = (b.extract_value(spots, i) for i in range(3))
        new = _sum_columns(lanes, weights, depth)
        scaled = b.mul(new, lanes.splat(b.trunc(shift, lanes.word)))
        lanes.store(b.sub(lanes.load(lanes.words, bias), scaled), out)
        room = Words(context, builder, signature.args[5], kept)
        with b.if_then(b.icmp_signed(">", room.size, wide(0))):
            used = b.select(lanes.first(width), new, new.type(None))
            room.store(b.add(room.load(lanes.words, wide(4 * LANES)), used), wide(4 * LANES))
        return context.get_dummy_value()

    return types.void(memory, spots, *[types.int64] * 3, kept), codegen
