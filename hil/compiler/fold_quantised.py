"""Folding behind DequantizeLinear: what only moves a constant moves its integers, which stay what is struck."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

MOVES = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class Moved:
    """A move that is to be done to integers, and the DequantizeLinear that then follows it."""

    move: Any
    node: Any


def moved_before(node: Any, source: Any | None, known: dict[str, Any]) -> Moved | None:
    """Exchange a move and the DequantizeLinear of a constant in front of it.

    Parameters
    ----------
    node : onnx.NodeProto
        Reads the output of ``source``.
    source : onnx.NodeProto, optional
        The DequantizeLinear, if it is one that gives the first input.
    known : dict
        Constants by name.

    Returns
    -------
    Moved or None
        None where the node does more than move, or where its scales would have to be cut as well.
    """
    if source is None:
        return None
    scales = np.asarray(known[source.input[1]]).size
    blocks = any(attribute.name == "block_size" and attribute.i for attribute in source.attribute)
    if node.op_type not in MOVES or blocks or (scales > 1 and node.op_type != "Transpose"):
        return None
    move, after = onnx.NodeProto(), onnx.NodeProto()
    move.CopyFrom(node)
    after.CopyFrom(source)
    move.input[0] = source.input[0]
    move.output[0] = after.input[0] = f"{node.output[0]}.integers"
    after.output[0] = node.output[0]
    after.name = f"{node.name}.dequantised"
    if scales > 1:
        rank = np.asarray(known[source.input[0]]).ndim
        _set_axis(after, _permutation(node, rank).index(_axis(source) % rank))
    return Moved(move, after)


def _permutation(node: Any, rank: int) -> list[int]:
    given = [list(attribute.ints) for attribute in node.attribute if attribute.name == "perm"]
    return given[0] if given else list(reversed(range(rank)))


def _axis(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 1)


def _set_axis(node: Any, axis: int) -> None:
    kept = [attribute for attribute in node.attribute if attribute.name != "axis"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("axis", axis)])
