"""Check data of products of two activations, and of the states of recurrent cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from node.arena import Arena
from node.jit import entry_of
from node.kernels.inference.checked.general_f32 import GENERAL_WORDS, KEPT_WORDS, RUN, SPARE_ROW
from node.kernels.inference.checked.sums_f32 import group_words
from node.kernels.inference.columns import IN_B, OPCODE, OUT, SCALES, WEIGHTS
from node.kernels.inference.general.codes import SHAPE
from node.kernels.inference.general.recurrent import MOMENTS, NEXT_OUTPUT
from node.kernels.inference.tiles import LANES
from node.model.steps import STEP_WORDS, Opcode

GENERAL = (Opcode.MATMUL_F32, Opcode.LSTM, Opcode.GRU)

Row = NDArray[np.int64]


def can_be_checked(row: Row) -> bool:
    """Tell whether such a step leaves the state that it reads as it was, so that it can be checked and run again."""
    if row[OPCODE] == Opcode.MATMUL_F32:
        return True
    outputs = row[OUT] + 4 * row[NEXT_OUTPUT] * np.arange(row[MOMENTS])
    return bool((np.abs(outputs - row[IN_B]) >= 4 * row[SHAPE] * row[SHAPE + 1]).all())


def general_bytes(row: Row) -> int:
    """Give the bytes of check data of a step: of a product of activations they are made while it runs."""
    if row[OPCODE] == Opcode.MATMUL_F32:
        depth = int(row[SHAPE + 5])
        return 4 * (int(group_words(depth)) + -(-depth // LANES) * LANES)
    return 4 * int(group_words(int(row[SHAPE + 1]))) * len(_products(row))


def general_frame(row: Row, given: Row, arena: Arena) -> tuple[Row, list[Row]]:
    """Give the frame of a step whose row in the table is ``given``, and what it points to."""
    memory = (arena.u8, arena.i32, arena.f32)
    cells = int(row[SHAPE] * row[SHAPE + 1]) if row[OPCODE] == Opcode.LSTM else 0
    kept = np.zeros(-(-(KEPT_WORDS + cells) // 2), np.int64)
    held = [given, row.copy(), np.zeros(STEP_WORDS, np.int64), kept, np.zeros(STEP_WORDS, np.int64)]
    frame = np.zeros(GENERAL_WORDS, np.int64)
    frame[:2] = arena.u8.ctypes.data, arena.u8.size
    frame[2:6] = [part.ctypes.data for part in held[:4]]
    frame[6], frame[SPARE_ROW] = kept.size, held[4].ctypes.data
    # Imported and compiled only for an image that has such steps.
    from node.kernels.inference.general.interpreter import run_steps

    frame[RUN] = entry_of(run_steps, memory, held[1].reshape(1, -1), held[2], 0, 1)
    return frame, [*held, frame]


def load_general(row: Row, f32: NDArray[np.float32], data: NDArray[np.float32]) -> None:
    """Write the sums of rows of the weights of a recurrent cell, which are taken as right, and of their magnitudes."""
    hidden = int(row[SHAPE + 1])
    blocks = -(-hidden // LANES) * LANES
    words = int(group_words(hidden))
    for number, (place, columns) in enumerate(_products(row)):
        panels = -(-columns // LANES)
        packed = f32[place // 4 :][: panels * hidden * LANES].reshape(panels, hidden, LANES)
        matrix = packed.transpose(1, 0, 2).reshape(hidden, panels * LANES)[:, :columns]
        part = data[number * words : (number + 1) * words]
        part[:hidden] = matrix.sum(axis=1, dtype=np.float64)
        magnitudes = np.abs(matrix).sum(axis=1, dtype=np.float64)
        part[blocks : blocks + hidden] = np.nextafter(magnitudes.astype(np.float32), np.float32(np.inf))


def _products(row: Row) -> list[tuple[int, int]]:
    """Give place and columns of the packed weights that the state of a recurrent cell is multiplied with."""
    hidden = int(row[SHAPE + 1])
    match int(row[OPCODE]):
        case Opcode.LSTM:
            return [(int(row[WEIGHTS]), 4 * hidden)]
        case Opcode.GRU:
            return [(int(row[WEIGHTS]), 2 * hidden), (int(row[SCALES]), hidden)]
        case _:
            return []
