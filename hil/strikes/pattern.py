"""Which cells one strike covers: clusters, bytes, rows, columns, and the same bit at a stride."""

from __future__ import annotations

from collections.abc import Iterable

from hil.strikes.fault_model import FaultModel
from hil.strikes.streams import Stream

BYTE_BITS = 8


def struck_cells(stream: Stream, model: FaultModel, seed: int, bits: int) -> tuple[int, ...]:
    """Give the cells of a strike on ``seed``, ascending and distinct, at least one.

    Cells beyond the edge of the space (``bits`` cells) do not exist and are left out. Under the kind ``random`` each
    covered cell takes a random value: half of them flip, at least one does.

    Parameters
    ----------
    stream : Stream
        Where chance comes from.
    model : FaultModel
        Its ``pattern`` says what is covered.
    seed : int
        The cell that is struck for certain (of a byte or a row: whose byte or row is).
    bits : int
        Cells of the space.
    """
    covered = tuple(cell for cell in _pattern(stream, model, seed) if cell < bits)
    if model.kind != "random" or len(covered) == 1:
        return covered
    while True:
        changed = tuple(cell for cell in covered if stream.below(2))
        if changed:
            return changed


def _pattern(stream: Stream, model: FaultModel, seed: int) -> Iterable[int]:
    match model.pattern:
        case "byte":
            return _block(seed, BYTE_BITS)
        case "row":
            return _block(seed, model.row_bits)
        case "column":
            return range(seed, seed + model.count * model.row_bits, model.row_bits)
        case "stride":
            stride_bits = BYTE_BITS * model.strides_bytes[stream.below(len(model.strides_bytes))]
            return range(seed, seed + model.count * stride_bits, stride_bits)
    return _cluster(stream, model, seed)


def _block(seed: int, length: int) -> range:
    start = seed // length * length
    return range(start, start + length)


def _cluster(stream: Stream, model: FaultModel, seed: int) -> tuple[int, ...]:
    """Grow a cluster to the right of its seed and into the next row; what lies beyond a row's edge is left out."""
    size = model.cluster_sizes[stream.choice(model.cumulative_weights)][0]
    lower = sum(stream.uniform() < model.across_rows for _ in range(size - 1))
    to_row_end = model.row_bits - seed % model.row_bits
    upper_run = range(seed, seed + min(size - lower, to_row_end))
    below = seed + model.row_bits
    return (*upper_run, *range(below, below + min(lower, to_row_end)))
