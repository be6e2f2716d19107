"""From the blocks that differ to the outputs that differ: step after step, only where a difference arrives."""

from __future__ import annotations

from typing import Any

from node.jit import inlined_kernel, kernel
from node.kernels.inference.columns import COUNT, IN_C, IN_W, OPCODE
from node.kernels.inference.dispatch import (
    ADD_F32,
    ADD_INT8,
    AVERAGE_POOL_F32,
    AVERAGE_POOL_INT8,
    CONV_F32,
    CONV_INT8,
    DEPTHWISE_F32,
    DEPTHWISE_INT8,
    MAX_POOL_F32,
    MAX_POOL_INT8,
    SOFTMAX_F32,
    TRANSPOSE,
)
from node.kernels.inference.incremental.conv_f32 import compute_conv_f32
from node.kernels.inference.incremental.conv_int8 import spread_conv_int8
from node.kernels.inference.incremental.dirty import settle
from node.kernels.inference.incremental.plain import compute_elements, compute_pixels, compute_transposed
from node.kernels.inference.incremental.reach import reach_elements, reach_transposed, reach_windows
from node.kernels.inference.incremental.resumed import compute_resumed
from node.kernels.inference.incremental.tables import (
    COUNTS,
    IN_A_TENSOR,
    IN_B_TENSOR,
    OUT_TENSOR,
    SHIFT_A,
    SHIFT_B,
    SUM_COLUMNS,
    WHOLES,
)
from node.kernels.inference.incremental.whole import promote, spread_whole


@inlined_kernel
def spread(memory: Any, plan: Any, state: Any, work: Any, first: int) -> None:
    """Bring every difference through the steps from ``first`` on, to the end or until none is left."""
    for step in range(first, len(plan[0])):
        advance(memory, plan, state, work, step)


@inlined_kernel
def advance(memory: Any, plan: Any, state: Any, work: Any, step: int) -> None:
    """Bring what differs in the inputs of a step to its output."""
    links, counts, wholes = plan[1], state[COUNTS], state[WHOLES]
    a, b = links[step, IN_A_TENSOR], links[step, IN_B_TENSOR]
    if counts[a] > 0 or (b >= 0 and counts[b] > 0):
        spread_listed(memory, plan, state, work, step)
    if wholes[a] > 0 or (b >= 0 and wholes[b] > 0):
        spread_whole(memory, plan, state, step, work)


@inlined_kernel
def spread_listed(memory: Any, plan: Any, state: Any, work: Any, step: int) -> None:
    """Compute the output blocks of a step that a listed block reaches."""
    out = plan[1][step, OUT_TENSOR]
    if plan[0][step, OPCODE] == CONV_INT8:
        spread_conv_int8(memory, plan, state, step)
    else:
        reach(plan, state, step)
        compute(memory, plan, state, step, work[0])
    settle(memory, plan, state, out)
    promote(plan, state, out)


@inlined_kernel
def reach(plan: Any, state: Any, step: int) -> None:
    """Enter the output blocks that depend on a listed input block of a step."""
    row, links = plan[0][step], plan[1]
    a, b, opcode = links[step, IN_A_TENSOR], links[step, IN_B_TENSOR], row[OPCODE]
    shift = links[step, SHIFT_A]
    if opcode == TRANSPOSE:
        reach_transposed(plan, state, step, (a, shift))
    elif opcode == SOFTMAX_F32:
        reach_elements(plan, state, step, (a, shift), row[IN_W] * row[IN_C], row[IN_W] * row[IN_C])
    elif windowed(opcode):
        reach_windows(plan, state, step, a, shift)
    else:
        reach_elements(plan, state, step, (a, shift), row[IN_C], row[IN_C])
        if opcode in (ADD_F32, ADD_INT8) and b >= 0:
            reach_elements(plan, state, step, (b, links[step, SHIFT_B]), row[COUNT], row[COUNT])


@kernel
def windowed(opcode: int) -> bool:
    """Tell whether a step computes each output pixel from a window of its input."""
    return (
        opcode in (CONV_F32, DEPTHWISE_F32, DEPTHWISE_INT8)
        or opcode in (MAX_POOL_F32, AVERAGE_POOL_F32)
        or opcode in (MAX_POOL_INT8, AVERAGE_POOL_INT8)
    )


@inlined_kernel
def compute(memory: Any, plan: Any, state: Any, step: int, line: Any) -> None:
    """Compute every listed output block of a step other than CONV_INT8."""
    opcode = plan[0][step, OPCODE]
    if opcode == CONV_F32 and plan[1][step, SUM_COLUMNS] > 0:
        compute_resumed(memory, plan, state, step, line)
    elif opcode == CONV_F32:
        compute_conv_f32(memory, plan, state, step, line)
    elif opcode == TRANSPOSE:
        compute_transposed(memory, plan, state, step)
    elif windowed(opcode):
        compute_pixels(memory, plan, state, step, line)
    else:
        compute_elements(memory, plan, state, step, line)
