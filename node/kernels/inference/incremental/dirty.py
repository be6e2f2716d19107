"""Lists of the blocks that differ from golden: entered once, dropped when equal, put back at the end.

Kernels that are called for every block take single arrays and numbers: taking an array out of a tuple counts a
reference, which costs more than the work on a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.incremental.tables import (
    BASE,
    BLOCK,
    BLOCKS,
    FRAME_BYTES,
    FRAMES,
    GOLDEN,
    ITEM,
    START,
    STRUCK_CHANNEL,
    STRUCK_TENSOR,
    WHOLE,
    WHOLES,
)
from node.kernels.inference.tiles import copy_bytes


@kernel
def enter(marks: Any, lists: Any, count: int, entry: int) -> int:
    """Enter a block into the list of its tensor, which holds ``count``; give the number after it."""
    if marks[entry]:
        return count
    marks[entry] = True
    lists[count] = entry
    return count + 1


@kernel
def frame_of(entry: int, blocks: int) -> Any:
    """Give the frame of a block; where a frame has one block there is nothing to divide, which takes its time."""
    if blocks == 1:
        return np.int64(entry)
    return entry // blocks


@kernel
def lists_of(plan: Any, state: Any, tensor: int) -> Any:
    """Give the marks and the list of a tensor."""
    tensors = plan[2]
    base = tensors[tensor, BASE]
    end = base + plan[3][FRAMES] * tensors[tensor, BLOCKS]
    return state[0][base:end], state[1][base:end]


@kernel
def differ(u8: Any, i32: Any, place: int, twin: int, size: int) -> Any:
    """Tell whether two ranges of bytes differ."""
    if (place | twin | size) & 3 == 0:
        words, others = i32[place // 4 : (place + size) // 4], i32[twin // 4 : (twin + size) // 4]
        found = words[0] ^ others[0]
        for i in range(size // 4):
            found |= words[i] ^ others[i]
        return found != 0
    for i in range(size):
        if u8[place + i] != u8[twin + i]:
            return True
    return False


@kernel
def settle(memory: Any, plan: Any, state: Any, tensor: int) -> None:
    """Drop the listed blocks of a tensor that are equal to golden."""
    tensors, sizes = plan[2], plan[3]
    u8, i32 = memory[0], memory[1]
    marks, lists = lists_of(plan, state, tensor)
    size, blocks = tensors[tensor, BLOCK] * tensors[tensor, ITEM], tensors[tensor, BLOCKS]
    start, frame_bytes, golden = tensors[tensor, START], sizes[FRAME_BYTES], sizes[GOLDEN]
    kept = 0
    for i in range(state[2][tensor]):
        entry = lists[i]
        frame = frame_of(entry, blocks)
        place = start + frame * frame_bytes + (entry - frame * blocks) * size
        if differ(u8, i32, place, place + golden, size):
            lists[kept] = entry
            kept += 1
        else:
            marks[entry] = False
    state[2][tensor] = kept


@kernel
def restore(memory: Any, plan: Any, state: Any) -> None:
    """Put every listed block back to golden and empty all lists."""
    tensors, sizes = plan[2], plan[3]
    u8, i32, counts = memory[0], memory[1], state[2]
    for tensor in range(len(tensors)):
        if state[WHOLES][tensor] > 0:
            restore_whole(u8, plan, state, tensor)
        if counts[tensor] == 0:
            continue
        marks, lists = lists_of(plan, state, tensor)
        size, blocks = tensors[tensor, BLOCK] * tensors[tensor, ITEM], tensors[tensor, BLOCKS]
        start, frame_bytes, golden = tensors[tensor, START], sizes[FRAME_BYTES], sizes[GOLDEN]
        length = size
        if tensor == sizes[STRUCK_TENSOR]:
            length = tensors[tensor, ITEM]
            start += sizes[STRUCK_CHANNEL] * length
        for i in range(counts[tensor]):
            entry = lists[i]
            frame = frame_of(entry, blocks)
            place = start + frame * frame_bytes + (entry - frame * blocks) * size
            if length == 4:
                i32[place // 4] = i32[(place + golden) // 4]
            else:
                copy_bytes(u8, place + golden, place, length)
            marks[entry] = False
        counts[tensor] = 0


@kernel
def restore_whole(u8: Any, plan: Any, state: Any, tensor: int) -> None:
    """Put a tensor back to golden in every frame of which it is taken as a whole."""
    tensors, sizes, whole = plan[2], plan[3], state[WHOLE]
    size = tensors[tensor, BLOCK] * tensors[tensor, BLOCKS] * tensors[tensor, ITEM]
    for frame in range(sizes[FRAMES]):
        if whole[tensor, frame]:
            place = tensors[tensor, START] + frame * sizes[FRAME_BYTES]
            copy_bytes(u8, place + sizes[GOLDEN], place, size)
            whole[tensor, frame] = False
    state[WHOLES][tensor] = 0
