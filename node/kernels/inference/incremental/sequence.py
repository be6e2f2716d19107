"""Faults in sequences of inferences: a step is run only where something that it reads differs from golden.

Each inference of the sequence has a frame, in which every value has a place of its own, and a golden twin of it. New
state is written into the frame of the next inference. So a step whose operands are golden needs nothing: its output
lies there. What was run is put back to golden after each trial.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from node.jit import kernel
from node.kernels.inference.incremental.dirty import differ
from node.kernels.inference.incremental.run import winner
from node.kernels.inference.incremental.tables import MOVED, SAME, WRONG
from node.kernels.inference.incremental.whole import interpret
from node.kernels.inference.tiles import copy_bytes

CRASHED = 3
"""A step was refused."""

FIRST_READ, FIRST_WRITE, INTERPRETER, MODE = 0, 1, 2, 3
"""Steps: their first entries in the lists of reads and of writes, the address of what runs them, and whether what they
write is written once (PLAIN), or again by another step (VERSIONED, LOOSE: with gaps). One more row ends the lists."""
PLAIN, VERSIONED, LOOSE = 0, 1, 2
PLACE, SIZE, MARK, LATER, VERSION = 0, 1, 2, 3, 4
"""Writes: first byte in frame 0, bytes, the mark of the value, 1 for a value of the next inference, and where the first
inference's version is kept (-1: written once). Outputs: the first three."""
INFERENCE, STEP, BYTE, MASK, STRUCK_MARK, UNTIL, PERSISTS = 0, 1, 2, 3, 4, 5, 6
"""Faults: just before which step of which inference, byte of the memory, its bits, the mark of the struck value, the
inference of that value, and whether nothing writes it. A mark of -1: nothing reads it any more."""
OPERATORS, INFERENCES, FRAME, TWIN, VERSIONS, OUTPUT_BYTES, FIRST_STATE, END_STATE = 0, 1, 2, 3, 4, 5, 6, 7
"""Sizes: steps, inferences, bytes of a frame, distance to the golden twin, bytes of all versions of an inference,
bytes of all outputs of an inference, marks of the states."""


@kernel
def run_sequences(memory: Any, model: Any, work: Any, faults: Any, outputs: Any, effects: Any) -> None:
    """Write the effect of each fault on the outputs of one sequence.

    Parameters
    ----------
    memory : tuple of ndarray
        Parameters, frames and twins as uint8, int32 and float32.
    model : tuple of ndarray of int64
        Rows for frame 0 [steps, words], 1 where a word moves with the frame [steps, words], steps [steps + 1, 4],
        reads [.] (marks), writes [., 5], outputs [., 3] and sizes; see the names above.
    work : tuple of ndarray
        A row [words], a table of one row, marks (bool [inferences + 1, values]), all false, and room for the numbers
        of all steps of a sequence.
    faults : ndarray of int64, [faults, 7]
        One after the other.
    outputs : tuple of ndarray
        int64 (elements and type of the first output, see ``winner``); int64 [inferences], its golden winners; uint8
        [faults or 0, inferences * bytes], golden, where outputs that differ are written.
    effects : ndarray of uint8, [faults]
        All SAME; where another effect is written.
    """
    for i in range(len(faults)):
        fault = faults[i]
        if fault[STRUCK_MARK] < 0:
            continue
        begin(memory, model, work, fault[INFERENCE], fault[STEP])
        memory[0][fault[BYTE]] ^= np.uint8(fault[MASK])
        effects[i] = finish(memory, model, work, fault, (outputs, i))
        if fault[PERSISTS]:
            memory[0][fault[BYTE]] ^= np.uint8(fault[MASK])
        else:
            memory[0][fault[BYTE]] = memory[0][fault[BYTE] + model[6][TWIN]]


@kernel
def begin(memory: Any, model: Any, work: Any, inference: int, step: int) -> None:
    """Bring values that are written more than once to what they are just before a step."""
    for i in range(step):
        if model[2][i, MODE] != PLAIN:
            pass_step(memory, model, work, inference, i)


@kernel
def finish(memory: Any, model: Any, work: Any, fault: Any, outputs: Any) -> Any:
    """Run from a fault to the end of the sequence, or until the state is golden; give the effect.

    ``outputs`` are those of :func:`run_sequences` and the number of the fault.
    """
    sizes, marks, done = model[6], work[2], work[3]
    last = sizes[INFERENCES] if fault[PERSISTS] else fault[UNTIL] + 1
    for inference in range(fault[UNTIL], last):
        marks[inference, fault[STRUCK_MARK]] = True
    effect, ran, inference = SAME, 0, fault[INFERENCE]
    first = fault[STEP]
    while inference < sizes[INFERENCES] and effect != CRASHED:
        for step in range(first, sizes[OPERATORS]):
            if reads_marked(model, marks, inference, step):
                done[ran] = inference * sizes[OPERATORS] + step
                ran += 1
                if not run_step(memory, model, work, inference, step):
                    effect = CRASHED
                    break
            elif model[2][step, MODE] != PLAIN:
                pass_step(memory, model, work, inference, step)
        if effect == CRASHED:
            break
        effect = max(effect, compare_outputs(memory, model, marks, inference, outputs))
        inference, first = inference + 1, 0
        if not fault[PERSISTS] and not state_marked(marks[inference], sizes):
            break
    put_back(memory, model, work, ran, (fault[INFERENCE], min(inference + 1, sizes[INFERENCES])))
    marks[fault[INFERENCE] :] = False
    return effect


@kernel
def reads_marked(model: Any, marks: Any, inference: int, step: int) -> bool:
    """Tell whether a step reads a value that may differ from golden."""
    steps, reads = model[2], model[3]
    for i in range(steps[step, FIRST_READ], steps[step + 1, FIRST_READ]):
        if marks[inference, reads[i]]:
            return True
    return False


@kernel
def state_marked(marks: Any, sizes: Any) -> bool:
    """Tell whether a state may differ from golden."""
    for i in range(sizes[FIRST_STATE], sizes[END_STATE]):
        if marks[i]:
            return True
    return False


@kernel
def call(memory: Any, model: Any, work: Any, inference: int, step: int) -> bool:
    """Run a step on the frame of an inference; give False where it is refused."""
    row, table = work[0], work[1]
    shift = inference * model[6][FRAME]
    for column in range(len(row)):
        table[0, column] = model[0][step, column] + shift * model[1][step, column]
    refused: bool = interpret(model[2][step, INTERPRETER], memory, table, row, 0, 1) >= 0
    return not refused


@kernel
def run_step(memory: Any, model: Any, work: Any, inference: int, step: int) -> bool:
    """Run a step and mark what it writes where that is not golden; give False where it is refused."""
    if not call(memory, model, work, inference, step):
        return False
    compare_writes(memory, model, work[2], inference, step)
    return True


@kernel
def compare_writes(memory: Any, model: Any, marks: Any, inference: int, step: int) -> None:
    """Mark what a step has written where that is not golden."""
    steps, writes, sizes = model[2], model[4], model[6]
    for i in range(steps[step, FIRST_WRITE], steps[step + 1, FIRST_WRITE]):
        place, size = writes[i, PLACE] + inference * sizes[FRAME], writes[i, SIZE]
        twin = place + sizes[TWIN]
        if writes[i, VERSION] >= 0:
            twin = writes[i, VERSION] + inference * sizes[VERSIONS]
        if steps[step, MODE] == LOOSE or differ(memory[0], memory[1], place, twin, size):
            marks[inference + writes[i, LATER], writes[i, MARK]] = True


@kernel
def pass_step(memory: Any, model: Any, work: Any, inference: int, step: int) -> None:
    """Give the values that a golden step writes, and others write too, what it leaves in them."""
    steps, writes, sizes = model[2], model[4], model[6]
    if steps[step, MODE] == LOOSE:
        call(memory, model, work, inference, step)
        return
    for i in range(steps[step, FIRST_WRITE], steps[step + 1, FIRST_WRITE]):
        if writes[i, VERSION] >= 0:
            version = writes[i, VERSION] + inference * sizes[VERSIONS]
            copy_bytes(memory[0], version, writes[i, PLACE] + inference * sizes[FRAME], writes[i, SIZE])


@kernel
def put_back(memory: Any, model: Any, work: Any, ran: int, inferences: Any) -> None:
    """Make golden again what some steps wrote, and what is written more than once in a range of inferences."""
    steps = len(model[0])
    for i in range(ran):
        put_back_step(memory[0], model, work[3][i] // steps, work[3][i] % steps)
    for step in range(steps):
        if model[2][step, MODE] != PLAIN:
            for inference in range(inferences[0], inferences[1]):
                put_back_step(memory[0], model, inference, step)


@kernel
def put_back_step(u8: Any, model: Any, inference: int, step: int) -> None:
    """Make golden again what a step writes."""
    steps, writes, sizes = model[2], model[4], model[6]
    for i in range(steps[step, FIRST_WRITE], steps[step + 1, FIRST_WRITE]):
        place = writes[i, PLACE] + inference * sizes[FRAME]
        copy_bytes(u8, place + sizes[TWIN], place, writes[i, SIZE])


@kernel
def compare_outputs(memory: Any, model: Any, marks: Any, inference: int, outputs: Any) -> Any:
    """Give the effect on the outputs of one inference, and keep them where there is room."""
    places, sizes = model[5], model[6]
    (kind, winners, kept), number = outputs
    shift, differs = inference * sizes[FRAME], False
    for i in range(len(places)):
        place = places[i, PLACE] + shift
        if marks[inference, places[i, MARK]]:
            differs |= differ(memory[0], memory[1], place, place + sizes[TWIN], places[i, SIZE])
    if not differs:
        return SAME
    end = inference * sizes[OUTPUT_BYTES]
    for i in range(len(places) if len(kept) > 0 else 0):
        for byte in range(places[i, SIZE]):
            kept[number, end + byte] = memory[0][places[i, PLACE] + shift + byte]
        end += places[i, SIZE]
    return MOVED if winner(memory, places[0, PLACE] + shift, kind) != winners[inference] else WRONG


def warm() -> None:
    """Compile or load every kernel of this file."""
    u8 = np.zeros(64, np.uint8)
    memory = (u8, u8.view(np.int32), u8.view(np.float32))
    table, none = np.zeros((1, 8), np.int64), np.zeros(0, np.int64)
    model = (table, table, table, none, table, table, np.zeros(8, np.int64))
    work = (np.zeros(32, np.int64), np.zeros((1, 32), np.int64), np.zeros((1, 1), np.bool_), none)
    outputs = (np.zeros(2, np.int64), none, np.zeros((0, 0), np.uint8))
    run_sequences(memory, model, work, np.zeros((0, 7), np.int64), outputs, np.zeros(0, np.uint8))
