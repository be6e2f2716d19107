"""Frames taken as a whole: where much of a tensor differs, its steps run as in any inference, without lists.

A list pays for itself while few blocks differ. Beyond that the kernels of the engine, which know where every input
lies, are several times faster for each output.
"""

from __future__ import annotations

from typing import Any

from node.jit import inlined_kernel, intrinsic, kernel, types
from node.kernels.inference.incremental.dirty import differ, enter, lists_of
from node.kernels.inference.incremental.plain import place_row
from node.kernels.inference.incremental.tables import (
    BLOCK,
    BLOCKS,
    COUNTED,
    COUNTS,
    FAILED,
    FRAME_BYTES,
    FRAMES,
    GOLDEN,
    IN_A_TENSOR,
    IN_B_TENSOR,
    INTERPRETER,
    ITEM,
    OUT_TENSOR,
    START,
    WHOLE,
    WHOLES,
)

LEAST_BLOCKS = 8
"""Blocks of a tensor from which on it is worth the choice."""
FEW = 4
"""A frame stays listed while no more than one of so many blocks differ."""


@intrinsic
def interpret(typing_context: Any, entry: Any, memory: Any, table: Any, row: Any, first: Any, last: Any) -> Any:
    """Call ``dispatch.run_steps`` by its address: a copy of all inference kernels would be compiled for each caller."""
    del typing_context, entry, first, last
    kinds = [memory, table, row, types.int64, types.int64]

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        convention = context.call_conv
        callee = convention.get_function_type(signature.return_type, kinds).as_pointer()
        pointer = builder.inttoptr(arguments[0], callee)
        _, found = convention.call_function(builder, pointer, signature.return_type, kinds, arguments[1:])
        return found

    return types.int64(types.int64, *kinds), codegen


@kernel
def few_blocks(tensors: Any, tensor: int) -> Any:
    """Give the most blocks of a frame that are listed one by one."""
    blocks = tensors[tensor, BLOCKS]
    return blocks if blocks < LEAST_BLOCKS else blocks // FEW


@kernel
def take_whole(state: Any, tensor: int, frame: int) -> None:
    """Note that a tensor of a frame is taken as a whole."""
    if not state[WHOLE][tensor, frame]:
        state[WHOLE][tensor, frame] = True
        state[WHOLES][tensor] += 1


@inlined_kernel
def promote(plan: Any, state: Any, tensor: int) -> None:
    """Take the frames as a whole of which many blocks are listed, and drop these from the list."""
    tensors, count = plan[2], state[COUNTS][tensor]
    few = few_blocks(tensors, tensor)
    if count <= few or tensors[tensor, BLOCKS] < LEAST_BLOCKS:
        return
    marks, lists = lists_of(plan, state, tensor)
    blocks, found = tensors[tensor, BLOCKS], state[COUNTED]
    found[: plan[3][FRAMES]] = 0
    for i in range(count):
        found[lists[i] // blocks] += 1
    kept = 0
    for i in range(count):
        entry = lists[i]
        if found[entry // blocks] > few:
            marks[entry] = False
            take_whole(state, tensor, entry // blocks)
        else:
            lists[kept] = entry
            kept += 1
    state[COUNTS][tensor] = kept


@inlined_kernel
def spread_whole(memory: Any, plan: Any, state: Any, step: int, work: Any) -> None:
    """Run a step for every frame of which it reads a tensor that is taken as a whole."""
    whole, a, b = state[WHOLE], plan[1][step, IN_A_TENSOR], plan[1][step, IN_B_TENSOR]
    for frame in range(plan[3][FRAMES]):
        if whole[a, frame] or (b >= 0 and whole[b, frame]):
            run_whole(memory, plan, state, step, frame, work)


@kernel
def run_whole(memory: Any, plan: Any, state: Any, step: int, frame: int, work: Any) -> None:
    """Run a step for a frame and find out how much of its output differs; ``work`` ends with a table of one row."""
    row, _, table = work
    place_row(plan, step, frame, table[0])
    if interpret(plan[3][INTERPRETER], memory, table, row, 0, 1) >= 0:
        plan[3][FAILED] = 1
    settle_whole(memory, plan, state, plan[1][step, OUT_TENSOR], frame)


@kernel
def settle_whole(memory: Any, plan: Any, state: Any, tensor: int, frame: int) -> None:
    """List what differs of a tensor of a frame where that is little; else take it as a whole."""
    tensors, sizes = plan[2], plan[3]
    u8, i32 = memory[0], memory[1]
    few, blocks = few_blocks(tensors, tensor), tensors[tensor, BLOCKS]
    size = tensors[tensor, BLOCK] * tensors[tensor, ITEM]
    start = tensors[tensor, START] + frame * sizes[FRAME_BYTES]
    found = 0
    for block in range(blocks):
        place = start + block * size
        found += differ(u8, i32, place, place + sizes[GOLDEN], size)
        if found > few:
            take_whole(state, tensor, frame)
            return
    if state[WHOLE][tensor, frame]:
        state[WHOLE][tensor, frame] = False
        state[WHOLES][tensor] -= 1
    if found == 0:
        return
    marks, lists = lists_of(plan, state, tensor)
    count = state[COUNTS][tensor]
    for block in range(blocks):
        place = start + block * size
        if differ(u8, i32, place, place + sizes[GOLDEN], size):
            count = enter(marks, lists, count, frame * blocks + block)
    state[COUNTS][tensor] = count
