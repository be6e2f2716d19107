"""Float tiles over windows: sums stay in vector registers while whole runs of neighbouring inputs go by.

The inputs of an output pixel lie in runs, one for each row of its window; those of the next pixel lie a stride
further. So inputs are read where they are, without being gathered, and every sum still takes its products in
the order of the packed weights, with one fma a product: neither the tile nor the width of the machine's vectors
changes a bit.
"""

from __future__ import annotations

from typing import Any

from node.jit import cgutils, cpu_features, intrinsic, ir, types, vector_bits
from node.kernels.inference.dots import SCARCE
from node.kernels.inference.tiles import LANES, Lanes, Words

WIDE = vector_bits() == 512
"""Registers of a whole panel, and 32 of them: tiles of 8 x 32 fit. With half of that it is 4 x 16."""

ROWS = 8 if WIDE or SCARCE else 4
"""Output pixels of a tile. Where sums are kept on the stack, as many as pay for widening the weights."""

PAIR = 2 if WIDE else 1
"""Panels of :data:`tile_pair_f32`."""

MASKED = "neon" not in cpu_features()
"""Whether the processor stores chosen lanes; where it does not, LLVM makes a branch for each lane of each row."""


MOST = 8 if WIDE else 4
"""Panels of :data:`row_widest_f32`: as many sums as hide the multiplier's latency, if there are registers for them."""


class Runs:
    """The loop over runs of inputs: the rows' first inputs, and the sums that it ends with.

    Parameters
    ----------
    lanes : Lanes
        Where the code goes and the memory lies.
    spots : tuple of int64
        Places of the first input, weight and bias, and bytes from one row of the tile to the next.
    runs : tuple of int64
        Number of runs, bytes from one to the next, bytes after which they begin anew, products in a run.
    """

    def __init__(self, lanes: Lanes, spots: Any, runs: Any) -> None:
        self.lanes = lanes
        b = lanes.builder
        self.left, self.weights, self.bias, self.stride = (b.extract_value(spots, i) for i in range(4))
        self.start, self.number, self.step, self.around, self.length = (b.extract_value(runs, i) for i in range(5))

    def sums(self, rows: int, panels: int) -> list[Any]:
        """Emit the loops and give the sums, panel by panel within a row."""
        lanes, b, wide = self.lanes, self.lanes.builder, ir.IntType(64)
        kind, count = lanes.floats, rows * panels
        panel_bytes = b.mul(b.mul(self.number, self.length), wide(4 * LANES))
        firsts = [b.gep(lanes.base, [b.add(self.left, b.mul(self.stride, wide(r)))]) for r in range(rows)]
        columns = [b.gep(lanes.base, [b.add(self.weights, b.mul(panel_bytes, wide(p)))]) for p in range(panels)]
        begin = [lanes.load(kind, b.add(self.bias, wide(4 * LANES * p))) for p in range(panels)]
        entry = b.block
        run, product, next_run, done = (b.append_basic_block(name) for name in ("run", "product", "next", "done"))
        b.branch(run)
        b.position_at_end(run)
        number, place, column = b.phi(wide), b.phi(wide), b.phi(wide)
        before = [b.phi(kind) for _ in range(count)]
        end = b.add(place, b.mul(self.length, wide(4)))
        b.branch(product)
        b.position_at_end(product)
        k, w = b.phi(wide), b.phi(wide)
        sums = [b.phi(kind) for _ in range(count)]
        packed = [b.load(b.bitcast(b.gep(at, [w]), kind.as_pointer()), align=4) for at in columns]
        new = []
        for r in range(rows):
            value = b.load(b.bitcast(b.gep(firsts[r], [k]), lanes.single.as_pointer()), align=4)
            value = lanes.splat(value)
            new += [lanes.call("llvm.fma", [value, packed[p], sums[r * panels + p]]) for p in range(panels)]
        k_next, w_next = b.add(k, wide(4)), b.add(w, wide(4 * LANES))
        b.cbranch(b.icmp_signed("<", k_next, end), product, next_run)
        b.position_at_end(next_run)
        number_next, place_next = b.add(number, wide(1)), b.add(place, self.step)
        again = b.icmp_signed(">=", place_next, self.around)
        place_next = b.select(again, b.sub(place_next, self.around), place_next)
        b.cbranch(b.icmp_signed("<", number_next, self.number), run, done)
        for phi, first, later in (
            (number, wide(0), number_next),
            (place, self.start, place_next),
            (column, wide(0), w_next),
        ):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, next_run)
        for phi, first, later in ((k, place, k_next), (w, column, w_next)):
            phi.add_incoming(first, run)
            phi.add_incoming(later, product)
        for index in range(count):
            before[index].add_incoming(begin[index % panels], entry)
            before[index].add_incoming(new[index], next_run)
            sums[index].add_incoming(before[index], run)
            sums[index].add_incoming(new[index], product)
        b.position_at_end(done)
        return new


def clamped(lanes: Lanes, value: Any, limits: Any) -> Any:
    """Emit the limits of an output. Comparisons with NaN are false: a NaN passes both."""
    b = lanes.builder
    for index, comparison in enumerate("<>"):
        limit = lanes.splat(b.extract_value(limits, index))
        value = b.select(b.fcmp_ordered(comparison, value, limit), limit, value)
    return value


def store_columns(lanes: Lanes, value: Any, offset: Any, width: Any) -> None:
    """Emit the store of the first ``width`` of sixteen values."""
    b = lanes.builder
    if not MASKED:
        spare = cgutils.alloca_once_value(b, value)  # type: ignore[no-untyped-call]
        size = 1 if value.type == lanes.bytes else 4
        cgutils.raw_memcpy(b, lanes.pointer(value.type, offset), spare, width, size)  # type: ignore[no-untyped-call]
        return
    mask = lanes.first(width)
    name = f"llvm.masked.store.v{LANES}{'f32' if value.type == lanes.floats else 'i8'}.p0"
    known = b.module.globals.get(name)
    pointer = lanes.pointer(value.type, offset)
    if known is None:
        kinds = [value.type, pointer.type, lanes.word, mask.type]
        known = ir.Function(b.module, ir.FunctionType(ir.VoidType(), kinds), name)
    b.call(known, [value, pointer, lanes.word(1 if value.type == lanes.bytes else 4), mask])


HEAD_BYTES, SLOT_BYTES = 64, 128
"""Of the memory in which a checked step counts: what comes before the slots, one for each pixel, and each of these."""


def _add_up(lanes: Lanes, sums: list[Any], panels: int, width: Any, kept: tuple[Words, Any]) -> None:
    """Emit the addition of the sums of each pixel, and of their magnitudes, to its slot, where there is room."""
    b, (room, slot) = lanes.builder, kept
    with b.if_then(b.icmp_signed(">", room.size, room.size.type(0))):
        place = b.add(b.mul(slot, slot.type(SLOT_BYTES)), slot.type(HEAD_BYTES))
        for first in range(0, len(sums), panels):
            later = b.add(place, place.type(4 * LANES))
            total, magnitude = room.load(lanes.floats, place), room.load(lanes.floats, later)
            for value in sums[first : first + panels]:
                used = value if panels > 1 else b.select(lanes.first(width), value, value.type([0.0] * LANES))
                total = b.fadd(total, used)
                magnitude = b.fadd(magnitude, lanes.call("llvm.fabs", [used]))
            room.store(total, place)
            room.store(magnitude, later)
            place = b.add(place, place.type(SLOT_BYTES))


def _make_tile(rows: int, panels: int) -> Any:
    @intrinsic
    def tile(
        typing_context: Any,
        memory: Any,
        spots: Any,
        runs: Any,
        out: Any,
        out_stride: Any,
        width: Any,
        limits: Any,
        kept: Any,
        slot: Any,
    ) -> Any:
        del typing_context, out, out_stride, width, slot

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            sums = Runs(lanes, arguments[1], arguments[2]).sums(rows, panels)
            place, stride, columns, clamp = arguments[3:7]
            room = Words(context, builder, signature.args[7], arguments[7])
            _add_up(lanes, sums, panels, columns, (room, arguments[8]))
            sums = [clamped(lanes, value, clamp) for value in sums]
            offsets = [
                builder.add(builder.add(place, builder.mul(stride, stride.type(r))), stride.type(4 * LANES * p))
                for r in range(rows)
                for p in range(panels)
            ]
            with builder.if_else(builder.icmp_signed(">=", columns, columns.type(LANES * panels))) as (whole, part):
                with whole:
                    for value, offset in zip(sums, offsets, strict=True):
                        lanes.store(value, offset)
                with part:
                    for value, offset in zip(sums, offsets, strict=True):
                        if panels == 1:
                            store_columns(lanes, value, offset, columns)
            return context.get_dummy_value()

        return types.void(memory, spots, runs, *[types.int64] * 3, limits, kept, types.int64), codegen

    return tile


tile_f32 = _make_tile(ROWS, 1)
"""``ROWS`` pixels by up to sixteen channels of clamp(bias + inputs @ weights), each sum in k order by fma.

``tile_f32(memory, (left, weights, bias, stride), (start, number, step, around, length), out, out_stride, width,
(low, high), kept, slot)``: ``memory`` is an array of uint8. A pixel's inputs are ``number`` runs of ``length`` floats,
the first at byte left + start, the others ``step`` bytes on, beginning anew after ``around`` bytes; those of the next
pixel lie ``stride`` bytes further. Weights are packed [number * length][16]. Only ``width`` channels are written.
Unless ``kept`` is empty, the sums of each pixel and their magnitudes are added to its slot, from ``slot`` on.
"""

tile_pair_f32 = _make_tile(ROWS, PAIR)
"""As :data:`tile_f32` for ``PAIR`` whole panels."""

row_f32 = _make_tile(1, 1)
"""As :data:`tile_f32` for one pixel."""

row_wide_f32 = _make_tile(1, 4)
"""As :data:`tile_f32` for one pixel and four whole panels."""

row_widest_f32 = _make_tile(1, MOST)
"""As :data:`tile_f32` for one pixel and ``MOST`` whole panels."""
