"""Rows of general steps: a shape of six dimensions, strides of the operands, a function by its number.

Such a row shares its first columns (opcode and places) with :class:`node.model.steps.Step`; the others hold the
shape, the strides in elements of a and of b (of the output where a step has no b), the function, the kinds of
elements and two parameters. The output of every step but COPY is dense.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from node.model.steps import STEP_WORDS

RANK = 6
"""Dimensions of a row; those that are not needed are 1."""

KINDS: dict[str, int] = {"uint8": 0, "int8": 1, "int32": 2, "int64": 3, "float32": 4, "bool": 5}
"""Numbers of the element types."""


def kinds(given: str, result: str) -> int:
    """Give the column that names the type of the inputs and that of the output.

    Examples
    --------
    >>> kinds("float32", "bool")
    44
    """
    return KINDS[given] + 8 * KINDS[result]


@dataclass(frozen=True, kw_only=True)
class ViewStep:
    """One row of a general step.

    Parameters
    ----------
    opcode : int
        An :class:`node.model.steps.Opcode` from COPY on.
    in_a, in_b, out, weights, bias, scales, scratch : int
        Places in bytes from the start of the arena.
    shape : tuple of int
        At most six dimensions; missing ones are put before it as 1.
    strides_a, strides_b : tuple of int
        Elements from one index to the next, for each dimension.
    function : int
        What is computed, see ``node.kernels.inference.general.codes``.
    kinds : int
        See :func:`kinds`.
    alpha, beta : int
        Bits of float32 parameters.
    """

    opcode: int
    in_a: int = 0
    in_b: int = 0
    out: int = 0
    weights: int = 0
    bias: int = 0
    scales: int = 0
    scratch: int = 0
    shape: tuple[int, ...] = ()
    strides_a: tuple[int, ...] = ()
    strides_b: tuple[int, ...] = ()
    function: int = 0
    kinds: int = 0
    alpha: int = 0
    beta: int = 0

    def placed(self, places: dict[str, int]) -> ViewStep:
        """Give the step with some of its places filled in."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return ViewStep(**(values | places))

    def row(self) -> NDArray[np.int64]:
        """Give the row, int64 [STEP_WORDS]."""
        places = (self.in_a, self.in_b, self.out, self.weights, self.bias, self.scales, self.scratch)
        views = (*_filled(self.shape, 1), *_filled(self.strides_a, 0), *_filled(self.strides_b, 0))
        words = np.zeros(STEP_WORDS, np.int64)
        values = (self.opcode, *places, *views, self.function, self.kinds, self.alpha, self.beta)
        words[: len(values)] = values
        return words


def _filled(values: tuple[int, ...], filler: int) -> tuple[int, ...]:
    return (filler,) * (RANK - len(values)) + tuple(values)
