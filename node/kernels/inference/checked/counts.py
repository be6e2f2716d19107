"""The memory in which a checked step of bytes counts, and inputs that are counted there as they are copied."""

from __future__ import annotations

from typing import Any

from node.jit import inlined_kernel, kernel
from node.kernels.inference.bounds import exceeds, is_dense, packed_columns
from node.kernels.inference.checked.byte_sums import (
    BLOCK,
    COUNTED_BYTES,
    MOST_ROWS,
    copy_columns,
    settle_columns,
)
from node.kernels.inference.columns import (
    DILATION_W,
    IN_A,
    IN_C,
    IN_H,
    IN_W,
    KERNEL_W,
    OUT_H,
    OUT_W,
    PAD_LEFT,
    SCRATCH,
    STRIDE_W,
)
from node.kernels.inference.tiles import LANES, TILE_ROWS

TAKEN, WEIGHTS, EXPECTED, COPIED, LINE = 0, LANES, 2 * LANES, 4 * LANES, 5 * LANES
"""In the words that a checked step counts in: what its sums came to, the sum of its weights, summed inputs times each
half of the sums of rows; how many rows of inputs were counted as they were copied; where a line of summed inputs
begins."""

LINE_VALUES = 1024
"""Inputs that are added up side by side where pixels are short."""

MANY_PIXELS = 64
"""Pixels from which on it pays to count inputs as they are copied."""


@kernel
def pixels_of_line(pixels: int, depth: int) -> Any:
    """Give the pixels side by side, of many that lie in a row, whose inputs are added up to those of others."""
    return max(1, min(LINE_VALUES // depth, pixels // 16))


@kernel
def padded_width(row: Any) -> Any:
    """Give the input pixels of a row, and those beside it that windows reach."""
    reach = (row[OUT_W] - 1) * row[STRIDE_W] + (row[KERNEL_W] - 1) * row[DILATION_W] + 1
    return max(reach, row[PAD_LEFT] + row[IN_W])


@kernel
def line_pixels(row: Any) -> Any:
    """Give the pixels of a line of summed inputs of a row whose dimensions are valid."""
    if is_dense(row):
        return max(TILE_ROWS, pixels_of_line(row[OUT_H] * row[OUT_W], row[IN_C]))
    return padded_width(row)


@kernel
def counted_word(row: Any) -> Any:
    """Give the word of the memory to count in that lies behind the line of summed inputs."""
    return LINE + LANES + line_pixels(row) * row[IN_C] // LANES * LANES


@kernel
def counts_copies(row: Any) -> Any:
    """Tell whether inputs of a valid row are counted as they are copied to where the tiles read them."""
    depth = row[IN_C]
    inputs, place = row[IN_A], row[SCRATCH] + 4 * packed_columns(row)
    apart = inputs + row[IN_H] * row[IN_W] * depth <= place or place + TILE_ROWS * depth <= inputs
    return is_dense(row) and row[OUT_H] * row[OUT_W] >= MANY_PIXELS and TILE_ROWS * depth >= BLOCK and apart


@kernel
def copied_together(depth: int) -> Any:
    """Give the pixels that make a row of inputs, of at least a block, to be counted."""
    together = 1
    while together * depth < BLOCK:
        together *= 2
    return together


@kernel
def copies_of(row: Any, kept: Any) -> Any:
    """Give how inputs of a valid row are counted as they are copied: pixels of a row, the word where that is.

    No pixels where they are not counted so.
    """
    if kept.size == 0 or not counts_copies(row):
        return 0, 0
    return copied_together(row[IN_C]), counted_word(row)


@kernel
def settle(kept: Any, length: int, word: int) -> None:
    """Add rows of ``length`` bytes that were counted at a word to the line."""
    settle_columns(kept, length, word, LINE)
    kept[COPIED // 2] = 0


@inlined_kernel
def copy_counted(u8: Any, places: Any, depth: int, flip: int, kept: Any, copies: Any) -> None:
    """Copy the inputs of ``TILE_ROWS`` pixels from one place to another, invert their bits, and count them.

    ``copies`` is as :func:`copies_of` gives it.
    """
    together, word = copies
    length, count = together * depth, TILE_ROWS // together
    if kept[COPIED // 2] + count > MOST_ROWS:
        settle(kept, length, word)
    kept[COPIED // 2] += count
    copy_columns(u8, (places[0], places[1], length, count), length, flip, kept, word)


@kernel
def counted_words(row: Any) -> Any:
    """Give the words in which the blocks of a row of inputs are counted as they are copied."""
    length = copied_together(row[IN_C]) * row[IN_C]
    return (length + BLOCK - 1) // BLOCK * (COUNTED_BYTES // 4)


@kernel
def clear(row: Any, kept: Any) -> None:
    """Begin to count."""
    for word in range(LINE // 2):
        kept[word] = 0
    if counts_copies(row):
        line, begin = copied_together(row[IN_C]) * row[IN_C], counted_word(row) // 2
        for word in range(LINE // 2, LINE // 2 + (line + 1) // 2):
            kept[word] = 0
        for word in range(begin, begin + counted_words(row) // 2):
            kept[word] = 0


@kernel
def kept_words(row: Any) -> Any:
    """Give the words, of eight bytes, in which a row as it was compiled counts."""
    return (counted_word(row) + LANES + (counted_words(row) if counts_copies(row) else 0) + 1) // 2


@kernel
def has_room(row: Any, kept: Any) -> bool:
    """Tell whether a row of valid dimensions can count in ``kept``."""
    return not exceeds(line_pixels(row), row[IN_C], 2 * kept.size) and kept_words(row) <= kept.size
