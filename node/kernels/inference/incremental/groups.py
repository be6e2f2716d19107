"""Several faults at once on one frame: all that they reach together is computed in one pass."""

from __future__ import annotations

from typing import Any

from node.jit import kernel
from node.kernels.inference.incremental.accumulators import strike_sum
from node.kernels.inference.incremental.dirty import enter, lists_of, restore, settle
from node.kernels.inference.incremental.spread import advance
from node.kernels.inference.incremental.tables import (
    ACT,
    BLOCK,
    BLOCKS,
    CLEARED,
    END_EVENT,
    FIRST_EVENT,
    FLIPPED,
    FRAME,
    FRAME_BYTES,
    ITEM,
    MASK,
    MOMENT,
    OUT_TENSOR,
    PARAMETER_FLIPPED,
    PLACE,
    START,
    STRUCK_TENSOR,
    SUM_FLIPPED,
    TENSOR,
)
from node.kernels.inference.incremental.whole import run_whole


@kernel
def run_groups(memory: Any, plan: Any, state: Any, work: Any, faults: Any, outputs: Any) -> None:
    """Carry out groups of faults one by one, each on one frame.

    Parameters
    ----------
    memory, plan, state, work
        As for :func:`node.kernels.inference.incremental.run.run_faults`.
    faults : tuple of ndarray of int64
        Groups [groups, 3] and their events [events, 5] (see :mod:`node.kernels.inference.incremental.tables`), those of
        a group by step, parameters after activations.
    outputs : tuple of ndarray
        int64 [outputs, 3] (tensor, first byte, bytes); uint8 [groups, bytes], where the outputs are written.
    """
    groups, events = faults
    plan[3][STRUCK_TENSOR] = -1
    for number in range(len(groups)):
        frame = groups[number, FRAME]
        struck = events[groups[number, FIRST_EVENT] : groups[number, END_EVENT]]
        carry_out(memory, plan, state, work, struck, frame)
        deliver(memory[0], outputs[0], outputs[1][number], frame * plan[3][FRAME_BYTES])
        restore(memory, plan, state)
        for i in range(len(struck)):
            if struck[i, ACT] == PARAMETER_FLIPPED:
                memory[0][struck[i, PLACE]] ^= struck[i, MASK]


@kernel
def carry_out(memory: Any, plan: Any, state: Any, work: Any, events: Any, frame: int) -> None:
    """Let the events of a group happen, each at its step, and bring what differs to the end."""
    steps, i = len(plan[0]), 0
    first = events[0, MOMENT] if len(events) > 0 else steps
    for step in range(first, steps + 1):
        while i < len(events) and events[i, MOMENT] == step and events[i, ACT] < PARAMETER_FLIPPED:
            strike_value(memory, plan, state, events[i], frame)
            i += 1
        if step == steps:
            break
        if i < len(events) and events[i, MOMENT] == step and events[i, ACT] == SUM_FLIPPED:
            i = strike_sums(memory, plan, state, work[0], (events, i), frame)
            continue
        struck = i
        while i < len(events) and events[i, MOMENT] == step:
            memory[0][events[i, PLACE]] ^= events[i, MASK]
            i += 1
        if i > struck:
            run_whole(memory, plan, state, step, frame, work)
        else:
            advance(memory, plan, state, work, step)


@kernel
def strike_sums(memory: Any, plan: Any, state: Any, line: Any, struck: Any, frame: int) -> Any:
    """Flip bits of sums of one step, whose inputs are golden; ``struck`` is (events, the first); give the next one."""
    events, i = struck
    step = events[i, MOMENT]
    while i < len(events):
        strike_sum(memory, plan, state, (step, frame, events[i, PLACE]), events[i, MASK], line)
        i += 1
    settle(memory, plan, state, plan[1][step, OUT_TENSOR])
    return i


@kernel
def strike_value(memory: Any, plan: Any, state: Any, event: Any, frame: int) -> None:
    """Change bits of one byte of an activation, and enter its block where they were others."""
    u8, tensor = memory[0], event[TENSOR]
    place = event[PLACE] + frame * plan[3][FRAME_BYTES]
    before, mask = u8[place], event[MASK]
    if event[ACT] == FLIPPED:
        u8[place] = before ^ mask
    elif event[ACT] == CLEARED:
        u8[place] = before & ~mask
    else:
        u8[place] = before | mask
    if u8[place] == before:
        return
    block = (event[PLACE] - plan[2][tensor, START]) // (plan[2][tensor, BLOCK] * plan[2][tensor, ITEM])
    marks, lists = lists_of(plan, state, tensor)
    state[2][tensor] = enter(marks, lists, state[2][tensor], frame * plan[2][tensor, BLOCKS] + block)


@kernel
def deliver(u8: Any, places: Any, output: Any, shift: int) -> None:
    """Write the outputs of a frame, ``shift`` bytes after frame 0, one after the other."""
    start = 0
    for i in range(len(places)):
        for byte in range(places[i, 2]):
            output[start + byte] = u8[places[i, 1] + shift + byte]
        start += places[i, 2]
