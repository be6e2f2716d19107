"""Faults, one after the other: what each changes in the outputs of every frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import inlined_kernel, kernel
from node.kernels.inference.columns import OUT, OUT_C, OUT_H, OUT_W
from node.kernels.inference.incremental.accumulators import strike_accumulators
from node.kernels.inference.incremental.dirty import differ, enter, frame_of, lists_of, restore
from node.kernels.inference.incremental.golden import golden_sums
from node.kernels.inference.incremental.lanes import outdone
from node.kernels.inference.incremental.spread import spread
from node.kernels.inference.incremental.struck import outputs_of, padded, strike_f32, strike_int8
from node.kernels.inference.incremental.tables import (
    ACCUMULATOR,
    ACTIVATION,
    BASE,
    BIAS_F32,
    BIT,
    BLOCK,
    BLOCKS,
    COUNTS,
    ELEMENT,
    FRAME_BYTES,
    FRAMES,
    GOLDEN,
    GOLDEN_LINE,
    ITEM,
    KIND,
    MOVED,
    MULTIPLIER_INT8,
    NOWHERE,
    OUT_CHANNEL,
    OUT_TENSOR,
    PARAMETER,
    SAME,
    SIZES,
    START,
    STEP,
    STRUCK_CHANNEL,
    STRUCK_TENSOR,
    VARIANTS,
    WEIGHT_F32,
    WEIGHT_INT8,
    WHOLE,
    WHOLES,
    WRONG,
)
from node.kernels.inference.incremental.whole import few_blocks, run_whole, take_whole
from node.kernels.inference.tiles import LANES, TILE_ROWS


@kernel
def run_faults(memory: Any, plan: Any, state: Any, work: Any, faults: Any, outputs: Any, effects: Any) -> int:
    """Classify faults one by one; give how many outputs were kept.

    Parameters
    ----------
    memory : tuple of ndarray
        The working memory as uint8, int32 and float32.
    plan : tuple of ndarray of int64
        Rows, links, tensors and sizes (see :mod:`node.kernels.inference.incremental.tables`).
    state : tuple of ndarray
        See LISTED and those beside it; empty before and after.
    work : tuple of ndarray of int64
        A row, what the working memory of a struck channel holds, and a table of one row.
    faults : ndarray of int64, [faults, columns]
        Sorted so that faults of one element are neighbours.
    outputs : tuple of ndarray
        int64 [outputs, 3] (tensor, first byte, bytes); int64 (elements and type of the first one, see
        ``winner``); int64 [room, 2] for (fault, frame) and uint8 [room, bytes] for the outputs that differ; int64
        [frames], where the golden winners are written.
    effects : ndarray of uint8, [faults, frames]
        All SAME; where WRONG or MOVED is written.
    """
    kept = 0
    first = 0
    golden = outputs[0][0, 1] + plan[3][GOLDEN]
    for frame in range(plan[3][FRAMES]):
        outputs[4][frame] = winner(memory, golden + frame * plan[3][FRAME_BYTES], outputs[1])
    while first < len(faults):
        kind = faults[first, KIND]
        size = 1
        if kind in (WEIGHT_F32, WEIGHT_INT8):
            while size < TILE_ROWS and first + size < len(faults) and neighbours(faults[first], faults[first + size]):
                size += 1
        if kind in (WEIGHT_F32, BIAS_F32):
            strike_f32(memory, plan, work[1], faults[first : first + size])
        elif kind != NOWHERE and kind <= MULTIPLIER_INT8:
            strike_int8(memory, plan, work[1], faults[first : first + size])
        for r in range(size):
            fault = faults[first + r]
            if kind == NOWHERE or (kind <= MULTIPLIER_INT8 and not strikes(memory, plan, fault[STEP], r)):
                continue
            spread(memory, plan, state, work, begin(memory, plan, state, work, fault, r))
            kept = classify(memory, plan, state, outputs, effects[first + r], (first + r, kept))
            restore(memory, plan, state)
        first += size
    return kept


@kernel
def strikes(memory: Any, plan: Any, step: int, variant: int) -> Any:
    """Tell whether a fault of a channel changes any of its outputs."""
    sizes, count = plan[3], outputs_of(plan, step)
    item = plan[2][plan[1][step, OUT_TENSOR], ITEM]
    place = sizes[VARIANTS] + variant * padded(count) * item
    return differ(memory[0], memory[1], place, sizes[GOLDEN_LINE], count * item)


@kernel
def neighbours(fault: Any, other: Any) -> Any:
    """Tell whether two faults strike the same element of the same step."""
    return fault[STEP] == other[STEP] and fault[ELEMENT] == other[ELEMENT] and fault[KIND] == other[KIND]


@inlined_kernel
def begin(memory: Any, plan: Any, state: Any, work: Any, fault: Any, variant: int) -> Any:
    """Carry out a fault; give the first step that may read what it changed."""
    u8, sizes, step = memory[0], plan[3], fault[STEP]
    sizes[STRUCK_TENSOR] = -1
    if fault[KIND] == ACTIVATION:
        tensor, place, mask = fault[OUT_CHANNEL], fault[ELEMENT], np.uint8(1 << fault[BIT])
        block = (place - plan[2][tensor, START]) // (plan[2][tensor, BLOCK] * plan[2][tensor, ITEM])
        marks, lists = lists_of(plan, state, tensor)
        for frame in range(sizes[FRAMES]):
            u8[place + frame * sizes[FRAME_BYTES]] ^= mask
            enter(marks, lists, frame, frame * plan[2][tensor, BLOCKS] + block)
        state[2][tensor] = sizes[FRAMES]
        return step
    if fault[KIND] == ACCUMULATOR:
        strike_accumulators(memory, plan, state, fault, work[0])
    elif fault[KIND] == PARAMETER:
        place, mask = fault[ELEMENT] + fault[BIT] // 8, np.uint8(1 << fault[BIT] % 8)
        u8[place] ^= mask
        for frame in range(sizes[FRAMES]):
            run_whole(memory, plan, state, step, frame, work)
        u8[place] ^= mask
    else:
        store_variant(memory, plan, state, step, fault[OUT_CHANNEL], variant)
    return step + 1


@inlined_kernel
def store_variant(memory: Any, plan: Any, state: Any, step: int, channel: int, variant: int) -> None:
    """Store the outputs of a struck channel where they differ from golden, and enter their pixels."""
    u8, i32, _ = memory
    row, sizes, out = plan[0][step], plan[3], plan[1][step, OUT_TENSOR]
    pixels, count = row[OUT_H] * row[OUT_W], outputs_of(plan, step)
    item = plan[2][out, ITEM]
    marks, lists = lists_of(plan, state, out)
    sizes[STRUCK_TENSOR], sizes[STRUCK_CHANNEL] = out, channel
    changed, golden = sizes[VARIANTS] + variant * padded(count) * item, sizes[GOLDEN_LINE]
    entered, few, size = 0, few_blocks(plan[2], out), row[OUT_C] * item
    for frame in range(sizes[FRAMES]):
        place = row[OUT] + frame * sizes[FRAME_BYTES] + channel * item
        first = entered
        for pixel in range(pixels):
            entry = frame * pixels + pixel
            if item == 4:
                if i32[changed // 4 + entry] == i32[golden // 4 + entry]:
                    continue
                i32[(place + pixel * size) // 4] = i32[changed // 4 + entry]
            else:
                if u8[changed + entry] == u8[golden + entry]:
                    continue
                u8[place + pixel * size] = u8[changed + entry]
            lists[entered] = entry
            entered += 1
        if entered - first > few:
            take_whole(state, out, frame)
            entered = first
    for i in range(entered):
        marks[lists[i]] = True
    state[COUNTS][out] = entered


@inlined_kernel
def classify(memory: Any, plan: Any, state: Any, outputs: Any, effects: Any, position: Any) -> Any:
    """Write the effect of a fault on each frame; keep the outputs that differ while there is room for them.

    ``position`` is (number of the fault, outputs kept before it); the number kept after it is given.
    """
    tensors, sizes = plan[2], plan[3]
    places, first_output, kept_index, kept_bytes, winners = outputs
    number, kept = position
    for i in range(len(places)):
        tensor = places[i, 0]
        for j in range(state[2][tensor]):
            entry = state[1][tensors[tensor, BASE] + j]
            effects[frame_of(entry, tensors[tensor, BLOCKS])] = WRONG
        if state[WHOLES][tensor] > 0:
            for frame in range(sizes[FRAMES]):
                if state[WHOLE][tensor, frame]:
                    effects[frame] = WRONG
    for frame in range(sizes[FRAMES]):
        if effects[frame] == SAME:
            continue
        place = places[0, 1] + frame * sizes[FRAME_BYTES]
        if moved(memory, place, first_output, winners[frame]):
            effects[frame] = MOVED
        if kept < len(kept_index):
            kept_index[kept, 0], kept_index[kept, 1] = number, frame
            start = 0
            for i in range(len(places)):
                origin = places[i, 1] + frame * sizes[FRAME_BYTES]
                for byte in range(places[i, 2]):
                    kept_bytes[kept, start + byte] = memory[0][origin + byte]
                start += places[i, 2]
            kept += 1
    return kept


@kernel
def winner(memory: Any, place: int, kind: Any) -> int:
    """Give the first index of the largest value; -1, no winner, where there is a NaN.

    ``kind`` is (number of values; 0: float32, 1: int8, 2: uint8, 3: int32).
    """
    if kind[1] == 0:
        return winner_f32(memory[2], place // 4, kind[0])
    best = 0
    largest = value_at(memory, place, kind[1], 0)
    for i in range(1, kind[0]):
        value = value_at(memory, place, kind[1], i)
        if value > largest:
            best, largest = i, value
    return best


@kernel
def moved(memory: Any, place: int, kind: Any, best: int) -> Any:
    """Tell whether the winner of some values is another one than ``best``; ``kind`` is as for :func:`winner`."""
    if kind[1] != 0 or kind[0] > LANES or best < 0:
        return winner(memory, place, kind) != best
    return outdone(memory[0], place, kind[0], best)


@kernel
def winner_f32(f32: Any, start: int, count: int) -> int:
    """Give the winner of some floats; without branches, which nobody can foretell under faults."""
    best, largest, sound = 0, f32[start], True
    for i in range(count):
        value = f32[start + i]
        larger = value > largest
        largest = value if larger else largest
        best = i if larger else best
        sound = sound and not np.isnan(value)
    return best if sound else -1


@kernel
def value_at(memory: Any, place: int, kind: int, index: int) -> Any:
    """Give one value of an output of integers."""
    if kind == 3:
        return np.int64(memory[1][place // 4 + index])
    byte = np.int64(memory[0][place + index])
    return byte if kind == 2 else (byte ^ 128) - 128


def warm() -> None:
    """Compile or load every kernel of the incremental engine."""
    u8 = np.zeros(64, np.uint8)
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    table = np.zeros((1, 8), np.int64)
    plan = (np.ones((1, 32), np.int64), table, table, np.zeros(SIZES, np.int64))
    golden_sums(memory, plan, 0)
    none = np.zeros(0, np.int32)
    few = np.zeros(1, np.int64)
    state = (np.zeros(0, np.bool_), none, few, none, np.zeros((1, 1), np.bool_), few, few)
    work = (np.zeros(32, np.int64), np.zeros(7, np.int64), np.zeros((1, 32), np.int64))
    outputs = (
        np.zeros((1, 3), np.int64),
        np.zeros(2, np.int64),
        np.zeros((0, 2), np.int64),
        np.zeros((0, 0), np.uint8),
        np.zeros(0, np.int64),
    )
    run_faults(memory, plan, state, work, np.zeros((0, 6), np.int64), outputs, np.zeros((0, 1), np.uint8))
