"""The types that the large kernels are compiled for: views of an arena, a row of the step table, numbers."""

from __future__ import annotations

from typing import Any

from node.jit import types


def tuple_of(*kinds: Any) -> Any:
    """Give the type of a tuple of values of such types."""
    return types.Tuple(kinds)  # type: ignore[no-untyped-call]


BYTES, WORDS, FLOATS = types.uint8[::1], types.int32[::1], types.float32[::1]
"""The arena as uint8, int32 and float32."""

MEMORY = tuple_of(BYTES, WORDS, FLOATS)
"""The three of them together."""

INTEGERS = tuple_of(BYTES, WORDS, types.int64[::1])
"""The arena as uint8, int32 and int64."""

TABLE, ROW = types.int64[:, ::1], types.int64[::1]
"""The step table, and a row of it, with a crew's words where there is a crew."""

INT, BOOL, NOTHING = types.int64, types.boolean, types.void


def ints(count: int) -> Any:
    """Give the type of a tuple of so many integers."""
    return tuple_of(*[INT] * count)


RUNS = tuple_of(INT, INT, ints(5))
"""Inputs as tiles take them: place, stride and runs."""

CHECK_F32 = tuple_of(ROW, INT)
"""Where a checked step of floats counts, and the byte where its check data begin."""
