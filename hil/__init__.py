"""BENCH: nature, damage, experiment and meaning, for a node at the other end of a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.model.image import Image

__all__ = ["compile_model"]


def compile_model(path: str | PathLike[str], input_shapes: Mapping[str, Sequence[int]] | None = None) -> Image:
    """Give the flight image of an ONNX model.

    Parameters
    ----------
    path : path
        An ONNX file.
    input_shapes : mapping of str to sequence of int, optional
        Shapes for inputs that the model leaves open; an open batch is 1 where nothing is given.

    Raises
    ------
    ModelError
        The model cannot be compiled; the message names the operator, the node and the file.
    """
    from hil.compiler import compile_model as compile_onnx

    return compile_onnx(path, input_shapes)
