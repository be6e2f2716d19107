"""Columns of the tables that describe a model to the incremental kernels, and the names of their entries.

A *frame* holds every activation of one input at a place of its own. A *block* is the part of a tensor that is
found equal or different at once: the channels of a pixel, as a rule.
"""

from __future__ import annotations

START, ITEM, BLOCK, BLOCKS, BASE = 0, 1, 2, 3, 4
"""Tensors: byte in frame 0, bytes of an element, elements of a block, blocks of a frame, first entry of its list."""

IN_A_TENSOR, IN_B_TENSOR, OUT_TENSOR, SHIFT_A, SHIFT_B, SUMS, SUM_COLUMNS = 0, 1, 2, 3, 4, 5, 6
"""Links of a step: tensors (-1: none), elements from their start, golden sums in frame 0, sums of a pixel.

Integer sums are the finished ones; a float step that has golden sums keeps those before every sixteenth product."""

FRAMES, FRAME_BYTES, GOLDEN, SUM_FRAME_BYTES = 0, 1, 2, 3
"""Sizes: frames, bytes of one, distance from a byte to its golden twin, bytes of the golden sums of a frame."""
GATHERED, TILE, SLOTS, PAIRS, LINES, START_SUMS, CHANNEL, VARIANTS, GOLDEN_LINE = 4, 5, 6, 7, 8, 9, 10, 11, 12
"""Places of working memory: gathered rows, a tile, changed sums, changed inputs; of a struck channel: inputs by
product, sums before the struck product, its weights, its outputs under each fault, its golden outputs."""
INTERPRETER, FAILED = 13, 14
"""Address of the compiled interpreter of steps; 1 once it has refused a step."""
STRUCK_TENSOR, STRUCK_CHANNEL, SIZES = 15, 16, 17
"""The tensor whose listed blocks differ in one channel alone, -1 for none; that channel; entries of this table."""

STEP, KIND, OUT_CHANNEL, PRODUCT, ELEMENT, BIT = 0, 1, 2, 3, 4, 5
"""Faults: step, kind, output channel, number of the product in its sum, first byte of the element, bit in it."""

NOWHERE, WEIGHT_F32, BIAS_F32, WEIGHT_INT8, BIAS_INT8, MULTIPLIER_INT8, PARAMETER, ACTIVATION = 0, 1, 2, 3, 4, 5, 6, 7
ACCUMULATOR = 8
"""Kinds of faults; PARAMETER is any other parameter of a step, whose outputs are all computed anew. ACCUMULATOR is the
finished sum of one output, whose number is the ELEMENT."""

MOMENT, ACT, TENSOR, PLACE, MASK = 0, 1, 2, 3, 4
"""Events of a group of faults: step, what happens, the struck tensor, its byte, the bits of it."""
FLIPPED, SET, CLEARED, PARAMETER_FLIPPED, SUM_FLIPPED = 0, 1, 2, 3, 4
"""What happens to these bits: of an activation just before the step, of a parameter of the step, or of a finished sum.
The PLACE of a sum is the number of its output, and groups that strike sums strike nothing else."""
FIRST_EVENT, END_EVENT, FRAME = 0, 1, 2
"""Groups of faults: their events, and the frame that they strike."""

HELD_STEP, HELD_GROUP, HELD_CHANNEL, HELD_PRODUCT, HELD_PLACES = 0, 1, 2, 3, 4
"""What the working memory of a struck channel is for, and three places for its sums to go on from."""

LISTED, LISTS, COUNTS, PLACES, WHOLE, WHOLES, COUNTED = 0, 1, 2, 3, 4, 5, 6
"""The state: whether a block is listed, lists of blocks, their lengths, where the sums of a listed pixel lie; whether
a tensor of a frame is taken as a whole, how many of its frames are, and numbers of one pass over a list."""

SAME, WRONG, MOVED = 0, 1, 2
"""Effects on an output: equal bytes, other bytes with the same winner, another winner."""
