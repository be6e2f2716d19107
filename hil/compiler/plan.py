"""Places in memory: parameters one after the other, activations where no living one lies."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np

from firmware_bridge.errors import ModelError
from hil.compiler.limits import LARGEST_ARENA_BYTES
from hil.compiler.program import Buffer, Draft, Parameter, Program, Tensor
from node.arena import ALIGNMENT_BYTES
from node.kernels.inference.limits import LARGEST_DIMENSION, LARGEST_GROUPS, LEAST_WORK, WORK_PER_BYTE
from node.model.image import Image, TensorSpec
from node.model.steps import COLUMNS, Opcode, Step
from node.model.views import ViewStep

BY_VALUE = {Opcode.ADD_F32, Opcode.CLAMP_F32, Opcode.QUANTIZE, Opcode.DEQUANTIZE, Opcode.ADD_INT8, Opcode.REQUANTIZE}
"""Steps that go from value to value: how many there are is no dimension."""
WINDOW = slice(COLUMNS.index("in_h"), COLUMNS.index("groups"))
"""Where a row holds shapes and the window."""
GOOD_ENOUGH = 1.02
"""A plan of so many times what lives at once is taken as it is."""
ROUNDS = 16
"""Plans that are tried from each order of the buffers."""


@dataclass(frozen=True)
class Lifetime:
    """A buffer is written by step ``first`` (-1: before the run) and last read by step ``last``."""

    buffer: Buffer
    first: int
    last: int


def plan_image(program: Program) -> Image:
    """Give every operand of a program its place and make the image."""
    places, parameters, blob = _place_parameters(program)
    start = -(-len(blob) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
    lifetimes = lifetimes_of(program)
    offsets, size = place_buffers(lifetimes)
    at: dict[Buffer | Parameter, int] = {buffer: start + place for buffer, place in offsets.items()}
    at.update(places)
    states, initial = _place_states(program, at, start + size)
    _check_sizes(program, start + size + len(initial))
    rows = [_placed(draft, at).row() for draft in program.drafts]
    activations = [
        TensorSpec(
            name=life.buffer.name,
            dtype=life.buffer.dtype,
            shape=(life.buffer.count,),
            offset=at[life.buffer],
            step=life.first,
            last_step=life.last,
        )
        for life in lifetimes
    ]
    last = len(rows)
    return Image(
        name=program.name,
        inputs=tuple(_port(name, tensor, at, (-1, last)) for name, tensor in program.inputs),
        outputs=tuple(_port(name, tensor, at, (-1, last)) for name, tensor in program.outputs),
        steps=np.stack(rows),
        step_names=tuple(draft.name for draft in program.drafts),
        weights=blob,
        tensors=parameters,
        activations=tuple(activations),
        activation_bytes=size,
        states=states,
        initial_state=initial,
    )


def _place_states(
    program: Program, at: dict[Buffer | Parameter, int], start: int
) -> tuple[tuple[TensorSpec, ...], bytes]:
    """Place what persists from byte ``start`` on; give its tensors and its first values."""
    blob = bytearray()
    for state in program.states:
        at[state.tensor.buffer] = start + len(blob)
        blob += state.initial.tobytes() + bytes(-state.initial.nbytes % ALIGNMENT_BYTES)
    readers = {state: _reading(program, state.tensor.buffer) for state in program.states}
    return tuple(_port(state.name, state.tensor, at, steps) for state, steps in readers.items()), bytes(blob)


def _reading(program: Program, buffer: Buffer) -> tuple[int, int]:
    """Give the first and the last step that reads a state; where none does, the one that writes it."""
    reading = [step for step, draft in enumerate(program.drafts) if buffer in draft.reads.values()]
    writing = [step for step, draft in enumerate(program.drafts) if draft.out is buffer]
    return (reading[0], reading[-1]) if reading else (writing[0], writing[0])


def _check_sizes(program: Program, arena_bytes: int) -> None:
    """Refuse what the kernels would refuse: a dimension or an amount of work beyond their limits."""
    if arena_bytes > LARGEST_ARENA_BYTES:
        limit = f"{arena_bytes} bytes of memory (at most {LARGEST_ARENA_BYTES})"
        raise ModelError(f"needs {limit}: make the model or its input smaller")
    work_limit = max(LEAST_WORK, WORK_PER_BYTE * arena_bytes)
    for draft in program.drafts:
        step = draft.step
        if isinstance(step, ViewStep) or step.opcode in BY_VALUE:
            continue  # Made from dimensions within the limits, or only counted, which memory limits.
        columns = -(-step.out_c // (16 * step.groups)) * 16 * step.groups
        taps = step.kernel_h * step.kernel_w * max(1, step.in_c // step.groups)
        sums = step.opcode in (Opcode.CONV_F32, Opcode.CONV_INT8)
        work = step.out_h * step.out_w * columns * taps if sums else 0
        largest = max(astuple(step)[WINDOW])
        if largest > LARGEST_DIMENSION or step.groups > LARGEST_GROUPS or work > work_limit:
            sizes = f"{work} multiplications (at most {work_limit}), a dimension of {largest}"
            raise ModelError(
                f"step {draft.name!r} is too large for the node: {sizes} "
                f"(at most {LARGEST_DIMENSION}): make the model or its input smaller"
            )


def _port(name: str, tensor: Tensor, at: dict[Buffer | Parameter, int], steps: tuple[int, int]) -> TensorSpec:
    return TensorSpec(
        name=name,
        dtype=tensor.buffer.dtype,
        shape=tensor.shape,
        offset=at[tensor.buffer],
        step=steps[0],
        last_step=steps[1],
    )


def _place_parameters(program: Program) -> tuple[dict[Buffer | Parameter, int], tuple[TensorSpec, ...], bytes]:
    places: dict[Buffer | Parameter, int] = {}
    specs: list[TensorSpec] = []
    order: dict[Parameter, int] = {}
    blob = bytearray()
    for step, draft in enumerate(program.drafts):
        for parameter in draft.parameters.values():
            if parameter in places:
                specs[order[parameter]] = replace(specs[order[parameter]], last_step=step)
                continue
            order[parameter] = len(specs)
            blob += bytes(-len(blob) % ALIGNMENT_BYTES)
            places[parameter] = len(blob)
            array = parameter.array
            spec = TensorSpec(
                name=parameter.name,
                dtype=str(array.dtype),
                shape=array.shape,
                offset=len(blob),
                step=step,
                last_step=step,
            )
            specs.append(spec)
            blob += array.tobytes()
    return places, tuple(specs), bytes(blob)


def lifetimes_of(program: Program) -> list[Lifetime]:
    """Give the lifetime of each buffer but those of states, in the order in which they are first written."""
    first: dict[Buffer, int] = {tensor.buffer: -1 for _, tensor in program.inputs}
    last: dict[Buffer, int] = dict.fromkeys(first, 0)
    persistent = {state.tensor.buffer for state in program.states}
    for step, draft in enumerate(program.drafts):
        for buffer in draft.reads.values():
            last[buffer] = step
        for written in (draft.out, draft.scratch):
            if written is not None and written not in persistent:
                first.setdefault(written, step)
                last[written] = max(step, last.get(written, step))
    for _, tensor in program.outputs:
        last[tensor.buffer] = len(program.drafts)
    return [Lifetime(buffer, start, last[buffer]) for buffer, start in first.items()]


def place_buffers(lifetimes: list[Lifetime]) -> tuple[dict[Buffer, int], int]:
    """Give aligned places such that no two buffers that live at once overlap; and the total size.

    A buffer is not placed over one that the same step still reads, so no step works on overlapping memory. Buffers
    are placed first-fit in the order of the steps, and where that wastes memory by size. Whichever buffer then lies
    highest is placed first in the next round, until the total is about that of what lives at once, or rounds run out.
    """
    enough = GOOD_ENOUGH * largest_live_bytes(lifetimes)
    best: tuple[dict[Buffer, int], int] = ({}, 0)
    for order in (lifetimes, sorted(lifetimes, key=lambda life: -life.buffer.size_bytes)):
        for _ in range(ROUNDS):
            places, size = _first_fit(order)
            if not best[1] or size < best[1]:
                best = places, size
            if size <= enough:
                return best
            highest = max(order, key=lambda life: places[life.buffer] + life.buffer.size_bytes)
            order = [highest, *(life for life in order if life is not highest)]
    return best


def largest_live_bytes(lifetimes: list[Lifetime]) -> int:
    """Give the largest number of bytes that live at once: no plan can do with less.

    Examples
    --------
    >>> a, b, c = (Buffer(name, "float32", 16) for name in "abc")
    >>> largest_live_bytes([Lifetime(a, -1, 0), Lifetime(b, 0, 1), Lifetime(c, 1, 2)])
    128
    """
    moments = range(-1, 1 + max((life.last for life in lifetimes), default=-1))
    alive = np.zeros(len(moments) + 1, np.int64)
    for life in lifetimes:
        alive[life.first + 1 : life.last + 2] += life.buffer.size_bytes
    return int(alive.max())


def _first_fit(order: list[Lifetime]) -> tuple[dict[Buffer, int], int]:
    placed: list[tuple[int, int, Lifetime]] = []
    for life in order:
        rivals = sorted(
            (start, end) for start, end, other in placed if other.first <= life.last and life.first <= other.last
        )
        offset = 0
        for start, end in rivals:
            if offset + life.buffer.size_bytes <= start:
                break
            offset = max(offset, -(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES)
        placed.append((offset, offset + life.buffer.size_bytes, life))
    size = max((end for _, end, _ in placed), default=0)
    return {life.buffer: start for start, _, life in placed}, -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _placed(draft: Draft, at: dict[Buffer | Parameter, int]) -> Step | ViewStep:
    operands: dict[str, Buffer | Parameter] = {**draft.reads, **draft.parameters, "out": draft.out}
    if draft.scratch is not None:
        operands["scratch"] = draft.scratch
    places = {column: at[operand] + draft.offsets.get(column, 0) for column, operand in operands.items()}
    return draft.step.placed(places)
