"""LSTM and GRU: one product for the inputs of the whole sequence, then a step for some moments at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hil.compiler import lower_float
from hil.compiler.graph import Array, Node
from hil.compiler.lowering import Lowering
from hil.compiler.program import Buffer, Draft, Parameter, Tensor, elements, pack
from hil.compiler.views import View, constant_view, copied, copy_into, dense, operand, view_of
from node.kernels.inference.general import codes
from node.kernels.inference.general.recurrent import COUPLED, LINEAR_BEFORE_RESET, PEEPHOLES
from node.model.steps import Opcode, Step, float_bits
from node.model.views import ViewStep

FUNCTIONS = {
    "hardsigmoid": codes.HARD_SIGMOID,
    "relu": codes.RELU,
    "sigmoid": codes.SIGMOID,
    "softplus": codes.SOFTPLUS,
    "softsign": codes.SOFTSIGN,
    "tanh": codes.TANH,
}
LANES = 16
MOMENTS = 16
"""Moments of one step: few enough that what strikes between steps meets a sequence at many of them, and so many that
the step table stays small beside the weights."""


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """Sizes of a recurrent node and what holds for all its directions."""

    length: int
    batch: int
    hidden: int
    gates: int
    flags: int
    clip: float

    @property
    def columns(self) -> int:
        """Sums of one moment and sample."""
        return self.gates * self.hidden


def lower_recurrent(low: Lowering, node: Node) -> None:
    """Lower LSTM and GRU of one or two directions."""
    source = operand(low, node, 0)
    if node.attributes.get("layout", 0):
        source = source.permuted((1, 0, 2))
    length, batch, _ = source.shape
    if node.input(4) and not (low.constant(node, 4) == length).all():
        raise node.error("sequence_lens shorter than the sequence are not supported: cut the input instead")
    gates = 4 if node.op == "LSTM" else 3
    sequence = Sequence(
        length=length,
        batch=batch,
        hidden=low.constant(node, 2).shape[-1],
        gates=gates,
        flags=_flags(node),
        clip=float(node.attributes.get("clip", np.inf)),
    )
    directions = low.constant(node, 1).shape[0]
    way = node.attributes.get("direction", "forward")
    plain = view_of(copied(low, f"{node.name}.sequence", source))
    shape = (length, directions, batch, sequence.hidden)
    y = Buffer(node.outputs[0] or f"{node.name}.y", "float32", elements(shape))
    lasts: list[tuple[View, View | None]] = []
    for d in range(directions):
        backwards = way == "reverse" or d == 1
        lasts.append(_direction(low, node, plain, (sequence, d, backwards), (y, shape)))
    _outputs(low, node, Tensor(y, shape), lasts)


def _flags(node: Node) -> int:
    flags = PEEPHOLES if node.op == "LSTM" and node.input(7) else 0
    flags |= COUPLED if node.attributes.get("input_forget", 0) else 0
    return flags | (LINEAR_BEFORE_RESET if node.attributes.get("linear_before_reset", 0) else 0)


def _activations(node: Node, direction: int) -> tuple[int, ...]:
    count = 3 if node.op == "LSTM" else 2
    given = node.attributes.get("activations", [])
    names = [v.decode() if isinstance(v, bytes) else v for v in given]
    names = names[count * direction : count * (direction + 1)] or ["Sigmoid", "Tanh", "Tanh"][:count]
    unknown = [name for name in names if name.lower() not in FUNCTIONS]
    if unknown:
        raise node.error(f"activation {unknown[0]!r} is not supported: choose from {', '.join(sorted(FUNCTIONS))}")
    return tuple(FUNCTIONS[name.lower()] for name in names)


def _direction(
    low: Lowering, node: Node, source: View, how: tuple[Sequence, int, bool], result: tuple[Buffer, tuple[int, ...]]
) -> tuple[View, View | None]:
    """Emit one direction; give its last output and, of an LSTM, its last cell state."""
    sequence, d, backwards = how
    y, shape = result
    name = f"{node.name}.{d}"
    inputs = _input_sums(low, node, source, sequence, d)
    size = sequence.batch * sequence.hidden
    state = _initial(low, node, 5, (sequence, d))
    cell = _initial(low, node, 6, (sequence, d)) if node.op == "LSTM" else None
    given = _parameters(low, node, sequence, d)
    scratch = Buffer(f"{name}.scratch", "float32", 3 * (sequence.columns + 2 * LANES))
    sign = -1 if backwards else 1
    step = ViewStep(
        opcode=Opcode.LSTM if cell is not None else Opcode.GRU,
        shape=(sequence.batch, sequence.hidden, *_activations(node, d), *([1] * (4 - len(_activations(node, d))))),
        strides_a=(sequence.columns, sign * sequence.batch * sequence.columns, 0, 0, 0, 0),
        strides_b=(0, sign * shape[1] * size, 0, 0, 0, 0),
        function=sequence.flags,
        alpha=float_bits(sequence.clip),
    )
    offset = 0
    order = range(sequence.length)[::sign]
    reads = {"in_a": inputs, "in_b": state} | ({"scales": cell} if cell is not None else {})
    for first in range(0, sequence.length, MOMENTS):
        moments = order[first : first + MOMENTS]
        places = [(t * shape[1] + d) * size * 4 for t in moments]
        several = replace(step, shape=(*step.shape[:-1], len(moments)))
        offsets = {"in_a": 4 * moments[0] * sequence.batch * sequence.columns, "in_b": offset, "out": places[0]}
        low.program.emit(Draft(f"{node.name}[{moments[0]}]", several, reads, given, y, scratch, offsets))
        reads, offset = reads | {"in_b": y}, places[-1]
    last = View(y, "float32", (sequence.batch, sequence.hidden), (sequence.hidden, 1), offset // 4)
    if cell is None:
        return last, None
    return last, View(cell, "float32", (sequence.batch, sequence.hidden), (sequence.hidden, 1))


def _initial(low: Lowering, node: Node, index: int, how: tuple[Sequence, int]) -> Buffer:
    """Emit the copy of an initial state into memory of its own."""
    sequence, d = how
    shape = (sequence.batch, sequence.hidden)
    name = f"{node.name}.{d}.{'h' if index == 5 else 'c'}"
    if node.input(index):
        given = operand(low, node, index)
        if node.attributes.get("layout", 0):
            given = given.permuted((1, 0, 2))
        given = replace(
            given, shape=given.shape[1:], strides=given.strides[1:], offset=given.offset + d * given.strides[0]
        )
        return copied(low, name, replace(given, channels_last=False)).buffer
    return copied(low, name, constant_view(low, name, np.zeros((), np.float32)).broadcast(shape)).buffer


def _input_sums(low: Lowering, node: Node, source: View, sequence: Sequence, d: int) -> Buffer:
    """Emit X W + b for every moment, with room for a ragged panel behind the last."""
    weights = low.constant(node, 1)[d].T.astype(np.float32)
    rows, depth = sequence.length * sequence.batch, weights.shape[0]
    step = Step(opcode=Opcode.CONV_F32, in_w=rows, in_c=depth, out_w=rows, out_c=sequence.columns)
    step = lower_float.clamp_columns(step, lower_float.NO_CLAMP)
    given = {
        "weights": low.parameter(node, 1, pack(weights)),
        "bias": low.parameter(node, 3, lower_float.packed_vector(_bias(low, node, sequence, d), 1)),
    }
    out = Buffer(f"{node.name}.{d}.inputs", "float32", rows * sequence.columns + LANES)
    scratch = lower_float.scratch_of(node, step)
    assert isinstance(source.source, Buffer)
    low.program.emit(Draft(f"{node.name}.inputs", step, {"in_a": source.source}, given, out, scratch))
    return out


def _biases(low: Lowering, node: Node, sequence: Sequence, d: int) -> tuple[Array, Array]:
    """Give the bias of the input's and that of the state's sums."""
    if not node.input(3):
        return np.zeros(sequence.columns, np.float32), np.zeros(sequence.columns, np.float32)
    both = low.constant(node, 3)[d].astype(np.float32)
    return both[: sequence.columns], both[sequence.columns :]


def _bias(low: Lowering, node: Node, sequence: Sequence, d: int) -> Array:
    given, recurrent = _biases(low, node, sequence, d)
    recurrent = recurrent.copy()
    if sequence.flags & LINEAR_BEFORE_RESET:
        recurrent[2 * sequence.hidden :] = 0.0
    return given + recurrent


def _parameters(low: Lowering, node: Node, sequence: Sequence, d: int) -> dict[str, Parameter]:
    matrix = low.constant(node, 2)[d].T.astype(np.float32)
    if node.op == "LSTM":
        given = {"weights": low.parameter(node, 2, pack(matrix))}
        if sequence.flags & PEEPHOLES:
            given["bias"] = Parameter(low.unique(node.input(7)), low.constant(node, 7)[d].astype(np.float32))
        return given
    cut = 2 * sequence.hidden
    given = {
        "weights": low.parameter(node, 2, pack(matrix[:, :cut])),
        "scales": low.parameter(node, 2, pack(matrix[:, cut:])),
    }
    if sequence.flags & LINEAR_BEFORE_RESET:
        bias = _biases(low, node, sequence, d)[1][cut:]
        given["bias"] = Parameter(low.unique(f"{node.name}.state_bias"), lower_float.packed_vector(bias, 1))
    return given


def _outputs(low: Lowering, node: Node, y: Tensor, lasts: list[tuple[View, View | None]]) -> None:
    """Name Y, Y_h and Y_c, batch first where the layout says so."""
    batch_first = bool(node.attributes.get("layout", 0))
    if node.outputs[0]:
        view = view_of(y)
        moved = view.permuted((2, 0, 1, 3))
        low.values[node.outputs[0]] = copied(low, node.outputs[0], moved) if batch_first else y
    for index in (1, 2):
        if index < len(node.outputs) and node.outputs[index]:
            views = [part for pair in lasts if (part := pair[index - 1]) is not None]
            shape = (len(views), *y.shape[2:])
            out = Buffer(node.outputs[index], "float32", elements(shape))
            for d, last in enumerate(views):
                copy_into(low, node.outputs[index], last, out, (dense(shape)[1:], d * dense(shape)[0]))
            tensor = Tensor(out, shape)
            low.values[node.outputs[index]] = (
                copied(low, node.outputs[index], view_of(tensor).permuted((1, 0, 2))) if batch_first else tensor
            )
