"""Bytes added up by columns, against numpy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from node.kernels.inference.checked.byte_sums import BLOCK, COUNTED_BYTES, MOST_ROWS
from node.kernels.inference.checked.counts import COPIED, LINE, copy_counted, settle
from node.kernels.inference.checked.expected import sum_rows
from node.kernels.inference.tiles import TILE_ROWS

SEEDS = st.integers(0, 2**32 - 1)
FLIPS = st.sampled_from([0, 128])


def random_bytes(seed: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size, dtype=np.uint8) if seed % 3 else np.full(size, 255, np.uint8)


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.integers(1, 3 * BLOCK), st.integers(0, 9), st.sampled_from([0, 1, 3, 4, 9, MOST_ROWS]), FLIPS)
def test_columns_are_added_up(seed: int, length: int, gap: int, count: int, flip: int) -> None:
    """Few and many rows, short and long, whose columns need more than eight bits."""
    stride = length + gap
    u8, kept = random_bytes(seed, count * stride + 1), np.full(LINE + 4 * BLOCK, -1, np.int64)
    sum_rows(u8, (1, stride, count), length, flip, kept, 5)
    rows = [u8[1 + i * stride :][:length] ^ np.uint8(flip) for i in range(count)]
    expected = np.sum(rows, axis=0, dtype=np.int64) if count else np.zeros(length)
    line = kept.view(np.int32)[LINE + 5 :]
    assert line[:length].tolist() == expected.tolist()
    assert (line[length:] == -1).all()
    assert (kept.view(np.int32)[: LINE + 5] == -1).all()


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([8, 16, 33, 64, 65, 147]), st.integers(1, 70), FLIPS)
def test_copied_bytes_are_counted(seed: int, depth: int, chunks: int, flip: int) -> None:
    """Copies are those of numpy, and so are the sums, also of more rows than are counted before they are settled."""
    together = next(i for i in (1, 2, 4, 8) if i * depth >= BLOCK)
    size, word = TILE_ROWS * depth, LINE + 1024
    u8 = random_bytes(seed, (chunks + 1) * size)
    kept = np.zeros((word + (together * depth // BLOCK + 1) * COUNTED_BYTES // 4) // 2 + 1, np.int64)
    for chunk in range(chunks):
        source = chunk * size
        copy_counted(u8, (source, chunks * size), depth, flip, kept, (together, word))
        assert np.array_equal(u8[chunks * size :], u8[source : source + size] ^ np.uint8(flip))
    settle(kept, together * depth, word)
    expected = (u8[: chunks * size] ^ np.uint8(flip)).reshape(-1, together * depth).sum(axis=0, dtype=np.int64)
    assert kept.view(np.int32)[LINE : LINE + together * depth].tolist() == expected.tolist()
    assert kept[COPIED // 2] == 0
    assert not kept[word // 2 :].any()
