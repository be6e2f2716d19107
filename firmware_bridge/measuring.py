"""The messages by which a host has a node time what it does, by the node's own clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .wire_types import U16, U32, U64, Text


class Quantity(IntEnum):
    """What is timed."""

    CLOCK = 0  # nothing at all: what reading the clock twice takes; ``note`` names the board and its versions
    READ = 1  # the plain sum of a buffer: what reading memory takes
    ENCODE = 2  # a code's check data of a buffer
    CHECK = 3  # a code's look at a sound buffer
    SCRUB = 4  # a code's pass with correction over a sound buffer
    CORRECT = 5  # the same where one bit is wrong
    STEP = 6  # one operator of the model that is loaded
    INFERENCE = 7  # a whole inference under the protection that is set
    PASS = 8  # a scrub of all that the protection guards
    SAVE = 9  # a checkpoint
    RESTORE = 10  # loading it
    RELOAD = 11  # loading the guarded regions from the golden image
    RESET = 12  # putting all memory back to its state after loading


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Do something ``repeats`` times, after once untimed, and tell how long each one took.

    ``code`` and ``size_bytes`` say what is encoded, checked or corrected, and how much of it; ``step`` is the operator
    of :attr:`Quantity.STEP`.
    """

    quantity: Quantity
    code: Text = ""
    size_bytes: U32 = 0
    step: U16 = 0
    repeats: U16 = 1


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How long each repetition took on the node's clock, of how many bytes; ``note`` says in words what it was."""

    size_bytes: U64
    samples_ns: tuple[U64, ...]
    note: Text
