"""BENCH: nature, damage, experiment and meaning, for a node at the other end of a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from node.model.image import Image

__all__ = ["compile_model"]


def compile_model(
    path: str | PathLike[str],
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    state: Mapping[str, str] | None = None,
    initial_state: Mapping[str, NDArray[Any]] | None = None,
) -> Image:
    """Give the flight image of an ONNX model.

    Parameters
    ----------
    path : path
        An ONNX file.
    input_shapes : mapping of str to sequence of int, optional
        Shapes for inputs that the model leaves open; an open batch is 1 where nothing is given.
    state : mapping of str to str, optional
        Which output (key) feeds which input in the next inference: the node keeps it in its memory. Without it pairs
        called ``past`` and ``present`` are found by themselves; an empty mapping stands for no state.
    initial_state : mapping of str to ndarray, optional
        What such an input holds in the first inference; zeros without it.

    Raises
    ------
    ModelError
        The model cannot be compiled; the message names the operator, the node and the file.
    """
    from hil.compiler import compile_model as compile_onnx

    return compile_onnx(path, input_shapes, state, initial_state)
