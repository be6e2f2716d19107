"""A crew: the thread that runs the steps, and helpers that take pieces of the large ones from it.

What they share is the array ``row``: the step's columns, then these words. Helpers touch nothing before they have
claimed a piece, and a step ends only when every claimed piece is done, so the row stays as it is meanwhile. Whoever
computes a piece, its bytes are the same; a helper that the system does not let run is not waited for.
"""

from __future__ import annotations

from typing import Any

from node.jit import intrinsic, ir, kernel, types

JOB = 40
"""Number of the step that is shared out, how many of its pieces may be claimed, and how many have been: one word, so
that a claim holds for the step that it was read with."""

DONE = 48
"""Claimed pieces of the step that are done."""

LEAST, SLOT, THREADS = 56, 57, 58
"""Work from which on a step is shared out, bytes of each thread's own scratch, and the number of threads."""

ASLEEP = 64
"""Of each helper, ``LINE`` words apart: whether it has to be woken."""

LINE = 8
"""Words of a line of the cache: what different threads write lies so far apart."""

PIECE_BITS, COUNT_BITS = 12, 12
MOST_PIECES = (1 << PIECE_BITS) - 1

LINGER = 1 << 14
"""Looks for a piece that a helper takes before it sleeps: about a millisecond."""


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    base = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    return builder.gep(base, [arguments[1]])


@intrinsic
def seen(typing_context: Any, words: Any, index: Any) -> Any:
    """Read a word of an array of int64; what was written before it was written is seen from then on."""
    del typing_context, index

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_pointer(context, builder, signature, arguments), "acquire", 8)

    return types.int64(words, types.int64), codegen


@intrinsic
def show(typing_context: Any, words: Any, index: Any, value: Any) -> Any:
    """Write a word, after all that was written before."""
    del typing_context, index, value

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, signature, arguments)
        builder.store_atomic(arguments[2], place, "release", 8)
        return context.get_dummy_value()

    return types.void(words, types.int64, types.int64), codegen


@intrinsic
def swap(typing_context: Any, words: Any, index: Any, old: Any, new: Any) -> Any:
    """Write a word if it is still the old one, and tell whether it was."""
    del typing_context, index, old, new

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, signature, arguments)
        pair = builder.cmpxchg(place, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(words, types.int64, types.int64, types.int64), codegen


@intrinsic
def count_one(typing_context: Any, words: Any, index: Any) -> Any:
    """Add one to a word, after all that was written before."""
    del typing_context, index

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, signature, arguments)
        builder.atomic_rmw("add", place, ir.IntType(64)(1), "acq_rel")
        return context.get_dummy_value()

    return types.void(words, types.int64), codegen


@intrinsic
def give_way(typing_context: Any) -> Any:
    """Let the system run another thread, if one waits for this processor (POSIX ``sched_yield``)."""
    del typing_context

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature, arguments
        kind = ir.FunctionType(ir.IntType(32), [])
        known = builder.module.globals.get("sched_yield")
        builder.call(known or ir.Function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@kernel
def share_out(row: Any, pieces: int) -> None:
    """Let helpers claim that many pieces of the step in the row."""
    row[DONE] = 0
    number = (row[JOB] >> (PIECE_BITS + COUNT_BITS)) + 1
    show(row, JOB, (number << (PIECE_BITS + COUNT_BITS)) | (pieces << PIECE_BITS))


@kernel
def claim(row: Any) -> Any:
    """Claim a piece and give its number, -1 where none is left."""
    while True:
        job = seen(row, JOB)
        piece = job & MOST_PIECES
        if piece >= (job >> PIECE_BITS) & MOST_PIECES:
            return -1
        if swap(row, JOB, job, job + 1):
            return piece


@kernel
def claimed_pieces(row: Any) -> Any:
    """Give how many pieces of the step can be claimed, for whoever has claimed one."""
    return (seen(row, JOB) >> PIECE_BITS) & MOST_PIECES


@kernel
def wait_for(row: Any, pieces: int) -> None:
    """Wait until that many claimed pieces are done."""
    looks = 0
    while seen(row, DONE) < pieces:
        looks += 1
        if looks % 64 == 0:
            give_way()
