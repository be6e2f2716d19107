"""Float sums that are taken up where kept golden sums end: at the last of these before the first changed input.

Of a product with one row of inputs, the sums before every sixteenth product are kept. A sum takes its products in
the same order as ever, only the first of them are not computed again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import f32_from_bits, inlined_kernel, intrinsic, ir, kernel, types
from node.kernels.inference.columns import BIAS, HIGH, IN_A, IN_C, LOW, OUT, OUT_C, WEIGHTS
from node.kernels.inference.incremental.dirty import lists_of
from node.kernels.inference.incremental.tables import (
    FRAME_BYTES,
    FRAMES,
    GOLDEN,
    IN_A_TENSOR,
    OUT_TENSOR,
    SHIFT_A,
    STRUCK_CHANNEL,
    STRUCK_TENSOR,
    SUM_COLUMNS,
    SUM_FRAME_BYTES,
    SUMS,
    TILE,
)
from node.kernels.inference.tiles import LANES, Lanes, copy_bytes, tile_f32_row
from node.kernels.inference.tiles_f32 import PAIR, ROWS, clamped, store_columns

WIDE = 4
"""Panels of :data:`resume_wide`, whose sums hide the latency of one row."""


def _make_resume(rows: int, panels: int) -> Any:
    @intrinsic
    def resume(
        typing_context: Any,
        memory: Any,
        places: Any,
        weights: Any,
        panel_bytes: Any,
        depth: Any,
        width: Any,
        clamp: Any,
    ) -> Any:
        del typing_context, weights, panel_bytes, depth, width

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = Lanes(context, builder, signature.args[0], arguments[0])
            b, wide, kind = builder, ir.IntType(64), lanes.floats
            listed = context.make_array(signature.args[1])(context, builder, arguments[1]).data
            lefts, sums, outs = (
                [b.load(b.gep(listed, [wide(part * rows + r)])) for r in range(rows)] for part in range(3)
            )
            columns = [b.add(arguments[2], b.mul(arguments[3], wide(p))) for p in range(panels)]
            spots = [(r, p) for r in range(rows) for p in range(panels)]
            first = [lanes.load(kind, b.add(sums[r], wide(4 * LANES * p))) for r, p in spots]
            entry, loop, done = b.block, b.append_basic_block("products"), b.append_basic_block("summed")
            b.branch(loop)
            b.position_at_end(loop)
            k = b.phi(wide)
            totals = [b.phi(kind) for _ in spots]
            packed = [lanes.load(kind, b.add(column, b.mul(k, wide(4 * LANES)))) for column in columns]
            values = [lanes.splat(lanes.load(lanes.single, b.add(left, b.mul(k, wide(4))))) for left in lefts]
            new = [
                lanes.call("llvm.fma", [values[r], packed[p], total])
                for (r, p), total in zip(spots, totals, strict=True)
            ]
            following = b.add(k, wide(1))
            k.add_incoming(wide(0), entry)
            k.add_incoming(following, loop)
            for total, start, end in zip(totals, first, new, strict=True):
                total.add_incoming(start, entry)
                total.add_incoming(end, loop)
            b.cbranch(b.icmp_signed("<", following, arguments[4]), loop, done)
            b.position_at_end(done)
            for (r, p), value in zip(spots, new, strict=True):
                place, value = b.add(outs[r], wide(4 * LANES * p)), clamped(lanes, value, arguments[6])
                if panels == 1:
                    store_columns(lanes, value, place, arguments[5])
                else:
                    lanes.store(value, place)
            return context.get_dummy_value()

        return types.void(memory, places, *[types.int64] * 4, clamp), codegen

    return resume


resume_tile = _make_resume(ROWS, 1)
"""``ROWS`` rows by up to sixteen columns of clamp(sums + inputs @ weights), each sum in k order, one fma a product.

``resume_tile(memory, places, weights, panel_bytes, depth, width, (low, high))``: ``places`` is an array of int64 that
begins with the bytes of the inputs of every row, then those of its sums, then those of its outputs. ``depth``
products follow; only ``width`` outputs of a row are written.
"""

resume_pair = _make_resume(ROWS, PAIR)
"""As :data:`resume_tile` for ``PAIR`` whole panels, ``panel_bytes`` apart; sums and outputs of them side by side."""

resume_wide = _make_resume(1, WIDE)
"""As :data:`resume_tile` for one row and ``WIDE`` whole panels."""


@kernel
def keep_sums(memory: Any, plan: Any, step: int) -> None:
    """Keep the golden sums of a CONV_F32 step with one row of inputs, for every frame."""
    u8, row, links, sizes = memory[0], plan[0][step], plan[1], plan[3]
    depth, columns = row[IN_C], links[step, SUM_COLUMNS]
    everything = (np.float32(-np.inf), np.float32(np.inf))
    for frame in range(sizes[FRAMES]):
        sums = links[step, SUMS] + frame * sizes[SUM_FRAME_BYTES]
        inputs = row[IN_A] + frame * sizes[FRAME_BYTES]
        copy_bytes(u8, row[BIAS], sums, 4 * columns)
        for k in range(0, depth - LANES, LANES):
            for column in range(0, columns, LANES):
                weights, before = row[WEIGHTS] + 4 * (column * depth + k * LANES), sums + 4 * column
                after = before + 4 * columns
                tile_f32_row(u8, inputs + 4 * k, depth, weights, LANES, before, after, LANES, everything)
            sums += 4 * columns


@kernel
def first_change(i32: Any, place: int, golden: int, most: int) -> int:
    """Give the first sixteen inputs from byte ``place`` that are not golden, at most number ``most``."""
    for number in range(most):
        start = place // 4 + number * LANES
        values, others = i32[start : start + LANES], i32[start + golden // 4 : start + golden // 4 + LANES]
        found = values[0] ^ others[0]
        for i in range(LANES):
            found |= values[i] ^ others[i]
        if found != 0:
            return number
    return most


@inlined_kernel
def compute_resumed(memory: Any, plan: Any, state: Any, step: int, places: Any) -> None:
    """Compute the listed outputs of a step whose golden sums are kept; ``places`` has room for three tiles of rows."""
    i32, row, links, sizes = memory[1], plan[0][step], plan[1], plan[3]
    out = links[step, OUT_TENSOR]
    lists, count = lists_of(plan, state, out)[1], state[2][out]
    for first in range(0, count, ROWS):
        rows = min(ROWS, count - first)
        start = (row[IN_C] - 1) // LANES
        if links[step, IN_A_TENSOR] == sizes[STRUCK_TENSOR] and links[step, SHIFT_A] == 0:
            start = min(start, sizes[STRUCK_CHANNEL] // LANES)
            searched = 0
        else:
            searched = rows
        for r in range(searched):
            start = first_change(i32, row[IN_A] + lists[first + r] * sizes[FRAME_BYTES], sizes[GOLDEN], start)
        room = 1 if rows == 1 and row[OUT_C] % (WIDE * LANES) == 0 else ROWS
        for r in range(room):
            # Rows beyond the last one repeat it, into a tile that nobody reads.
            frame = lists[first + min(r, rows - 1)]
            places[r] = row[IN_A] + frame * sizes[FRAME_BYTES] + 4 * LANES * start
            places[room + r] = links[step, SUMS] + frame * sizes[SUM_FRAME_BYTES] + 4 * start * links[step, SUM_COLUMNS]
            places[2 * room + r] = row[OUT] + frame * sizes[FRAME_BYTES] if r < rows else sizes[TILE]
        multiply_resumed(memory[0], row, places, (room, rows), start * LANES)


@kernel
def multiply_resumed(u8: Any, row: Any, places: Any, room: Any, skipped: int) -> None:
    """Bring a tile to its end, panel by panel; ``room`` is (rows of it, those that count)."""
    depth = row[IN_C]
    panel_bytes, left = 4 * LANES * depth, row[OUT_C]
    weights = row[WEIGHTS] + 4 * LANES * skipped
    clamp = (f32_from_bits(row[LOW]), f32_from_bits(row[HIGH]))
    while left > 0:
        panels = 1
        if room[0] == 1:
            panels = WIDE
            resume_wide(u8, places, weights, panel_bytes, depth - skipped, LANES, clamp)
        elif left >= PAIR * LANES:
            panels = PAIR
            resume_pair(u8, places, weights, panel_bytes, depth - skipped, LANES * PAIR, clamp)
        else:
            resume_tile(u8, places, weights, panel_bytes, depth - skipped, min(left, LANES), clamp)
        left -= panels * LANES
        weights += panels * panel_bytes
        for r in range(room[0]):
            places[room[0] + r] += 4 * LANES * panels
            if r < room[1]:
                places[2 * room[0] + r] += 4 * LANES * panels
